"""How many comparisons of 60-field schemas a second: cached, and with a version never seen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

from dataspine.registry import ParsedSchema, ProtobufWorkers, compare, parse

FIELDS = 60
FRESH = 200
VERSIONS = 20
SECONDS = 1.0
TARGET = ">= 1,000/s"
Row = tuple[str, str, str]


def measure() -> list[Row]:
    """Return rows of what was measured; schemas are parsed before the clock starts."""
    rows: list[Row] = []
    with ProtobufWorkers(1) as workers:
        for kind in ("AVRO", "PROTOBUF"):
            versions = [
                parse(kind, _text(kind, number), workers=workers) for number in range(FRESH)
            ]
            old, new, several = versions[0], versions[1], versions[:VERSIONS]
            for name, target, check in (
                (f"compatibility check, {FIELDS}-field {kind}", TARGET, _check(old, new)),
                ("  FULL", "", _check(old, new, "FULL")),
                (f"  with {VERSIONS} versions", "", _check(several, new, "FULL_TRANSITIVE")),
            ):
                check()
                rows.append((name, f"{_rate(check):,.0f}/s", target))
            began = time.perf_counter()
            for version in versions[2:]:
                compare(old, version)
            spent = (time.perf_counter() - began) / (FRESH - 2)
            rows.append(("  a pair that was never compared", f"{spent * 1000:.2f} ms", ""))
    return rows


def _check(
    previous: Sequence[ParsedSchema] | ParsedSchema, new: ParsedSchema, level: str = "BACKWARD"
) -> Callable[[], None]:
    def check() -> None:
        if not compare(previous, new, level=level).compatible:
            raise SystemExit("the schemas are compatible")

    return check


def _rate(check: Callable[[], None]) -> float:
    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < SECONDS:
        check()
        count += 1
    return count / spent


def _text(kind: str, number: int) -> str:
    """Return a schema that differs from the others by the name of its last field."""
    names = [*(f"measure_{i}" for i in range(FIELDS - 1)), f"last_{number}"]
    if kind == "AVRO":
        fields = [{"name": name, "type": "long", "default": 0} for name in names]
        return json.dumps({"type": "record", "name": "R", "fields": fields}, indent=1)
    lines = [f"  int64 {name} = {i};" for i, name in enumerate(names, 1)]
    return "\n".join(['syntax = "proto3";', "message R {", *lines, "}", ""])


if __name__ == "__main__":
    for row in measure():
        print(*row, sep="\t")
