"""Decision-log ingest: realistic events in gzipped chunks as OPA sends them, durably stored."""

from __future__ import annotations

import gzip
import json
import random
import statistics
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dataspine.core.database import Database
from dataspine.decisions.decision_log import DecisionLog

CHUNKS = 60
EVENTS = 500
START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
REVISION = "1.0.0+sha256." + "9f" * 32


def measure(folder: Path) -> list[tuple[str, str, str]]:
    """Return rows of what was measured; the chunks are made before the clock starts."""
    database = Database(folder / "logs.db")
    database.migrate()
    log = DecisionLog(database, lambda: START)
    chunks = list(_chunks())
    spent, burned, packed = [], time.process_time(), sum(map(len, chunks))
    for chunk in chunks:
        began = time.perf_counter()
        stored = log.ingest_chunk(chunk, instance="bench").stored
        spent.append(time.perf_counter() - began)
        if stored != EVENTS:
            raise SystemExit(f"{stored} of {EVENTS} events were stored")
    burned = time.process_time() - burned
    again = time.perf_counter()
    log.ingest_chunk(chunks[0])
    again = time.perf_counter() - again
    total = CHUNKS * EVENTS
    size = (folder / "logs.db").stat().st_size / total
    database.close()
    return [
        (
            "decision-log ingest, durable",
            f"{total / sum(spent):,.0f} events/s, {total / burned:,.0f} per CPU second,"
            f" median chunk {EVENTS / statistics.median(spent):,.0f} events/s",
            ">= 15,000",
        ),
        ("  a chunk sent again", f"{EVENTS / again:,.0f} events/s", ""),
        ("  sent / kept per event", f"{packed / total:.0f} / {size:.0f} bytes", ""),
    ]


def _chunks() -> Iterator[bytes]:
    chance = random.Random(7)
    for chunk in range(CHUNKS):
        events = [_event(chance, chunk * EVENTS + number) for number in range(EVENTS)]
        yield gzip.compress(json.dumps(events, separators=(",", ":")).encode(), 6)


def _event(chance: random.Random, number: int) -> dict[str, object]:
    country = chance.choice(["DE", "FR", "US", "BR", "JP"])
    denied = country in {"BR", "JP"}
    at = START - timedelta(milliseconds=number)
    columns = [
        {"path": f"column_{i}", "classifications": [chance.choice(["PII", "Public"])]}
        for i in range(14)
    ]
    violation = {
        "code": "residency.home_not_allowed",
        "severity": "error",
        "message": f"rows of {country} may not go to US",
        "path": "/row",
        "remediation": "Park it, or add a transfer to the matrix.",
        "controls": ["GDPR-44"],
    }
    return {
        "labels": {"app": "shop", "id": str(uuid.UUID(int=7)), "version": "1.22.2"},
        "decision_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "bundles": {"main": {"revision": REVISION}},
        "path": "dataspine/main/row_replicate",
        "input": {
            "point": "row.replicate",
            "at": "2026-11-24T09:00:00Z",
            "facts": {
                "name": f"shop.route-{number % 20}",
                "table": "customers",
                "homes": "allowed",
                "home": {"column": "country"},
                "columns": columns,
                "guard_columns": ["country"],
                "sink": {"name": "lake", "region": "us-east-1", "masks": {"customers.a": "hmac"}},
            },
            "row": {"country": country},
        },
        "result": {
            "allow": not denied,
            "violations": [violation] if denied else [],
            "obligations": [{"type": "mask", "path": "/facts/sink/masks", "method": "hmac"}],
            "policy": {"revision": REVISION, "sequence": 41},
            "valid_until": "2027-03-31T00:00:00Z",
        },
        "rule_labels": [{"controls": ["GDPR-44"]}],
        "timestamp": f"{at:%Y-%m-%dT%H:%M:%S.%f}{number % 1000:03}Z",
        "metrics": {
            "timer_rego_query_eval_ns": chance.randrange(100_000, 400_000),
            "timer_server_handler_ns": chance.randrange(200_000, 600_000),
        },
        "req_id": number,
    }
