"""A descriptor that is written as text compiles to the same descriptor."""

from collections.abc import Iterator
from importlib.resources import files

import pytest
from google.protobuf import descriptor_pb2

from dataspine.registry import ProtobufWorkers
from dataspine.registry.proto_text import proto_text

EVERYTHING = r"""
syntax = "proto2";
package shop.v1;
import "google/protobuf/descriptor.proto";
import "confluent/meta.proto";
option java_package = "org.example \"shop\"";
option (confluent.file_meta) = { doc: "a\tfile" };
extend google.protobuf.FieldOptions { repeated string mark = 50001; optional State state = 50002; }
message Order {
  option deprecated = true;
  required int64 id = 1 [default = -5, json_name = "ID"];
  optional string name = 2 [
    default = "a\n\"b\"\\", (mark) = "x", (mark) = "y", (shop.v1.state) = DONE];
  optional bytes raw = 3 [default = "\001\"\377"];
  optional double ratio = 4 [default = inf];
  optional State state = 5 [default = DONE];
  repeated int32 sizes = 6 [packed = true];
  repeated group Line = 7 { optional string sku = 1; message Deep { optional bool b = 1; } }
  map<string, Order.Part> parts = 8;
  message Part { optional Order whole = 1; extend Order { optional Part extra = 101; } }
  oneof payment { string iban = 9; group Card = 10 { optional string number = 1; } }
  extensions 100 to 199, 1000 to max;
  reserved 20, 30 to 40, 500 to 600;
  reserved "old", "older";
  optional string snake_case_name = 11;
}
enum State {
  option allow_alias = true;
  NEW = 0;
  DONE = 1;
  ENDED = 1 [deprecated = true];
  reserved -5 to -2, 9, 20 to max;
  reserved "GONE";
}
service Orders {
  rpc Get (Order) returns (stream Order) { option deprecated = true; }
  rpc Put (stream Order) returns (Order);
}
"""
OPTIONAL = """
syntax = "proto3";
message A {
  optional int32 a = 1;
  int32 b = 2;
  repeated int32 c = 3 [packed = false];
  oneof d { B e = 4; }
  enum B { Z = 0; }
}
"""
EDITION = """
edition = "2023";
message A { int32 a = 1 [features.field_presence = IMPLICIT]; reserved gone; repeated int32 b = 2; }
"""


@pytest.fixture(scope="module")
def workers() -> Iterator[ProtobufWorkers]:
    with ProtobufWorkers(1) as pool:
        yield pool


def described(workers: ProtobufWorkers, text: str) -> list[descriptor_pb2.FileDescriptorProto]:
    compiled, errors = workers.compile("schema.proto", {"schema.proto": text})
    assert errors == "", text
    found = list(descriptor_pb2.FileDescriptorSet.FromString(compiled).file)
    for file in found:
        file.ClearField("source_code_info")
    return found


def _published() -> list[str]:
    folder = files("grpc_tools").joinpath("_proto/google/protobuf")
    return sorted(each.name for each in folder.iterdir() if each.name.endswith(".proto"))


@pytest.mark.parametrize(
    "text", [EVERYTHING, OPTIONAL, EDITION], ids=["proto2", "proto3", "edition"]
)
def test_the_text_of_a_descriptor_compiles_to_it(workers: ProtobufWorkers, text: str) -> None:
    *dependencies, file = described(workers, text)
    assert described(workers, proto_text(file, dependencies))[-1] == file


@pytest.mark.parametrize("name", _published())
def test_published_files_survive(workers: ProtobufWorkers, name: str) -> None:
    folder = files("grpc_tools").joinpath("_proto/google/protobuf")
    text = (
        folder.joinpath(name)
        .read_text("utf-8")
        .replace("package google.protobuf;", "package google.protobuf.own;")
    )
    *dependencies, file = described(workers, text)
    assert described(workers, proto_text(file, dependencies))[-1] == file
