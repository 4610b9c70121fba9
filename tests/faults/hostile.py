"""Bodies that cost their sender little, for every address of the OpenAPI document."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.facts import schema_facts

__all__ = ["MIB", "Hostile", "hostile_requests"]

MIB = 1_048_576
AT = "2026-11-24T09:00:00Z"
# What a segment of an address stands for.
SEGMENTS = {
    "point": "schema.publish",
    "number": "1",
    "identifier": "1",
    "sequence": "1",
    "channel": "dev",
    "name": "dev",
    "subject": "shop.a",
    "guid": "00000000-0000-0000-0000-000000000000",
}


@dataclass(frozen=True)
class Hostile:
    """One request; ``kind`` says what is wrong with its body."""

    method: str
    path: str
    kind: str
    body: bytes
    is_packed: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}, {self.kind}"


def hostile_requests(document: Mapping[str, Any], seed: int) -> Iterator[Hostile]:
    """Yield twenty and some bodies for each operation."""
    chance = random.Random(seed)
    plain = {kind: make(chance) for kind, make in PLAIN.items()}
    packed = {kind: gzip.compress(make(chance), 6) for kind, make in PACKED.items()}
    for template, operations in sorted(document["paths"].items()):
        path = template.replace("{", "\0").replace("}", "\0").split("\0")
        path[1::2] = [SEGMENTS.get(name, name) for name in path[1::2]]
        address = "".join(path)
        for method in sorted(operations):
            for kind, body in plain.items():
                yield Hostile(method.upper(), address, kind, body)
            for kind, body in packed.items():
                yield Hostile(method.upper(), address, kind, body, is_packed=True)
            for kind, body in _shaped(address):
                yield Hostile(method.upper(), address, kind, body)


def _to(size: int, begin: bytes, part: bytes, end: bytes) -> bytes:
    return begin + part * ((size - len(begin) - len(end)) // len(part)) + end


def _wide(number: int, last: str = "") -> bytes:
    members = [f'"k{n}":{n}' for n in range(number)]
    return f"{{{','.join([*members, *([last] if last else [])])}}}".encode()


def _noise(size: int) -> Callable[[random.Random], bytes]:
    return lambda chance: chance.randbytes(size)


def _same(body: bytes) -> Callable[[random.Random], bytes]:
    return lambda _: body


PLAIN: dict[str, Callable[[random.Random], bytes]] = {
    "deep lists": _same(b"[" * 4 * MIB),
    "deep objects": _same(_to(8 * MIB, b"", b'{"a":', b"1")),
    "wide": _same(_wide(110_000)),
    "wider": _same(_wide(500_000)),
    "a key twice at the end": lambda chance: _wide(60_000, f'"k{chance.randrange(60_000)}":0'),
    "one key always": _same(_to(8 * MIB, b"{", b'"a":1,', b'"a":1}')),
    "one key, few values": _same(_to(MIB, b"{", b'"a":1,', b'"a":1}')),
    "huge integers": _same(_to(8 * MIB, b"[", b"9" * 4_200 + b",", b"1]")),
    "an integer too huge": _same(_to(8 * MIB, b"[", b"9", b"]")),
    "a long fraction": _same(_to(8 * MIB, b"[1.", b"9", b"e999999]")),
    "a long text": _same(_to(8 * MIB, b'{"schema":"', b"x", b'"}')),
    "long escapes": _same(_to(8 * MIB, b'{"schema":"', b"\\u0041", b'"}')),
    "a wide alphabet": _same(_to(8 * MIB, '{"schema":"\U0001f600'.encode(), b"x", b'"}')),
    "many objects": _same(_to(8 * MIB, b"[", b"{},", b"{}]")),
    "some objects": _same(_to(400_000, b"[", b'{"a":1},', b"{}]")),
    "a text that ends nowhere": _same(_to(8 * MIB, b'["', b"\\\\", b"")),
    "not UTF-8": _same(_to(8 * MIB, b'["', b"\xff", b'"]')),
    "noise": _noise(MIB),
    "too large": _same(_to(9 * MIB, b'["', b"x", b'"]')),
}
_EVENT = {"decision_id": "d", "timestamp": AT, "path": "dataspine/main/schema_publish"}
PACKED: dict[str, Callable[[random.Random], bytes]] = {
    "a packed bomb": _same(b" " * 64 * MIB),
    "a million items": lambda chance: _log(chance, b'{"allow":true},' * 1_000_000 + b"{}"),
    "a million numbers": lambda chance: _log(chance, b"1," * 1_000_000 + b"1"),
    "four million events": _same(_to(16 * MIB, b"[", b"{},", b"{}]")),
}


def _log(chance: random.Random, items: bytes) -> bytes:
    event = {**_EVENT, "decision_id": f"d{chance.random()}"}
    return b"[" + json.dumps(event).encode()[:-1] + b',"result":[' + items + b"]}]"


def _shaped(path: str) -> Iterator[tuple[str, bytes]]:
    """Yield bodies that pass the first look of their address."""
    if path.startswith("/v1/decisions/"):
        for kind, name in (("a long name", "x" * 900_000), ("many names", ["x"] * 110_000)):
            facts = {**schema_facts("shop.a", owner="a"), "name": name}
            question = {"point": "schema.publish", "at": AT, "facts": facts}
            yield kind, json.dumps(question).encode()
    if "subjects" in path or "schemas" in path:
        fields = [{"name": f"f{n}", "type": "int"} for n in range(16_000)]
        record = {"type": "record", "name": "A", "fields": fields}
        nested: Any = "int"
        for _ in range(60):
            nested = {"type": "array", "items": nested}
        for kind, schema in (
            ("many fields", record),
            ("deep types", nested),
            (
                "a long enum",
                {"type": "enum", "name": "E", "symbols": [f"S{n}" for n in range(90_000)]},
            ),
        ):
            yield kind, json.dumps({"schema": json.dumps(schema)}).encode()
        references = [{"name": "n" * 10_000, "subject": "s", "version": 1}] * 100
        yield "long references", json.dumps({"schema": '"int"', "references": references}).encode()
        tags = {f"f{n}": ["PII"] for n in range(30_000)}
        yield "many tags", json.dumps({"schema": '"int"', "metadata": {"tags": tags}}).encode()
    if path == "/api/v1/lineage":
        yield "many inputs", json.dumps(_lineage(3_000)).encode()
    if path == "/api/v1/lineage/batch":
        yield "many events", json.dumps([_lineage(20, n) for n in range(500)]).encode()
    if path == "/status":
        labels = {"id": "a", **{f"l{n}": "x" * 100 for n in range(8_000)}}
        yield "many labels", json.dumps({"labels": labels}).encode()


def _lineage(datasets: int, run: int = 0) -> dict[str, Any]:
    return {
        "eventTime": AT,
        "eventType": "COMPLETE",
        "producer": "https://example.com/hostile",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": f"018f0000-0000-7000-8000-{run:012}"},
        "job": {"namespace": "n", "name": "j"},
        "inputs": [{"namespace": "n", "name": f"d{n}"} for n in range(datasets)],
    }
