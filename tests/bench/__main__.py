"""Measure against the targets: a table on stderr, one JSON document on stdout. Asserts nothing.

`python -m tests.bench [PART]...`: without a part, all of them.
Ratios are taken in one run, both sides interleaved, because the machines are shared and noisy.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg2
from rich.console import Console
from rich.table import Table
from tests.bench import by_id, compatibility, impact, logs, pii, publish, scale

from dataspine.adapters import route_deploy, row_replicate, schema_publish
from dataspine.adapters.applied_route import RouteCheck
from dataspine.adapters.init import init
from dataspine.adapters.route_target import Asker, open_target
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.cdc.route import load_route
from dataspine.cdc.state import RouteStore
from dataspine.cli import shop
from dataspine.core.process import spawn, stop
from dataspine.core.workspace import Workspace

ROUTE = "streaming/cdc/data-spine.yaml"
MASKED = ("first_name", "last_name", "email", "phone", "street")
RATE = 200
SECONDS = 10
WORKERS = 16
Row = tuple[str, str, str]


def main() -> None:
    parts = sys.argv[1:] or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        raise SystemExit(f"no part {', '.join(sorted(unknown))}; use {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="spine-bench-", ignore_cleanup_errors=True) as name:
        workspace = init(Path(name) / "shop", name="shop", told=lambda _: None)
        rows = [row for part in parts for row in PARTS[part](workspace)]
    table = Table("what", "measured", "target")
    for row in rows:
        table.add_row(*row)
    Console(stderr=True).print(table)
    sys.stdout.write(
        json.dumps([dict(zip(("what", "measured", "target"), r, strict=True)) for r in rows]) + "\n"
    )


def _serve(workspace: Workspace) -> list[Row]:
    """Measure a real service in a process of its own, over kept connections."""
    child = spawn(
        [sys.executable, "-m", "dataspine.cli", "serve", "--port", "0", "--json"],
        cwd=workspace.root,
        stdout=subprocess.PIPE,
    )
    try:
        if child.stdout is None:
            raise SystemExit("the service has no output")
        address = json.loads(child.stdout.readline())["url"].removeprefix("http://")
        at_rest = _memory(child.pid)
        validate, publish = "/schemas/bench.{}/validate", "/schemas/bench.{}/versions"
        rows: list[Row] = []
        for kind, rate, target in (("AVRO", RATE, "p95 < 8 ms"), ("PROTOBUF", 50, "p95 < 15 ms")):
            path = validate.format(kind)
            load = _Load(child.pid, address)
            load.post(publish.format(kind), _schema(kind, 0))  # what the others are compared with
            load.run([(path, _schema(kind, 0))] * (rate * SECONDS), rate)
            rows += load.rows(f"validate, 60-field {kind}, {rate}/s open loop", target)
            load = _Load(child.pid, address)
            load.run([(path, _schema(kind, n + 1)) for n in range(rate * SECONDS)], rate)
            rows += load.rows("  the same, no text sent before", "")
        load = _Load(child.pid, address)
        load.run([(publish.format(n), _schema("AVRO", -n)) for n in range(200)], 20)
        rows += load.rows("register new, 60-field AVRO, 20/s open loop", "p95 < 25 ms")
        return [
            *rows,
            ("memory of `spine serve` at rest", at_rest, "< 250 MB"),
            ("  after the load", _memory(child.pid), ""),
        ]
    finally:
        stop(child, 10)


def _schema(kind: str, number: int) -> bytes:
    """Return a request of 60 fields that differs from the others by the words of one field."""
    names = [f"measure_{i}" for i in range(60)]
    if kind == "AVRO":
        fields = [{"name": name, "type": "long", "doc": "retain=P1Y"} for name in names]
        fields[0]["doc"] = f"{number}, retain=P1Y"
        text = json.dumps({"type": "record", "name": "R", "fields": fields})
    else:
        lines = [f"  int64 {name} = {i + 1};  // retain=P1Y" for i, name in enumerate(names)]
        lines[0] += f" {number}"
        text = "\n".join(['syntax = "proto3";', "message R {", *lines, "}", ""])
    metadata = {"properties": {"owner": "team-bench"}}
    return json.dumps({"schema": text, "schemaType": kind, "metadata": metadata}).encode()


class _Load:
    """Open loop: a request is due on time whether or not earlier ones have ended."""

    def __init__(self, service: int, address: str) -> None:
        self._service = service
        self._address = address
        self._totals: list[float] = []
        self._parts: dict[str, list[float]] = {}
        self._due: queue.Queue[tuple[float, str, bytes] | None] = queue.Queue()
        self._burned = (0.0, 0.0)

    def post(self, path: str, body: bytes) -> None:
        """Send one request and count nothing."""
        with contextlib.closing(http.client.HTTPConnection(self._address)) as connection:
            self._send(connection, path, body)

    def run(self, requests: Sequence[tuple[str, bytes]], rate: int) -> None:
        """Send bodies to their paths at a constant rate."""
        threads = [threading.Thread(target=self._work) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        before = _burned(self._service)
        start = time.perf_counter() + 0.5
        for number, (path, body) in enumerate(requests):
            at = start + number / rate
            time.sleep(max(0.0, at - time.perf_counter()))
            self._due.put((at, path, body))
        for _ in threads:
            self._due.put(None)
        for thread in threads:
            thread.join()
        after = _burned(self._service)
        service, opa = ((b - a) / len(requests) for a, b in zip(before, after, strict=True))
        self._burned = (service, opa)

    def rows(self, what: str, target: str) -> list[Row]:
        """Return the latencies, the service's own parts of them, and the CPU time."""
        service, opa = self._burned
        return [
            (what, _quantiles(self._totals, "ms"), target),
            *((f"  {word}", _quantiles(spent, "ms"), "") for word, spent in self._parts.items()),
            ("  CPU per request", f"service {service:.2f}, OPA {opa:.2f} ms", ""),
        ]

    def _work(self) -> None:
        with contextlib.closing(http.client.HTTPConnection(self._address)) as connection:
            while (due := self._due.get()) is not None:
                at, path, body = due
                reply = self._send(connection, path, body)
                self._totals.append((time.perf_counter() - at) * 1e3)
                for part in reply.headers["Server-Timing"].split(", "):
                    word, _, spent = part.partition(";dur=")
                    self._parts.setdefault(word, []).append(float(spent))

    @staticmethod
    def _send(
        connection: http.client.HTTPConnection, path: str, body: bytes
    ) -> http.client.HTTPResponse:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
        if reply.status >= 400:
            raise SystemExit(f"{path}: {reply.status} {text[:300]!r}")
        return reply


def _burned(service: int) -> tuple[float, float]:
    """Return the CPU milliseconds of the service and of its children."""
    children = Path(f"/proc/{service}/task").glob("*/children")
    pids = [int(pid) for path in children for pid in path.read_text(encoding="ascii").split()]
    return _cpu(service), sum(map(_cpu, pids))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e3 / os.sysconf("SC_CLK_TCK")


def _decide(workspace: Workspace) -> list[Row]:
    with Session(workspace) as session:
        return _decision(session)


def _decision(session: Session) -> list[Row]:
    proposal = Proposal("x", '{"type": "record", "name": "R", "fields": []}')
    question = schema_publish.question(session, proposal)
    session.decide(question)
    body = json.dumps({"input": question.document()}).encode()
    path = b"/v1/data/dataspine/main/schema_publish"
    head = (
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    )
    request = head % (path, len(body)) + b"\r\n" + body
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(session.child.client.address.removeprefix("unix://"))
    reader = raw.makefile("rb")

    def over_raw() -> None:
        raw.sendall(request)
        length = 0
        while (line := reader.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line[15:])
        json.loads(reader.read(length))

    ours, bare = _interleaved(lambda: session.decide(question), over_raw, 1_500)
    raw.close()
    ratio = statistics.median(ours) / statistics.median(bare)
    return [
        ("decision over the socket", _quantiles(ours, "ms"), ""),
        ("  raw socket", _quantiles(bare, "ms"), ""),
        ("  ratio of medians", f"{ratio:.2f}", "<= 1.3"),
    ]


def _emit(workspace: Workspace) -> list[Row]:
    with Session(workspace) as session:
        return _events(session)


def _events(session: Session) -> list[Row]:
    spent = []
    for number in range(500):
        event = {
            "eventType": "COMPLETE",
            "eventTime": session.clock().isoformat(),
            "run": {"runId": f"00000000-0000-7000-8000-{number:012d}"},
            "job": {"namespace": "bench", "name": "emit"},
            "producer": "https://data-spine.dev/bench",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
        }
        began = time.perf_counter()
        with session.database.begin() as connection:
            session.outbox.write(connection, event)
        spent.append((time.perf_counter() - began) * 1e3)
    return [("lineage emit, own transaction", _quantiles(spent, "ms"), "p50 < 1 ms")]


def _memory(pid: int, which: str = "VmRSS") -> str:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return f"{int(status.split(f'{which}:')[1].split()[0]) / 1024:.0f} MB"


def _route(workspace: Workspace) -> list[Row]:
    path = workspace.root / ROUTE
    text = path.read_text(encoding="utf-8").replace("homes: [EU, US]", "homes: allowed")
    masks = "".join(f"\n      customers.{name}: hmac" for name in MASKED)
    path.write_text(text.replace("masks: {}", f"masks:{masks}"), encoding="utf-8")
    with DemoCluster() as cluster, Session(workspace) as session:
        dsn = cluster.create_database("shop")
        os.environ["SPINE_SHOP_DSN"] = dsn
        shop.fill(dsn, customers=50_000, orders=250_000, told=lambda *_: None)
        for subject, name, kind in (
            ("shop.customers", "customers.avsc", "AVRO"),
            ("shop.orders", "orders.proto", "PROTOBUF"),
        ):
            schema = (workspace.root / "schema" / name).read_text(encoding="utf-8")
            schema = schema.replace("receipts are sent.", "receipts are sent. [pii]")
            schema_publish.publish(session, Proposal(subject, schema, kind))
        route_deploy.apply(session, path)
        rows = _gate(session, path)
        ended, store = threading.Event(), RouteStore(session.database)
        statuses: list[dict[str, Any]] = []
        runner = threading.Thread(
            target=row_replicate.run,
            args=(session, path, ended),
            kwargs={"told": statuses.append},
        )
        began, cpu = time.perf_counter(), time.process_time()
        runner.start()
        _wait(lambda: _total(store) >= 300_000)
        spent, burned = time.perf_counter() - began, time.process_time() - cpu
        _load(dsn, rows_per_second=1_000, seconds=SECONDS)
        _wait(lambda: _total(store) >= 300_000 + 1_000 * SECONDS)
        ended.set()
        runner.join()
        peak = _huge(workspace, dsn, store)
    lag = next(iter(statuses[-1]["lag"].values()))
    return [
        *rows,
        (
            "whole route, snapshot of 300,000 rows",
            f"{300_000 / spent:,.0f} rows/s, {300_000 / burned:,.0f} per CPU second",
            ">= 60,000 per core",
        ),
        ("lag at 1,000 rows/s", f"p50 {lag['p50']:.3f} s, p95 {lag['p95']:.3f} s", "p95 < 1 s"),
        ("peak memory, 1 M-row transaction", peak, "< 400 MB"),
    ]


def _huge(workspace: Workspace, dsn: str, store: RouteStore) -> str:
    """Run the route in a process of its own over one huge transaction; return its peak memory."""
    argv = [sys.executable, "-m", "dataspine.cli", "cdc", "run", "--json"]
    child = spawn(argv, cwd=workspace.root)
    try:
        before = _total(store)
        with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "insert into orders (id, customer_id, country, currency, amount, status)"
                " select g, 1, 'DE', 'EUR', 1, 'placed'"
                " from generate_series(1000001, 2000000) g"
            )
            connection.commit()
        _wait(lambda: _total(store) >= before + 1_000_000, timedelta(minutes=10))
        return _memory(child.pid, "VmHWM")
    finally:
        stop(child, 15)


def _gate(session: Session, path: Path) -> list[Row]:
    route = load_route(path)
    stored = RouteStore(session.database).get(route.name)
    with contextlib.closing(route_deploy.open_source(session, route, "shop")) as source:
        relation = next(r for r in source.relations() if r.name == "customers")
    homes = ["DE", "US", "BR", "JP", "FR"] * 200_000
    asker = Asker(session, RouteCheck(session, stored))
    with open_target(session, route, stored, asker) as target:
        gate = target.gate(target.sinks[0], relation)
        gate.judge([homes[:5]], 5)
        began = time.perf_counter()
        gate.judge([homes], len(homes))
        spent = time.perf_counter() - began
    return [("gate alone", f"{len(homes) / spent:,.0f} rows/s", ">= 1,000,000")]


def _load(dsn: str, *, rows_per_second: int, seconds: int) -> None:
    batch, number = 20, 250_000
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        start = time.perf_counter()
        for step in range(rows_per_second * seconds // batch):
            time.sleep(max(0.0, start + step * batch / rows_per_second - time.perf_counter()))
            cursor.execute(
                "insert into orders (id, customer_id, country, currency, amount, status)"
                " select g, 1, 'DE', 'EUR', 1, 'placed' from generate_series(%s, %s) g",
                (number + 1, number + batch),
            )
            number += batch


def _total(store: RouteStore) -> int:
    return sum(sum(words.values()) for words in store.outcomes("shop-to-us").values())


def _wait(done: Callable[[], bool], limit: timedelta = timedelta(minutes=3)) -> None:
    end = time.monotonic() + limit.total_seconds()
    while not done():
        if time.monotonic() > end:
            raise SystemExit("the route did not finish in time")
        time.sleep(0.02)


def _interleaved(
    one: Callable[[], object], other: Callable[[], object], times: int
) -> tuple[list[float], list[float]]:
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(times):
        for call, kept in zip((one, other), spent, strict=True):
            began = time.perf_counter()
            call()
            kept.append((time.perf_counter() - began) * 1e3)
    return spent


def _quantiles(values: list[float], unit: str) -> str:
    ordered = sorted(values)
    p50, p95 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)]
    return f"p50 {p50:.2f}, p95 {p95:.2f} {unit}"


PARTS: dict[str, Callable[[Workspace], list[Row]]] = {
    "decision": _decide,
    "emit": _emit,
    "pii": lambda _workspace: pii.main(),
    "compatibility": lambda _workspace: compatibility.measure(),
    "logs": lambda workspace: logs.measure(workspace.root.parent),
    "by-id": lambda workspace: by_id.measure(workspace.root, _schema("AVRO", 0)),
    "publish": lambda workspace: publish.measure(workspace.root.parent / "publish"),
    "scale": lambda workspace: scale.measure(workspace.root.parent),
    "impact": lambda workspace: impact.measure(workspace.root.parent),
    "validate": _serve,
    "route": _route,
}

if __name__ == "__main__":
    main()
