"""What changed between two schemas, for people and for `schema diff`."""

import json
from collections.abc import Iterator

import pytest
from tests.registry.support import parsed

from dataspine.registry import Difference, ProtobufWorkers, differences


@pytest.fixture(scope="module")
def workers() -> Iterator[ProtobufWorkers]:
    with ProtobufWorkers(1) as pool:
        yield pool


OLD = """{"type": "record", "name": "R", "fields": [
  {"name": "a", "type": "int"},
  {"name": "b", "type": "string", "doc": "old"},
  {"name": "c", "type": {"type": "enum", "name": "E", "symbols": ["X", "Y"]}},
  {"name": "d", "type": "long", "default": 1},
  {"name": "e", "type": "long"}]}"""
NEW = """{"type": "record", "name": "S", "aliases": ["R"], "fields": [
  {"name": "a", "type": ["null", "long"], "default": null},
  {"name": "b", "type": "string", "doc": "new [pii]"},
  {"name": "c", "type": {"type": "enum", "name": "E", "symbols": ["Y"], "default": "Y"}},
  {"name": "f", "type": "long", "aliases": ["d"], "order": "ignore"},
  {"name": "g", "type": {"type": "int", "logicalType": "date"}}]}"""


def test_avro_changes_are_told_in_the_order_of_the_new_schema() -> None:
    name = "the name changed from R to S"
    nulls = "the type now allows null, new to old readers, and the type now allows long, new to old"
    assert differences(parsed("AVRO", OLD), parsed("AVRO", NEW)) == (
        Difference("changed", "type", "", None, "record R", "record S", None, name),
        Difference("changed", "aliases", "", None, None, "R"),
        Difference("changed", "default", "a", 2, None, "null"),
        Difference("changed", "type", "a", 2, "int", "null | long", None, f"{nulls} readers"),
        Difference("changed", "symbols", "c", 4, "X, Y", "Y", None, None),
        Difference("changed", "default", "c", 4, None, "Y"),
        Difference("changed", "name", "f", 5, "d", "f"),
        Difference("changed", "default", "f", 5, "1", None),
        Difference("changed", "aliases", "f", 5, None, "d"),
        Difference("changed", "sort order", "f", 5, None, "ignore"),
        Difference(
            "added",
            "field",
            "g",
            6,
            None,
            "int (date)",
            "the field was added without a default",
        ),
        Difference(
            "removed",
            "field",
            "e",
            6,
            "long",
            None,
            None,
            "the field was removed, and old readers have no default for it",
        ),
        Difference("changed", "doc", "b", 3, "old", "new [pii]"),
        Difference("changed", "classifications", "b", 3, "Public", "PII"),
    )


def test_protobuf_changes_are_told_in_the_order_of_the_new_schema(
    workers: ProtobufWorkers,
) -> None:
    old = parsed(
        "PROTOBUF",
        "package p;\nmessage A {\n  int32 x = 1;\n  string y = 2;\n  repeated int32 z = 3;\n}\n"
        "enum E { N = 0; M = 1; }\nservice S { rpc Get (A) returns (A); }",
        None,
        workers,
    )
    new = parsed(
        "PROTOBUF",
        'package q;\nimport "google/protobuf/empty.proto";\nmessage A {\n  reserved 2, 9 to 11;\n'
        "  repeated int32 z = 3 [packed = false];\n  optional int64 w = 1; // [pii]\n"
        "  fixed32 v = 4;\n}\nenum E { N = 0; K = 2; }\n"
        "service S { rpc Get (A) returns (stream A); }",
        None,
        workers,
    )
    assert differences(old, new) == (
        Difference("changed", "package", "package", None, "p", "q", PACKAGE, PACKAGE),
        Difference("added", "import", "google/protobuf/empty.proto", None, None, EMPTY),
        Difference("changed", "packed", "z", 6, "true", "false"),
        Difference("changed", "type", "w", 7, "int32", "int64"),
        Difference("changed", "name", "w", 7, "x", "w"),
        Difference("changed", "presence", "w", 7, "implicit", "explicit"),
        Difference("added", "field", "v", 8, None, "fixed32"),
        Difference("removed", "field", "y", 5, "string", None),
        Difference("changed", "order", "A", 4, "x, y, z", "z, w, v"),
        Difference("changed", "reserved", "A", 4, None, "2, 9 to 11"),
        Difference("added", "value", "E.K", 10, None, "2"),
        Difference("removed", "value", "E.M", 8, "1", None),
        Difference("changed", "method", "S.Get", None, "A -> A", "A -> stream A"),
    )


EMPTY = "google/protobuf/empty.proto"
PACKAGE = "the package changed from p to q"


def test_equal_schemas_do_not_differ(workers: ProtobufWorkers) -> None:
    for kind, text in (("AVRO", OLD), ("PROTOBUF", "message A { int32 x = 1; }")):
        old, new = parsed(kind, text, None, workers), parsed(kind, f"{text}\n", None, workers)
        assert differences(old, new) == ()


def test_words_without_a_place_are_still_a_change() -> None:
    owned = {**json.loads(OLD), "owner": "team-a"}
    found = differences(parsed("AVRO", OLD), parsed("AVRO", json.dumps(owned)))
    assert found == (Difference("changed", "annotations", "", None, None, None),)


def test_lines_are_those_of_the_text_that_was_given(workers: ProtobufWorkers) -> None:
    # Both texts have the same digest; a cached answer for one would have the lines of the other.
    old = parsed("PROTOBUF", "message A {}", None, workers)
    for gap in ("", "\n\n"):
        new = parsed("PROTOBUF", f"message A {{{gap} int32 x = 1; }}", None, workers)
        assert [d.line for d in differences(old, new)] == [2 + len(gap)]
