"""A pool of processes that work under a memory limit, and are killed when they take too long."""

from __future__ import annotations

import os
import queue
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Self

from dataspine.core.process import spawn
from dataspine.core.scratch import make_scratch

__all__ = ["Worker", "WorkerPool"]

_MESSAGE = struct.Struct("!II")

# Whether the worker failed, and what it said.
Answer = tuple[bool, bytes]


class WorkerPool:
    """``count`` processes, started when first needed; close them, or use ``with``."""

    def __init__(self, count: int, start: Callable[[], Worker]) -> None:
        self._free: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)
        self._count = count
        self._start = start
        # A child dies with the thread that started it, so one thread starts them all and stays.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="schema-workers")

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the pool."""
        self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that wait for work."""
        with self._free.mutex:
            return tuple(worker.pid for worker in self._free.queue if worker is not None)

    def close(self) -> None:
        """Wait for running requests, then end every process."""
        for _ in range(self._count):
            worker = self._free.get()
            if worker is not None:
                worker.close()
        self._starter.shutdown()

    def request(
        self, data: bytes, *, answers: int = 1, wait: float, seconds: float
    ) -> list[Answer] | None:
        """Return so many answers, or fewer when the process took too long or died; None is busy.

        A process that dies before its first answer is replaced once.
        """
        try:
            worker = self._free.get(timeout=max(0.0, wait))
        except queue.Empty:
            return None
        deadline = time.monotonic() + seconds
        found: list[Answer] = []
        try:
            for _ in range(2):
                if worker is None or not worker.is_alive:
                    worker = self._replace(worker)
                found = worker.ask(data, answers, deadline - time.monotonic())
                if len(found) == answers or (found and found[-1][0]):
                    break
                worker = self._replace(worker)
                if found or time.monotonic() >= deadline:
                    break
        finally:
            self._free.put(worker)
        return found

    def _replace(self, worker: Worker | None) -> Worker:
        if worker is not None:
            worker.close()
        return self._starter.submit(self._start).result()


class Worker:
    """One process, which runs a script of this package, and its folder."""

    def __init__(self, script: str, prepare: Callable[[Path], list[str]]) -> None:
        self._root = make_scratch("schemas")
        self._process = spawn(
            [
                sys.executable,
                "-I",
                str(files("dataspine.registry").joinpath(script)),
                *prepare(self._root),
            ],
            cwd=self._root,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def ask(self, data: bytes, answers: int, seconds: float) -> list[Answer]:
        """Return the answers until a failure, or the end of the process: after ``seconds``."""
        timer = threading.Timer(max(0.0, seconds), self._process.kill)
        timer.start()
        found: list[Answer] = []
        try:
            while len(found) < answers:
                answer = self._exchange(b"" if found else data)
                if answer is None:
                    break
                found.append(answer)
                if answer[0]:
                    break
        finally:
            timer.cancel()
        return found

    def _exchange(self, data: bytes) -> Answer | None:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            return None
        try:
            if data:
                stdin.write(struct.pack("!I", len(data)) + data)
                stdin.flush()
            header = stdout.read(_MESSAGE.size)
            if len(header) < _MESSAGE.size:
                return None
            failed, size = _MESSAGE.unpack(header)
            body = stdout.read(size)
        except OSError:
            return None
        if len(body) < size:
            return None
        return bool(failed), body.replace(
            f"{self._root}/sources/".encode(), b""
        ) if failed else body

    def close(self) -> None:
        """End the process and remove its folder."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        shutil.rmtree(self._root, ignore_errors=True)
