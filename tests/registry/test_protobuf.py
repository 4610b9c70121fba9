"""Protobuf: facts with lines, located faults, and workers that cannot be held up."""

import base64
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataspine.core.errors import InputError
from dataspine.registry import ParsedSchema, ProtobufWorkers, parse
from dataspine.registry.field import Waiver


def _encoded(**parts: Any) -> str:
    file = descriptor_pb2.FileDescriptorProto(**parts)
    return base64.b64encode(file.SerializeToString()).decode()


@dataclass(frozen=True)
class Stored:
    """What a reference points at."""

    parsed: ParsedSchema
    references: tuple[Mapping[str, Any], ...] = ()

    @property
    def type(self) -> str:
        return self.parsed.type

    @property
    def text(self) -> str:
        return self.parsed.text


ORDER = """syntax = "proto3";
package shop.v1;
import "google/protobuf/timestamp.proto";
import "confluent/meta.proto";

message Order {
  int64 id = 1;
  // Where we write to. [pii]
  optional string customer_email = 2; // retain=90d
  map<string, Line> lines = 3;
  repeated string notes = 4;
  message Line {
    string sku = 1;
  }
  oneof payment {
    string iban = 5 [(confluent.field_meta) = {
      tags: ["PCI", "Bank"], params: [{key: "retention", value: "P30D"}]}];
    bytes card = 6; // [not-pii: a token]
  }
  google.protobuf.Timestamp at = 7;
  Order parent = 8;
  State state = 9;
}
enum State { UNKNOWN = 0; }
message Refund {
  double amount = 1;
}
"""

FIELDS = [
    ("id", "long", ("Public",), None, None, 7),
    ("customer_email", "string", ("PII",), "P90D", None, 9),
    ("lines", "map", ("Public",), None, None, 10),
    ("lines{}", "record", ("Public",), None, None, 10),
    ("lines{}.sku", "string", ("Public",), None, None, 13),
    ("notes", "array", ("Public",), None, None, 11),
    ("notes[]", "string", ("Public",), None, None, 11),
    ("iban", "string", ("PCI", "Bank"), "P30D", None, 16),
    ("card", "bytes", ("Public",), None, Waiver("a token"), 18),
    ("at", "timestamp", ("Public",), None, None, 20),
    ("parent", "record", ("PII", "PCI", "Bank"), "P30D", None, 21),
    ("state", "enum", ("Public",), None, None, 22),
    ("Refund/amount", "double", ("Public",), None, None, 26),
]


@pytest.fixture(scope="module")
def workers() -> Iterator[ProtobufWorkers]:
    with ProtobufWorkers(1) as pool:
        yield pool


def test_every_field_is_found_with_its_path_type_tags_and_line(workers: ProtobufWorkers) -> None:
    assert [
        (f.path, f.type, f.classifications, f.retention, f.waiver, f.line)
        for f in parse("PROTOBUF", ORDER, workers=workers).fields
    ] == FIELDS


def test_comments_are_content_because_they_classify(workers: ProtobufWorkers) -> None:
    first = parse("PROTOBUF", ORDER, workers=workers)
    spaced = parse("PROTOBUF", ORDER + "\n\n", workers=workers)
    other = parse("PROTOBUF", ORDER.replace("[pii]", "[pci]"), workers=workers)

    assert first.digest == spaced.digest
    assert first.digest != other.digest


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("\n \n", 1),
        ('syntax = "proto3";\nmessage A {\n  strin x = 1;\n}', 3),
        ('syntax = "proto3";\nmessage A {\n  string x = 1;\n  string y = 1;\n}', 4),
        ('syntax = "proto3";\nimport "shop/missing.proto";', 2),
        ('syntax = "proto3";\nimport "/etc/passwd";', 2),
        ('syntax = "proto3";\nmessage A {', 2),
        ('syntax = "proto9";', 1),
        ('syntax = "proto3";\nmessage A { string \0 = 1; }', 2),
        ("{}", 1),
    ],
)
def test_a_malformed_schema_is_refused_with_its_line(
    workers: ProtobufWorkers, text: str, line: int
) -> None:
    with pytest.raises(InputError) as caught:
        parse("PROTOBUF", text, workers=workers)
    assert (caught.value.code, caught.value.where) == ("registry.invalid_schema", f"line {line}")
    assert "spine-protobuf" not in str(caught.value)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(max_size=80) | st.text(max_size=30).map('syntax = "proto3";\n{}'.format))
def test_whatever_is_sent_only_input_errors_come_back(workers: ProtobufWorkers, text: str) -> None:
    try:
        parse("PROTOBUF", text, workers=workers)
    except InputError as error:
        assert error.code == "registry.invalid_schema"  # noqa: PT017 - a schema may be valid too


def test_a_killed_worker_is_replaced() -> None:
    text = 'syntax = "proto3"; message Killed { string x = 1; }'
    with ProtobufWorkers(1) as pool:
        assert pool.compile("a.proto", {"a.proto": text})[1] == ""
        (pid,) = pool.pids
        os.kill(pid, signal.SIGKILL)
        assert pool.compile("a.proto", {"a.proto": text})[1] == ""
        assert pool.pids != (pid,)


def test_a_schema_that_takes_too_long_is_stopped_and_the_pool_goes_on() -> None:
    fields = "\n".join(f"string f{n} = {n};" for n in range(1, 15_000))
    huge = f'syntax = "proto3"; message Huge {{ {fields} }}'
    with ProtobufWorkers(1, seconds=0.001) as pool:
        with pytest.raises(InputError, match="more time or memory") as caught:
            pool.compile("a.proto", {"a.proto": huge})
        assert caught.value.code == "registry.invalid_schema"
        assert len(pool.pids) == 1


def test_an_oversized_schema_never_reaches_a_worker(workers: ProtobufWorkers) -> None:
    with pytest.raises(InputError, match="over the limit"):
        parse("PROTOBUF", "/" * 1_048_577, workers=workers)


def test_a_descriptor_in_base64_becomes_its_text(workers: ProtobufWorkers) -> None:
    text = """syntax = "proto3";
package shop;
import "google/type/money.proto";
import "shop/line.proto";
message Order {
  string email = 1;
  google.type.Money total = 2;
  shop.Line line = 3;
}
"""
    line = 'syntax = "proto3"; package shop; message Line { string sku = 1; }'
    reference = {"name": "shop/line.proto", "subject": "lines", "version": 1}
    stored = parse("PROTOBUF", line, workers=workers)

    def told(text: str) -> ParsedSchema:
        return parse(
            "PROTOBUF", text, [reference], workers=workers, lookup=lambda *_: Stored(stored)
        )

    plain = told(text)
    sent = told(plain.text_as("serialized"))

    assert (sent.digest, sent.canonical) == (plain.digest, plain.canonical)
    assert sent.text.splitlines()[:4] == text.splitlines()[:4]
    assert [field.path for field in sent.fields] == [field.path for field in plain.fields]
    assert told(sent.text_as("serialized")) == sent


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ("AAAA", "this base64 is no descriptor"),
        ("abcde", "this base64 is no descriptor"),
        (_encoded(name="a.proto", dependency=["missing.proto"]), "missing.proto"),
        (_encoded(name="a.proto", syntax="proto9"), "proto9"),
        (_encoded(name="a.proto", package="no name"), "the descriptor cannot be read"),
    ],
)
def test_base64_of_something_else_is_refused(
    workers: ProtobufWorkers, sent: str, problem: str
) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        parse("PROTOBUF", sent, workers=workers)
    assert caught.value.code == "registry.invalid_schema"


def test_only_known_files_are_imported(workers: ProtobufWorkers) -> None:
    text = 'syntax = "proto3"; import "google/rpc/status.proto"; message A {}'
    with pytest.raises(InputError, match="google/rpc/status"):
        parse("PROTOBUF", text, workers=workers)


# As Confluent's Java serializer writes the descriptor of generated code.
JAVA = """syntax = "proto3";
package shop;

option java_package = "shop";

message Before {}
message Order {
  repeated .shop.Order.UnitCountsEntry unit_counts = 4;
  .shop.Order.Inner inner = 9;

  message UnitCountsEntry {
    option map_entry = true;

    string key = 1;
    .shop.Before value = 2;
  }
  message Inner {
    .shop.Order parent = 1; // option map_entry = true;
  }
}
"""


def test_a_map_written_as_its_entries_is_the_same_map(workers: ProtobufWorkers) -> None:
    start, _, rest = JAVA.partition("  message UnitCountsEntry {")
    plain = start.replace("repeated .shop.Order.UnitCountsEntry", "map<string, Before>")
    plain += rest.partition("  }\n")[2]
    found, expected = (parse("PROTOBUF", text, workers=workers) for text in (JAVA, plain))
    assert (found.text, found.digest) == (JAVA, expected.digest)
    assert [field.path for field in found.fields] == [field.path for field in expected.fields]
    assert found.fields[0].line == 8


ONEOF = """syntax = "proto3";
message Order {
  int32 a = 1; // first
  oneof pay {
    string wire = 5; // by bank
    string cash = 6;
  }
  optional int32 size = 7; // [not-pii: a number]
  message Inner { oneof o { int32 x = 1; } int32 y = 2; }
}
"""


def test_the_place_of_a_oneof_among_the_fields_is_no_content(workers: ProtobufWorkers) -> None:
    size, inner = "  optional int32 size = 7; // [not-pii: a number]\n", "oneof o { int32 x = 1; }"
    moved = ONEOF.replace(size, "").replace("  oneof pay", f"{size}  oneof pay")
    moved = moved.replace(f"{inner} int32 y = 2;", f"int32 y = 2; {inner}")
    old, new = (parse("PROTOBUF", text, workers=workers) for text in (ONEOF, moved))
    assert (old.digest, moved == ONEOF) == (new.digest, False)
    assert [f.path for f in new.fields] == [
        "a",
        "size",
        "wire",
        "cash",
        "Order.Inner/y",
        "Order.Inner/x",
    ]

    # A comment goes with its field, and the order in a oneof is the author's.
    others = (
        moved.replace(" // first", "").replace("cash = 6;", "cash = 6; // first"),
        moved.replace("wire = 5; // by bank\n    string cash = 6;", "cash = 6; string wire = 5;"),
    )
    assert old.digest not in {parse("PROTOBUF", t, workers=workers).digest for t in others}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("string key = 1", "double key = 1"),
        ("string key = 1", "string key = 3"),
        ("string key = 1", "repeated string key = 1"),
        ("unit_counts = 4", "other = 4"),
        ("repeated ", ""),
        ("message Before {}", "message Before { option map_entry = true; }"),
        ("message Inner {", "message Inner { option map_entry = true;"),
    ],
)
def test_an_entry_of_no_map_is_refused(workers: ProtobufWorkers, before: str, after: str) -> None:
    with pytest.raises(InputError, match="is no entry of a map") as caught:
        parse("PROTOBUF", JAVA.replace(before, after, 1), workers=workers)
    assert caught.value.code == "registry.invalid_schema"


# As Confluent's Protobuf converter for Connect writes a decimal.
CONVERTER = """syntax = "proto3";

import "confluent/type/decimal.proto";

message Row {
  confluent.type.Decimal price = 3 [(confluent.field_meta) = {
    tags: "PCI",
    params: [
      {
        value: "2",
        key: "scale"
      }
    ]
  }];
}
"""


def test_the_options_of_confluent_need_no_import(workers: ProtobufWorkers) -> None:
    found = parse("PROTOBUF", CONVERTER, workers=workers)
    (field,) = found.fields
    assert (field.path, field.classifications, field.line) == ("price", ("PCI",), 6)
    for start in ('/* import "confluent/meta.proto" */', "// x\n", ""):
        assert parse("PROTOBUF", start + CONVERTER, workers=workers).fields[0].classifications


def test_a_reference_may_be_written_as_java_does(workers: ProtobufWorkers) -> None:
    name = "shop/order.proto"
    found = parse(
        "PROTOBUF",
        f'syntax = "proto3"; import "{name}"; message Box {{ shop.Order order = 1; }}',
        [{"name": name, "subject": "order", "version": 1}],
        workers=workers,
        lookup=lambda *_: Stored(parse("PROTOBUF", JAVA, workers=workers)),
    )
    assert "order.unit_counts{}" in {field.path for field in found.fields}


def test_a_hostile_text_is_read_in_one_pass(workers: ProtobufWorkers) -> None:
    text = f"map_entry (confluent.field_meta) {'/*' * 400_000}"
    with pytest.raises(InputError):
        parse("PROTOBUF", text, workers=workers)
