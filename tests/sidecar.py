"""A stock OPA, as an application runs one beside itself, on a unix socket."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from dataspine.core.process import spawn, stop

TOKEN = "application-secret"
SECONDS = 20.0


def until(happened: Callable[[], object], words: Callable[[], str] = str) -> None:
    """Wait for something that another process does, and fail with its words when it does not."""
    end = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < end, f"it did not happen in time: {words()}"
        threading.Event().wait(0.02)


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


class Sidecar:
    """A running OPA: ``ask`` it as an application does, read its ``log``."""

    def __init__(self, address: str, log: Path, process: subprocess.Popen[bytes]) -> None:
        self._path = address.removeprefix("unix://")
        self.log = log
        self.process = process

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        token: str | None = TOKEN,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Return status and body of one request; a text is sent as it is."""
        sent = {} if token is None else {"Authorization": f"Bearer {token}"}
        sent |= headers or {}
        text = body if isinstance(body, str) else json.dumps(body)
        with closing(_Unix(self._path)) as connection:
            connection.request(method, path, None if body is None else text, sent)
            reply = connection.getresponse()
            raw = reply.read().decode()
        return reply.status, json.loads(raw) if raw[:1] in {"{", "["} else raw

    def decide(self, question: Mapping[str, Any], token: str = TOKEN) -> dict[str, Any]:
        """Ask the entry point of a question and return OPA's whole answer."""
        point = str(question["point"]).replace(".", "_")
        path = f"/v1/data/dataspine/main/{point}"
        status, answer = self.ask("POST", path, {"input": question}, token)
        assert status == 200, answer
        assert isinstance(answer, dict)
        return answer

    def healthy(self) -> bool:
        """Tell whether it answers, which it does once a bundle is active."""
        try:
            return self.ask("GET", "/health", token=None)[0] == 200
        except OSError:
            return False

    def entries(self) -> list[dict[str, Any]]:
        """Return the whole lines of its log."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(e) for e in lines if e.startswith("{") and e.endswith("\n")]


@contextmanager
def running(
    argv: Sequence[str], folder: Path, address: str, *, active: bool = True
) -> Iterator[Sidecar]:
    """Run an OPA in a folder until the block ends; ``active`` waits for its first bundle."""
    log = folder / "opa.log"
    with log.open("ab") as output:
        process = spawn(list(argv), cwd=folder, env={"HOME": str(folder)}, stderr=output)
    sidecar = Sidecar(address, log, process)
    try:
        if active:
            until(sidecar.healthy, log.read_text)
        yield sidecar
    finally:
        stop(process, 5)


@contextmanager
def short_folder() -> Iterator[Path]:
    """Make a folder whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="sc-", dir="/tmp") as name:
        yield Path(name)
