"""100,000 versions over 10,000 subjects: start, reads, memory, export; beside 1,000 over 100."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataspine.adapters import schema_transfer
from dataspine.adapters.init import init
from dataspine.adapters.session import Session
from dataspine.core.canonical import digest
from dataspine.core.process import spawn, stop
from dataspine.core.workspace import Workspace
from dataspine.registry import Contract, ParsedSchema, parse

SMALL, LARGE = 100, 10_000
VERSIONS = 10
BATCH = 500  # subjects in one transaction
REQUESTS = 300
WORD = "RecordOfTheSubject"

Row = tuple[str, str, str]


def measure(folder: Path) -> list[Row]:
    """Return each figure at both sizes."""
    workspace = init(folder / "scale", name="shop", told=lambda _: None)
    parsed = [_schema(number) for number in range(VERSIONS)]
    small = _figures(workspace, parsed, 0, SMALL)
    large = _figures(workspace, parsed, SMALL, LARGE)
    head = ("", f"{SMALL:,} subjects, {LARGE:,} subjects", "")
    return [
        head,
        *((what, f"{small[what][0]}, {large[what][0]}", large[what][1]) for what in large),
    ]


def _schema(number: int) -> ParsedSchema:
    names = [f"measure_{i}" for i in range(20 + number)]
    fields = [{"name": n, "type": "long", "doc": "retain=P1Y", "default": 0} for n in names]
    return parse("AVRO", json.dumps({"type": "record", "name": WORD, "fields": fields}))


def _figures(
    workspace: Workspace, parsed: list[ParsedSchema], first: int, end: int
) -> dict[str, tuple[str, str]]:
    began = time.perf_counter()
    with Session(workspace) as session:
        _ = session.active  # a service finds its bundle built
        for start in range(first, end, BATCH):
            with session.database.begin() as connection:
                for subject in range(start, min(end, start + BATCH)):
                    _fill(session, connection, subject, parsed)
        filled = time.perf_counter() - began
        began = time.perf_counter()
        schema_transfer.export(session, workspace.root / "registry.jsonl")
        exported = time.perf_counter() - began
    found = {
        "filled, versions a second": (f"{(end - first) * VERSIONS / filled:,.0f}", ""),
        "`schema export`": (f"{exported:.1f} s", ""),
    }
    began = time.perf_counter()
    with _serving(workspace) as (pid, connection):
        _get(connection, "/readyz")
        found["start until /readyz"] = (f"{time.perf_counter() - began:.1f} s", "< 3 s")
        found["memory at rest"] = (_memory(pid), "< 250 MB")
        found |= {
            what: (_quantiles(_spent(connection, path, end)), "flat")
            for what, path in _READS.items()
        }
        found["list all subjects"] = (_quantiles(_spent(connection, _all, end, 5)), "")
        found["memory after the reads"] = (_memory(pid), "")
    return found


def _fill(session: Session, connection: Any, subject: int, parsed: list[ParsedSchema]) -> None:
    for number, each in enumerate(parsed):
        text = each.text.replace(WORD, f"{WORD}{subject}")
        session.registry.add(
            connection,
            _subject(subject),
            replace(each, text=text, digest=digest(["AVRO", text])),
            semver=f"1.{number}.0",
            owner="team-bench",
            contract=Contract({"owner": "team-bench"}),
            references=(),
            provenance={"actor": "bench"},
            decision_id=None,
            published_at=session.clock(),
        )


def _subject(number: int) -> str:
    return f"bench.subject-{number:05d}"


_READS: dict[str, Callable[[int, int], str]] = {
    "list 100 subjects": lambda n, _: f"/subjects?limit=100&offset={n % 100}",
    "list the subjects of a prefix": lambda n, _: (
        f"/subjects?subjectPrefix={_subject(n % 90)[:-1]}"
    ),
    "list 100 latest versions": lambda n, _: f"/schemas?limit=100&offset={n % 100}",
    "latest": lambda n, end: f"/subjects/{_subject(n * 7919 % end)}/versions/latest",
    "versions of a subject": lambda n, end: f"/subjects/{_subject(n * 7919 % end)}/versions",
    "version 5": lambda n, end: f"/subjects/{_subject(n * 7919 % end)}/versions/5",
    "by id": lambda n, end: f"/schemas/ids/{n * 7919 % (end * VERSIONS) + 1}",
    "by id, its subjects": lambda n, end: (
        f"/schemas/ids/{n * 7919 % (end * VERSIONS) + 1}/subjects"
    ),
}


def _all(_number: int, _end: int) -> str:
    return "/subjects"


@contextmanager
def _serving(workspace: Workspace) -> Iterator[tuple[int, http.client.HTTPConnection]]:
    argv = [sys.executable, "-m", "dataspine.cli", "serve", "--port", "0", "--json"]
    child = spawn(argv, cwd=workspace.root, stdout=subprocess.PIPE)
    try:
        if child.stdout is None:
            raise SystemExit("the service has no output")
        address = json.loads(child.stdout.readline())["url"].removeprefix("http://")
        with closing(http.client.HTTPConnection(address)) as connection:
            yield child.pid, connection
    finally:
        stop(child, 10)


def _spent(
    connection: http.client.HTTPConnection,
    path: Callable[[int, int], str],
    end: int,
    requests: int = REQUESTS,
) -> list[float]:
    spent = []
    for number in range(requests):
        began = time.perf_counter()
        _get(connection, path(number, end))
        spent.append((time.perf_counter() - began) * 1e3)
    return sorted(spent)


def _get(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {body[:300]!r}")
    return body


def _quantiles(spent: list[float]) -> str:
    return f"p50 {spent[len(spent) // 2]:.1f} p95 {spent[len(spent) * 95 // 100]:.1f} ms"


def _memory(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return f"{int(status.split('VmRSS:')[1].split()[0]) / 1024:.0f} MB"
