"""What a change means for the readers of old data."""

from collections.abc import Iterator

import pytest
from tests.registry.support import parsed

from dataspine.core.errors import InputError
from dataspine.registry import (
    LEVELS,
    Comparison,
    Difference,
    ProtobufWorkers,
    compare,
    differences,
    next_version,
    parse,
)


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
        (avro(A, B), avro(B, A), "patch"),
        (avro(A), avro('{"name": "a", "type": "int", "order": "ignore"}'), "patch"),
        (avro(A), avro('{"name": "a", "type": "int", "tags": ["PII"]}'), "patch"),
        (avro(A), avro('{"name": "a", "type": "int", "default": 1}'), "minor"),
        (
            avro('{"name": "a", "type": {"type": "int", "logicalType": "date"}}'),
            avro(A),
            "minor",
        ),
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
            "a: the type changed from int to string (line 1); keep the type, or add a field with "
            "another name",
            "b: the field was added without a default (line 1); give it a default",
        ),
        "major",
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("message A { int32 x = 1; }", "message A { int32 x = 1; } // note", "none"),
        ("message A { int32 x = 1; }", "message A { int32 x = 1; // [pii]\n}", "patch"),
        ("message A { int32 x = 1; }", "message A { int32 x = 1 [deprecated = true]; }", "patch"),
        (
            "message A { int32 x = 1; }",
            'import "confluent/meta.proto"; message A { '
            'option (confluent.message_meta).doc = "x"; '
            'int32 x = 1 [(confluent.field_meta).tags = "PII"]; }',
            "patch",
        ),
        (
            "message A { int32 x = 1; int32 y = 2; } message B {}",
            "message B {} message A { int32 y = 2; int32 x = 1; }",
            "patch",
        ),
        ("enum E { Z = 0; A = 1; }", "enum E { Z = 0; A = 2; }", "minor"),
        ("message A {}", "message A {} service S { rpc Get (A) returns (A); }", "minor"),
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
        ("package p; message A { A x = 1; }", "package q; message A { A x = 1; }", "major"),
        ("message A { int32 x = 1; }", "message A { string x = 1; }", "major"),
        ("message A { int32 x = 1; }", "message A { sint32 x = 1; }", "major"),
        ("message A { optional int32 x = 1; }", "message A { repeated int32 x = 1; }", "major"),
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
        parsed(kind, root, {"a.proto" if kind == "PROTOBUF" else "Address": text}, workers)
        for text in (before, after)
    )

    assert (compare(old, new).bump, compare(old, old).bump) == ("major", "none")


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        compare(None, parse("AVRO", avro(A)), level="BACKWARDS")
    assert caught.value.code == "registry.invalid_level"


def test_the_first_version_follows_nothing() -> None:
    for nothing in (None, ()):
        found = compare(nothing, parse("AVRO", avro(A)), level="FULL_TRANSITIVE")
        assert found == Comparison("FULL_TRANSITIVE", True, (), "none")


@pytest.mark.parametrize(
    ("level", "compatible"),
    [(level, not level.endswith("TRANSITIVE")) for level in LEVELS],
)
def test_only_a_transitive_level_looks_further_back(level: str, compatible: bool) -> None:
    grown = '{"name": "b", "type": "string", "default": ""}'
    oldest, newest = parse("AVRO", avro(A.replace("int", "string"))), parse("AVRO", avro(A))
    found = compare([oldest, newest], parse("AVRO", avro(A, grown)), level=level)
    assert (found.compatible, found.bump) == (compatible, "minor" if compatible else "major")
    assert all("(against 2 versions back)" in message for message in found.messages)


def test_what_is_already_the_newest_version_needs_no_bump() -> None:
    oldest, newest = parse("AVRO", avro(A.replace("int", "string"))), parse("AVRO", avro(A))
    found = compare([oldest, newest], newest, level="FULL_TRANSITIVE")
    assert found == Comparison("FULL_TRANSITIVE", True, (), "none")


def test_without_a_level_nothing_is_major() -> None:
    found = compare(parse("AVRO", avro(A)), parse("AVRO", avro(B)), level="NONE")
    assert found == Comparison("NONE", True, (), "minor")


def test_another_type_of_schema_breaks_everybody(workers: ProtobufWorkers) -> None:
    old, new = parse("AVRO", avro(A)), parsed("PROTOBUF", "message A {}", None, workers)
    for level in ("BACKWARD", "FORWARD", "FULL"):
        assert compare(old, new, level=level) == Comparison(
            level,
            False,
            ("schema: the schema type changed from AVRO to PROTOBUF; use another subject for it",),
            "major",
        )


AVRO_OLD = """{"type": "record", "name": "Order", "fields": [
  {"name": "id", "type": "int"},
  {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line",
    "fields": [
      {"name": "sku", "type": "string"}]}}},
  {"name": "tags", "type": {"type": "map", "values":
    {"type": "enum", "name": "Tag", "symbols": ["A", "B"]}}},
  {"name": "home", "type": ["null", {"type": "record", "name": "Address", "fields": [
    {"name": "city", "type": "string"}]}]},
  {"name": "work", "type": "Address"},
  {"name": "gone", "type": "long"}]}"""
AVRO_NEW = """{"type": "record", "name": "Order", "fields": [
  {"name": "id", "type": ["int", "long"]},
  {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line",
    "fields": [
      {"name": "sku", "type": "string"},
      {"name": "size", "type": "int"}]}}},
  {"name": "tags", "type": {"type": "map", "values":
    {"type": "enum", "name": "Tag", "symbols": ["B", "C"]}}},
  {"name": "home", "type": [{"type": "record", "name": "Address", "fields": [
    {"name": "city", "type": "int"}]}]},
  {"name": "work", "type": "Address"}]}"""


def test_each_broken_place_of_avro_has_its_path_line_and_remedy() -> None:
    old, new = parse("AVRO", AVRO_OLD), parse("AVRO", AVRO_NEW)
    assert compare(old, new).messages == (
        "lines[].size: the field was added without a default (line 6); give it a default",
        "tags{}: the enum lost A (line 7); keep them, or give the enum a default",
        "home: the type no longer allows null (line 9); keep null in the union",
        "home.city: the type changed from string to int (line 10); "
        "keep the type, or add a field with another name",
    )
    assert compare(old, new, level="FORWARD").messages == (
        "id: the type now allows long, new to old readers (line 2); use a new field",
        "tags{}: the enum got C, which old readers do not know (line 7); "
        "give the enum a default in a version before",
        "home.city: the type changed from string to int (line 10); "
        "keep the type, or add a field with another name",
        "gone: the field was removed, and old readers have no default for it (line 11); "
        "keep it, or give it a default in a version before",
    )


PROTOBUF_OLD = """message Order {
  int64 id = 1;
  map<string, Line> lines = 2;
  oneof pay {
    string iban = 3;
    string card = 4;
  }
  message Line { repeated int32 n = 1; }
}
message Refund { Order order = 1; double amount = 2; }
message Old {}"""
PROTOBUF_NEW = """message Order {
  int64 id = 1;
  map<string, Line> lines = 2;
  oneof pay {
    string iban = 3;
    int64 id_2 = 5;
  }
  message Line { repeated string n = 1; }
}
message Refund { Order order = 1; string amount = 2; }"""


def test_each_broken_place_of_protobuf_has_its_path_line_and_remedy(
    workers: ProtobufWorkers,
) -> None:
    old, new = (parsed("PROTOBUF", t, None, workers) for t in (PROTOBUF_OLD, PROTOBUF_NEW))
    assert compare(old, new, level="FULL").messages == (
        "Old: the message was removed, and old records may hold it (line 12); "
        "keep the message, or publish under another subject",
        "id_2: the field was added to a oneof, which looks unset to old readers when it is chosen "
        "(line 7); add it outside of the oneof",
        "card: the field was removed from its oneof, which looks unset in old data (line 7); "
        "leave it where it was, or remove the whole oneof",
        "lines{}.n: field 1 changed from repeated int32 to repeated string (line 9); "
        "keep it as it was, or add a field with a new number",
        "Refund/amount: field 2 changed from double to string (line 11); "
        "keep it as it was, or add a field with a new number",
    )


@pytest.mark.parametrize("logical", [False, True])
def test_logical_types_count_when_they_are_asked_for(logical: bool) -> None:
    old, new = (
        parse(
            "AVRO",
            avro(
                f'{{"name": "at", "type": {{"type": "long", "logicalType": "timestamp-{unit}"}}}}'
            ),
        )
        for unit in ("millis", "micros")
    )
    found = compare(old, new, logical=logical)
    assert (found.compatible, found.bump) == (not logical, "major" if logical else "minor")
    assert found.messages == (
        (
            "at: the logical type changed from long (timestamp-millis) to long (timestamp-micros) "
            "(line 1); keep the logical type, or add a field with another name",
        )
        if logical
        else ()
    )


def test_errors_are_compared_as_records() -> None:
    error = avro(A).replace('"record"', '"error"')
    assert compare(parse("AVRO", error), parse("AVRO", error + " ")).compatible
    assert compare(parse("AVRO", error), parse("AVRO", avro(A, B))).bump == "major"


def test_messages_are_as_many_as_somebody_reads() -> None:
    def fields(kind: str) -> str:
        return avro(*(f'{{"name": "f{n}", "type": "{kind}"}}' for n in range(150)))

    found = compare(parse("AVRO", fields("int")), parse("AVRO", fields("string")))
    assert (found.compatible, len(found.messages)) == (False, 101)
    assert found.messages[-1] == "schema: 50 more places are broken"


def test_only_the_imported_messages_in_use_are_compared(workers: ProtobufWorkers) -> None:
    text = 'import "b.proto"; message A { B b = 1; }'
    old, new = (
        parsed(
            "PROTOBUF",
            text,
            {"b.proto": f"message B {{ int32 x = 1; }} message Other {{ {kind} x = 1; }}"},
            workers,
        )
        for kind in ("int32", "string")
    )
    assert compare(old, new, level="FULL").compatible


GROUP = "optional group G = 1 { optional int32 y = 1; }"
EXTENSION = "} extend A { optional B e = 100; "


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", GROUP, [Difference("added", "field", "g", 1, None, "group A.G")]),
        (GROUP, "", [Difference("removed", "field", "g", 1, "group A.G", None)]),
        (
            GROUP,
            GROUP.replace("int32", "string"),
            [Difference("changed", "type", "g.y", 1, "int32", "string")],
        ),
        ("", EXTENSION, [Difference("added", "field", "e", 1, None, "message B")]),
        (EXTENSION, "", [Difference("removed", "field", "e", 1, "message B", None)]),
        (
            EXTENSION,
            EXTENSION.replace("B e", "int32 e"),
            [Difference("changed", "type", "e", 1, "message B", "int32")],
        ),
    ],
)
def test_groups_and_extensions_are_told_and_break_nobody(
    workers: ProtobufWorkers, before: str, after: str, expected: list[Difference]
) -> None:
    start = 'syntax = "proto2"; message A { extensions 100; '
    texts = (f"{start}{text}}} message B {{}}" for text in (before, after))
    old, new = (parsed("PROTOBUF", text, None, workers) for text in texts)
    assert list(differences(old, new)) == expected
    assert compare(old, new, level="FULL").bump == "minor"


def test_a_message_is_compared_with_each_namesake_it_replaces(workers: ProtobufWorkers) -> None:
    text = 'import "p.proto"; import "q.proto"; message A { p.B b = 1; q.B c = 2; }'
    packages = {
        f"{name}.proto": f'syntax = "proto3"; package {name}; message B {{ {kind} x = 1; }}'
        for name, kind in (("p", "int32"), ("q", "string"))
    }
    old = parsed("PROTOBUF", text, packages, workers)
    new = parsed("PROTOBUF", text.replace("q.B", "p.B"), packages, workers)
    assert compare(old, new).messages == (
        "c.x: field 1 changed from string to int32; "
        "keep it as it was, or add a field with a new number",
    )


OTHER = '{"name": "b", "type": "string", "aliases": ["a"]}'


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (avro(A), avro('{"name": "a", "type": "int", "aliases": ["a"], "default": 1}'), "a"),
        (avro(A, B), avro(OTHER), "b"),
        (f'["null", {avro(A, B)}]', f'["null", {avro(OTHER)}]', "b"),
    ],
)
def test_an_alias_that_matches_a_second_field_is_a_break(old: str, new: str, path: str) -> None:
    before, after = parse("AVRO", old), parse("AVRO", new)
    assert compare(before, after).messages == (
        f"{path}: the name and the aliases of a field match more than one field of the data "
        "(line 1); remove the alias that is a field already",
    )


def test_types_linked_deep_are_compared(workers: ProtobufWorkers) -> None:
    def chain(depth: int, kind: str) -> str:
        links = "".join(f"message M{n} {{ M{n + 1} m = 1; }}\n" for n in range(depth))
        return f"{links}message M{depth} {{ {kind} x = 1; }}"

    old, new = (parsed("PROTOBUF", chain(100, kind), None, workers) for kind in ("int32", "string"))
    (message,) = compare(old, new).messages
    assert message.startswith("m." * 100 + "x: field 1 changed from int32 to string (line 102)")
    with pytest.raises(InputError, match="linked too deep") as caught:
        parsed("PROTOBUF", chain(1_000, "int32"), None, workers)
    assert caught.value.code == "registry.invalid_schema"
