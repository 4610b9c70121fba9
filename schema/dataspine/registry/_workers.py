"""The pool of processes that run protoc."""

from __future__ import annotations

import json
import os
import queue
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from types import TracebackType

from dataspine.core.errors import UnavailableError
from dataspine.core.process import spawn
from dataspine.core.scratch import make_scratch
from dataspine.registry._json import invalid

__all__ = ["ProtobufWorkers"]

_MESSAGE = struct.Struct("!II")


class ProtobufWorkers:
    """Processes that run protoc, each with a memory limit; close them, or use ``with``.

    ``count`` run at once, started when first needed. A request that is not answered after
    ``seconds`` ends with its process, and a new one takes its place.
    """

    def __init__(self, count: int = 2, *, seconds: float = 5.0) -> None:
        self._seconds = seconds
        self._free: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)
        self._count = count
        # A child dies with the thread that started it, so one thread starts them all and stays.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="protobuf-workers")

    def __enter__(self) -> ProtobufWorkers:
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

    def compile(self, main: str, sources: Mapping[str, str]) -> tuple[bytes, str]:
        """Return a serialized ``FileDescriptorSet``, or protoc's errors when they are not empty.

        Raises ``InputError`` when the text takes more time or memory than it may, and
        ``UnavailableError`` when every process is busy for too long.
        """
        try:
            worker = self._free.get(timeout=2 * self._seconds)
        except queue.Empty:
            raise UnavailableError(
                "every Protobuf parser is busy", remedy="Try again.", code="registry.busy"
            ) from None
        try:
            request = json.dumps({"main": main, "files": dict(sources)}).encode()
            for _ in range(2):
                if worker is None or not worker.is_alive:
                    worker = self._replace(worker)
                answer, late = worker.ask(request, self._seconds)
                if answer is not None:
                    return answer
                worker = self._replace(worker)
                if late:
                    break
        finally:
            self._free.put(worker)
        raise invalid(
            "the schema takes more time or memory than it may",
            1,
            "Split the schema and use imports.",
        )

    def _replace(self, worker: _Worker | None) -> _Worker:
        if worker is not None:
            worker.close()
        return self._starter.submit(_Worker).result()


class _Worker:
    """One process and its folder."""

    def __init__(self) -> None:
        self._root = make_scratch("protobuf")
        (self._root / "sources").mkdir()
        package = Path(str(files("dataspine.registry")))
        # Of what is installed beside google/type nothing may be imported.
        common = self._root / "common"
        (common / "google").mkdir(parents=True)
        a_type = Path(str(files("google.type").joinpath("date.proto")))
        (common / "google/type").symlink_to(a_type.parent)
        protobuf = files("grpc_tools").joinpath("_proto")
        includes = [str(package / "proto"), str(protobuf), str(common)]
        self._process = spawn(
            [
                sys.executable,
                "-I",
                str(package / "_protoc_worker.py"),
                str(self._root),
                *includes,
            ],
            cwd=self._root,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: bytes, seconds: float) -> tuple[tuple[bytes, str] | None, bool]:
        """Return the answer, or None when the process ended; and whether it was killed as late."""
        late = threading.Event()

        def kill() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, kill)
        timer.start()
        try:
            return self._exchange(request), late.is_set()
        finally:
            timer.cancel()

    def _exchange(self, request: bytes) -> tuple[bytes, str] | None:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            return None
        try:
            stdin.write(struct.pack("!I", len(request)) + request)
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
        if not failed:
            return body, ""
        errors = body.decode(errors="replace").replace(f"{self._root / 'sources'}/", "")
        return b"", errors.strip() or "protoc gave no reason"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        shutil.rmtree(self._root, ignore_errors=True)
