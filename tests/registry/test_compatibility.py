"""What a change means for the readers of old data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from dataspine.registry import Comparison, ProtobufWorkers, compare, next_version, parse


@pytest.fixture(scope="module")
def workers() -> Iterator[ProtobufWorkers]:
    with ProtobufWorkers(1) as pool:
        yield pool


def avro(*fields: str) -> str:
    return '{"type": "record", "name": "R", "fields": [' + ",".join(fields) + "]}"


A, B = '{"name": "a", "type": "int"}', '{"name": "b", "type": "string"}'


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (avro(A), avro(A) + " ", "none"),
        (avro(A), avro('{"name": "a", "type": "int", "doc": "x [pii]"}'), "patch"),
        (avro(A, B), avro(A), "minor"),
        (avro(A), avro('{"name": "a", "type": "long"}'), "minor"),
        (avro(A), avro(A, '{"name": "b", "type": "string", "default": ""}'), "minor"),
        (avro(A), avro('{"name": "z", "aliases": ["a"], "type": "int"}'), "minor"),
        (avro(A), avro(A, B), "major"),
        (avro(A), avro('{"name": "a", "type": "string"}'), "major"),
        (avro(A), '{"type": "record", "name": "S", "fields": [' + A + "]}", "major"),
    ],
)
def test_avro_changes_have_their_bump(old: str, new: str, expected: str) -> None:
    found = compare(parse("AVRO", old), parse("AVRO", new))
    assert (found.bump, found.compatible) == (expected, expected != "major")
    assert bool(found.messages) == (expected == "major")


def test_each_avro_fault_names_its_field() -> None:
    old = parse("AVRO", avro(A))
    new = parse("AVRO", avro('{"name": "a", "type": "string"}', B))

    assert compare(old, new) == Comparison(
        "BACKWARD",
        False,
        (
            "a: reader type: string not compatible with writer type: int (type_mismatch)",
            "b: added without a default (reader_field_missing_default_value)",
        ),
        "major",
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("message A { int32 x = 1; }", "message A { int32 x = 1; } // note", "none"),
        ("message A { int32 x = 1; }", "message A { int32 x = 1; // [pii]\n}", "patch"),
        ("message A { int32 x = 1; }", "message A { int64 x = 1; }", "minor"),
        ("message A { int32 x = 1; }", "message A { int32 y = 1; }", "minor"),
        ("message A { int32 x = 1; }", "message A { reserved 1; }", "minor"),
        ("message A { int32 x = 1; }", "message A { int32 x = 1; int32 y = 2; }", "minor"),
        ("message A { string x = 1; }", "message A { repeated string x = 1; }", "minor"),
        ("message A { string x = 1; }", "message A { bytes x = 1; }", "minor"),
        ("message A { string x = 1; }", "message A { oneof o { string x = 1; } }", "minor"),
        (
            "message A { map<string, int32> x = 1; }",
            "message A { map<string, int64> x = 1; }",
            "minor",
        ),
        ("package p; message A { A x = 1; }", "package q; message A { A x = 1; }", "minor"),
        ("message A { int32 x = 1; }", "message A { string x = 1; }", "major"),
        ("message A { int32 x = 1; }", "message A { sint32 x = 1; }", "major"),
        ("message A { int32 x = 1; }", "message A { repeated int32 x = 1; }", "major"),
        ("message A {} message B {}", "message A {}", "major"),
        (
            "message A { B x = 1; } message B {} message C {}",
            "message A { C x = 1; } message B {} message C {}",
            "major",
        ),
        (
            "message A { oneof o { int32 x = 1; int32 y = 2; } }",
            "message A { oneof o { int32 x = 1; } }",
            "major",
        ),
        (
            "message A { int32 x = 1; int32 y = 2; }",
            "message A { oneof o { int32 x = 1; int32 y = 2; } }",
            "major",
        ),
        (
            "message A { map<string, int32> x = 1; }",
            "message A { map<string, string> x = 1; }",
            "major",
        ),
    ],
)
def test_protobuf_changes_have_their_bump(
    workers: ProtobufWorkers, old: str, new: str, expected: str
) -> None:
    before, after = (
        parse("PROTOBUF", f'syntax = "proto3";\n{text}', workers=workers) for text in (old, new)
    )
    found = compare(before, after)
    assert (found.bump, found.compatible) == (expected, expected != "major")
    assert bool(found.messages) == (expected == "major")


@pytest.mark.parametrize(
    ("current", "bump", "expected"),
    [
        (None, "none", "1.0.0"),
        ("1.2.3", "major", "2.0.0"),
        ("1.2.3", "minor", "1.3.0"),
        ("1.2.3", "patch", "1.2.4"),
        ("1.2.3", "none", "1.2.3"),
    ],
)
def test_the_next_version_follows_from_the_bump(
    current: str | None, bump: str, expected: str
) -> None:
    assert next_version(current, bump) == expected


@pytest.mark.parametrize(
    ("kind", "root", "before", "after"),
    [
        (
            "AVRO",
            avro('{"name": "home", "type": "Address"}'),
            avro(A).replace('"R"', '"Address"'),
            avro(A, B).replace('"R"', '"Address"'),
        ),
        (
            "PROTOBUF",
            'syntax = "proto3"; import "a.proto"; message R { Address home = 1; }',
            'syntax = "proto3"; message Address { int32 a = 1; }',
            'syntax = "proto3"; message Address { string a = 1; }',
        ),
    ],
    ids=["avro", "protobuf"],
)
def test_a_reference_that_breaks_readers_is_a_break(
    kind: str, root: str, before: str, after: str, workers: ProtobufWorkers
) -> None:
    old, new = (
        parse(
            kind,
            root,
            [
                {
                    "name": "a.proto" if kind == "PROTOBUF" else "Address",
                    "subject": "a",
                    "version": 1,
                }
            ],
            workers=workers,
            lookup=lambda *_, text=text: _Stored(kind, text),
        )
        for text in (before, after)
    )

    assert (compare(old, new).bump, compare(old, old).bump) == ("major", "none")


@dataclass(frozen=True)
class _Stored:
    type: str
    text: str
    references: tuple[Mapping[str, Any], ...] = ()
