"""Hostile bodies on every address while 1,000 connections say nothing: bounded, in no one's way."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import store
from tests.faults.hostile import MIB, Hostile, hostile_requests
from tests.served import service

from dataspine.adapters.session import Session
from dataspine.core.canonical import parse_json
from dataspine.core.errors import InputError

pytestmark = [pytest.mark.integration, pytest.mark.faults]

LIMITS = {"seconds": 2.0, "memory": 64 * MIB, "database": MIB, "status": 499}
SILENT = 1_000
HEALTH_P95, HEALTH_MAX = 0.1, 1.0
# In a process of its own: this one is busy with sending.
WATCH = """
import http.client, sys, threading, time
took = []
def watch():
    while True:
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"ok":true}'
        connection.close()
        took.append(time.perf_counter() - began)
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()
sys.stdin.read()
print(*took)
"""


@dataclass
class _Service:
    port: int
    pid: int
    database: Path

    def send(self, request: Hostile) -> int:
        """Return the status of the answer; 0 when there was none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": "application/json"}
        if request.is_packed:
            headers["Content-Encoding"] = "gzip"
        with closing(connection), suppress(ConnectionError, http.client.BadStatusLine):
            with suppress(ConnectionError):  # it was refused before all of it was sent
                connection.request(request.method, request.path, request.body, headers)
            return connection.getresponse().status
        return 0

    def memory(self, what: str) -> int:
        """Return bytes: ``VmRSS`` now, ``VmHWM`` at most since ``forget_peak``."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        (line,) = (each for each in lines if each.startswith(what))
        return int(line.split()[1]) * 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def stored(self) -> int:
        with closing(sqlite3.connect(self.database, timeout=30)) as connection:
            pages, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "page_size")
            )
        return int(pages * size)


@contextmanager
def _serving(folder: Path, opa: Path) -> Iterator[_Service]:
    with (
        store.workspace(folder / "shop", "sqlite") as workspace,
        service(workspace, opa) as (child, address),
    ):
        port = int(address.rpartition(":")[2])
        yield _Service(port, child.pid, workspace.state / "spine.db")


class _Watch:
    """Asks for the health of the service all the time."""

    def __init__(self, port: int) -> None:
        argv = [sys.executable, "-c", WATCH, str(port)]
        self._child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )

    def end(self) -> list[float]:
        """Return how long each answer took, the quickest first."""
        out, _ = self._child.communicate()
        return sorted(float(each) for each in out.split())


class _Silent:
    """Connections that say nothing; those that the service closed are opened again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[socket.socket] = []

    def refill(self) -> None:
        alive = []
        for each in self._open:
            try:
                each.recv(1)
                each.close()
            except BlockingIOError:
                alive.append(each)
            except OSError:
                each.close()
        self._open = alive
        while len(self._open) < SILENT:
            made = socket.create_connection(("127.0.0.1", self._port), timeout=30)
            made.setblocking(False)
            self._open.append(made)

    def close(self) -> None:
        for each in self._open:
            each.close()


def test_no_body_on_any_address_costs_much(tmp_path: Path, opa: Path) -> None:
    seed = int(os.environ.get("SPINE_SEED", "12"))
    print(f"SPINE_SEED={seed}")  # noqa: T201 - what is needed to see it again
    over: list[str] = []
    worst = dict.fromkeys(LIMITS, 0.0)
    with _serving(tmp_path, opa) as serving:
        connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=30)
        connection.request("GET", "/openapi.json")
        document = json.loads(connection.getresponse().read())
        connection.close()
        watch, silent = _Watch(serving.port), _Silent(serving.port)
        last, sent = "", 0
        for request in hostile_requests(document, seed):
            if request.path != last:
                silent.refill()
                last = request.path
            found = _cost(serving, request)
            sent += 1
            worst = {name: max(worst[name], found[name]) for name in worst}
            if any(found[name] > most for name, most in LIMITS.items()):
                over.append(f"{request}: {found}")
        silent.close()
        took = watch.end()
    p95 = took[int(len(took) * 0.95)]
    print(  # noqa: T201 - the figures
        f"{sent} requests, worst {worst}; health p95 {p95:.3f} s, {took[-1]:.3f} s at most"
    )
    assert not over, "\n".join(over)
    assert (p95 < HEALTH_P95, took[-1] < HEALTH_MAX) == (True, True)


def _cost(serving: _Service, request: Hostile) -> dict[str, float]:
    serving.forget_peak()
    memory, stored = serving.memory("VmRSS"), serving.stored()
    began = time.perf_counter()
    status = serving.send(request)
    took = time.perf_counter() - began
    return {
        "status": status,
        "seconds": round(took, 3),
        "memory": serving.memory("VmHWM") - memory,
        "database": serving.stored() - stored,
    }


def test_a_repeated_key_is_found_in_one_pass() -> None:
    members = ",".join(f'"k{n}":1' for n in range(80_000))
    began = time.process_time()
    with pytest.raises(InputError, match="the key 'k79999' stands twice"):
        parse_json(f'{{{members},"k79999":2}}', max_bytes=MIB)
    assert time.process_time() - began < LIMITS["seconds"]


def test_silent_connections_leave_the_service_answering(tmp_path: Path, opa: Path) -> None:
    with _serving(tmp_path, opa) as serving:
        silent = _Silent(serving.port)
        silent.refill()
        answers = [
            serving.send(Hostile("GET", path, "", b""))
            for path in ("/healthz", "/readyz", "/subjects", "/v1/fleet")
        ]
        silent.close()
    assert answers == [200] * 4


def test_a_graph_of_many_edges_is_drawn_in_part(tmp_path: Path) -> None:
    with store.workspace(tmp_path / "shop", "sqlite") as workspace, Session(workspace) as session:
        sources = [{"namespace": "n", "name": f"d{number}"} for number in range(200)]
        for run in range(400):
            session.lineage.ingest(
                {
                    "eventTime": "2026-11-24T09:00:00Z",
                    "producer": "https://example.com/hostile",
                    "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/JobEvent",
                    "job": {"namespace": "n", "name": f"j{run}"},
                    "inputs": sources,
                    "outputs": [{"namespace": "n", "name": "all"}],
                }
            )
        session.lineage.catch_up()
        began = time.process_time()
        found = session.lineage.graph("dataset:n:all", depth=50, budget=2_000)
        took = time.process_time() - began
    print(f"{len(found['edges'])} edges in {took:.1f} s")  # noqa: T201 - the figures
    assert (len(found["edges"]) <= 6_000, found["cut"]) == (True, True)
    assert took < LIMITS["seconds"]
