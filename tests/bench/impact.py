"""`spine policy impact` over a month of recorded decisions, most of them asked for before.

The questions are seeded, the answers are OPA's own, and the log is filled as OPA fills it. What is
measured is the command in a process of its own, from its start to its last line.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dataspine.adapters.init import init
from dataspine.adapters.opened_bundle import active_of
from dataspine.adapters.session import Session
from dataspine.decisions.decision import DecisionInput
from dataspine.decisions.replay import Replayer

DECISIONS = 1_000_000
DISTINCT = DECISIONS // 20
SCHEMAS = DISTINCT // 10  # the other questions are about rows
CHUNK = 1_000
BATCH = 200
START = datetime(2026, 11, 1, tzinfo=UTC)
PERIOD = timedelta(days=30)
COUNTRIES = ("DE", "FR", "ES", "US", "GB", "BR", "JP", "IN")
Row = tuple[str, str, str]


def measure(folder: Path) -> list[Row]:
    """Return rows of what was measured; the log is filled before the clock starts."""
    workspace = init(folder / "impact", name="impact", told=lambda _: None)
    with Session(workspace) as session:
        revision = session.active.revision
        asked = list(_asked(session))
        began, burned = time.perf_counter(), time.process_time()
        for chunk in _chunks(asked, revision):
            session.decision_log.ingest_chunk(chunk)
        filled, burned = time.perf_counter() - began, time.process_time() - burned
    path = workspace.root / "spine.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("rules:\n", "rules:\n  pii.untagged_field: warn\n"), "utf-8")
    report, spent, cpu, peak = _impact(workspace.root)
    recorded = report["recorded"]
    if sum(recorded.values()) != DECISIONS or report["distinct"] != DISTINCT:
        raise SystemExit(f"of {DECISIONS} decisions the report has {recorded}")
    counts = ", ".join(f"{kind} {count:,}" for kind, count in recorded.items() if count)
    return [
        (
            f"impact, {DECISIONS:,} recorded decisions, {DISTINCT:,} distinct",
            f"{spent:.1f} s, {cpu:.1f} CPU seconds with OPA",
            "< 60 s",
        ),
        ("  found", counts, ""),
        ("  questions asked", f"{report['asked']:,}", ""),
        ("  peak memory of one process", f"{peak / 1024:.0f} MB", ""),
        (
            "  the log was filled at",
            f"{DECISIONS / filled:,.0f} events/s, {DECISIONS / burned:,.0f} per CPU second",
            "",
        ),
    ]


def _impact(root: Path) -> tuple[dict[str, Any], float, float, int]:
    """Run the command; return its report, the seconds, the CPU seconds, and kilobytes."""
    argv = [sys.executable, "-m", "dataspine.cli", "policy", "impact", "--local", "--json"]
    began = time.perf_counter()
    with subprocess.Popen(argv, cwd=root, stdout=subprocess.PIPE) as process:
        if process.stdout is None:
            raise SystemExit("the command has no output")
        text = process.stdout.read()
        # Its usage has that of the OPAs in it, because it waited for them.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    spent = time.perf_counter() - began
    if process.returncode not in (0, 1):
        raise SystemExit(f"the command ended with {process.returncode}")
    return json.loads(text), spent, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question and its answer as OPA writes them, around the time of asking."""

    path: str
    question: str
    result: str

    def event(self, decision_id: str, at: datetime, revision: str) -> str:
        stamp = f"{at:%Y-%m-%dT%H:%M:%S.%f}"
        return (
            '{"labels":{"app":"shop","id":"00000000-0000-4000-8000-000000000007",'
            f'"version":"1.22.2"}},"decision_id":"{decision_id}",'
            f'"bundles":{{"main":{{"revision":"{revision}"}}}},"path":"{self.path}",'
            f'"input":{{"at":"{stamp}Z",{self.question},"result":{self.result},'
            f'"rule_labels":[{{"controls":["GDPR-44"]}}],"timestamp":"{stamp}000Z",'
            '"metrics":{"timer_rego_query_eval_ns":178029,"timer_server_handler_ns":402113}}'
        )


def _asked(session: Session) -> Iterator[_Asked]:
    """Yield the distinct questions with what the active bundle answers to them."""
    with Replayer(session.opa_path, active_of(session, session.channel).source()) as replayer:
        for questions in (_schemas(), _rows()):
            for start in range(0, len(questions), BATCH):
                some = questions[start : start + BATCH]
                for question, decision in zip(some, replayer.decide(some), strict=True):
                    answer = decision.document()
                    names = ("allow", "violations", "obligations", "policy", "valid_until")
                    yield _Asked(
                        f"dataspine/main/{question.point.replace('.', '_')}",
                        _text(question.document() | {"at": None}).removeprefix('{"at":null,'),
                        _text({name: answer[name] for name in names}),
                    )


def _chunks(asked: Sequence[_Asked], revision: str) -> Iterator[bytes]:
    """Yield chunks as OPA sends them: each question once or more, in the order of time."""
    chance = random.Random(7)
    order = [*range(DISTINCT), *chance.choices(range(DISTINCT), k=DECISIONS - DISTINCT)]
    chance.shuffle(order)
    step = PERIOD / DECISIONS
    for start in range(0, DECISIONS, CHUNK):
        events = []
        for number, which in enumerate(order[start : start + CHUNK], start):
            decision_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
            events.append(asked[which].event(decision_id, START + number * step, revision))
        yield gzip.compress(f"[{','.join(events)}]".encode(), 1)


def _schemas() -> list[DecisionInput]:
    chance = random.Random(11)
    return [_schema(number, chance) for number in range(SCHEMAS)]


def _schema(number: int, chance: random.Random) -> DecisionInput:
    names = ["id", "email" if number % 2 else "remark", *(f"measure_{i}" for i in range(8))]
    fields = [
        {
            "path": name,
            "type": chance.choice(["long", "string"]),
            "doc": None,
            "tokens": name.split("_"),
            "context": ["bench"],
            "classifications": ["Public"],
            "tagged": False,
            "retention": None,
            "waiver": None,
            "line": line,
        }
        for line, name in enumerate(names, 3)
    ]
    facts = {
        "name": f"bench.{number % 10}{number:05}",
        "format": "AVRO",
        "metadata": {"owner": "team-bench"},
        "fields": fields,
        "version": {"current": None, "next": "1.0.0", "bump": "none", "claimed": None},
        "compatibility": {"level": "BACKWARD", "compatible": True, "messages": []},
        "previous": None,
    }
    return DecisionInput("schema.publish", START, facts)


def _rows() -> list[DecisionInput]:
    chance = random.Random(13)
    return [_row(number, chance) for number in range(DISTINCT - SCHEMAS)]


def _row(number: int, chance: random.Random) -> DecisionInput:
    country = COUNTRIES[number % len(COUNTRIES)]
    columns = [
        {"path": f"column_{i}", "classifications": [chance.choice(["PII", "Public"])]}
        for i in range(14)
    ]
    facts = {
        "name": f"bench.route-{number // len(COUNTRIES)}",
        "table": "customers",
        "homes": "allowed",
        "home": {"column": "country"},
        "columns": [*columns, {"path": "country", "classifications": ["Public"]}],
        "guard_columns": ["country"],
        "sink": {
            "name": "lake",
            "region": chance.choice(["eu-west-1", "us-east-1"]),
            "masks": {f"customers.column_{i}": "hmac" for i in range(14)},
        },
    }
    return DecisionInput("row.replicate", START, facts, {"country": country})


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
