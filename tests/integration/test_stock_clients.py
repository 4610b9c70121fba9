"""Stock clients, unchanged, against the service: every registration mode they have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import (
    Metadata,
    MetadataProperties,
    Rule,
    RuleKind,
    RuleMode,
    RuleSet,
    Schema,
    SchemaReference,
    SchemaRegistryClient,
    ServerConfig,
    header_schema_id_serializer,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.common.schema_registry_client import ConfigCompatibilityLevel
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.type import date_pb2  # type: ignore[import-untyped]  # the package has no stubs
from tests.served import served

pytestmark = pytest.mark.integration

TEXT = json.dumps(
    {
        "type": "record",
        "name": "Order",
        "fields": [{"name": "size", "type": "int"}, {"name": "kind", "type": "string"}],
    }
)
ORDER = {"size": 3, "kind": "box"}
VALUE_OF_PROTO = SerializationContext("shipments", MessageField.VALUE)
VALUE = SerializationContext("orders", MessageField.VALUE)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("stock"), opa) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": url}) as made:
        yield made


@pytest.mark.parametrize(
    "mode",
    [
        {},
        {"auto.register.schemas": False},
        {"use.latest.version": True},
        {"normalize.schemas": True},
    ],
    ids=["registers", "looks up", "uses the latest", "normalizes"],
)
def test_avro_is_written_and_read_in_every_mode(
    client: SchemaRegistryClient, url: str, mode: dict[str, Any]
) -> None:
    with SchemaRegistryClient({"url": url}) as other:  # what this client caches it does not ask
        other.register_schema("orders-value", Schema(TEXT, "AVRO"))
    if mode.get("use.latest.version"):
        mode = {**mode, "auto.register.schemas": False}

    write = AvroSerializer(client, TEXT, conf=mode)
    data = write(ORDER, VALUE)
    assert data is not None
    assert (data[0], AvroDeserializer(client)(data, VALUE)) == (0, ORDER)


def test_the_id_may_travel_in_a_header(client: SchemaRegistryClient, url: str) -> None:
    headers: list[tuple[str, str | bytes | None]] = []
    context = SerializationContext("orders", MessageField.VALUE, headers)
    write = AvroSerializer(client, TEXT, conf={"schema.id.serializer": header_schema_id_serializer})
    order = {**ORDER, "kind": "a crate"}  # this client takes less than six bytes for no message
    data = write(order, context)

    ((name, value),) = headers
    assert (name, len(value or "")) == ("__value_schema_id", 17)
    with SchemaRegistryClient({"url": url}) as other:
        assert AvroDeserializer(other)(data, context) == order


def test_a_denied_schema_is_an_error_with_the_rule(client: SchemaRegistryClient) -> None:
    text = TEXT.replace("kind", "email")
    with pytest.raises(SchemaRegistryError) as caught:
        AvroSerializer(client, text)({"size": 1, "email": "a@example.org"}, VALUE)
    assert (caught.value.http_status_code, caught.value.error_code) == (403, 40301)
    assert "pii.untagged_field /facts/fields/1: " in str(caught.value)


def test_a_reference_is_registered_and_read(client: SchemaRegistryClient) -> None:
    client.register_schema(
        "sizes", Schema('{"type": "enum", "name": "Size", "symbols": ["S", "L"]}')
    )
    text = '{"type": "record", "name": "Shirt", "fields": [{"name": "size", "type": "Size"}]}'
    schema = Schema(text, "AVRO", [SchemaReference("Size", "sizes", 1)])
    context = SerializationContext("shirts", MessageField.VALUE)

    data = AvroSerializer(client, schema)({"size": "L"}, context)

    assert data is not None
    assert AvroDeserializer(client)(data, context) == {"size": "L"}
    latest = client.get_latest_version("shirts-value")
    assert latest.schema.references == schema.references
    assert client.get_referenced_by("sizes", 1) == [latest.schema_id]


def test_a_contract_comes_back_whole(client: SchemaRegistryClient) -> None:
    metadata = Metadata(None, MetadataProperties({"tier": "gold"}), [])
    rule = Rule(
        name="positive",
        doc=None,
        kind=RuleKind.CONDITION,
        mode=RuleMode.WRITE,
        type="CEL",
        tags=None,
        params=None,
        expr="message.size > 0",
        on_success=None,
        on_failure=None,
        disabled=False,
    )
    rules = RuleSet([], [rule], [])
    schema = Schema(TEXT, "AVRO", [], metadata, rules)
    client.register_schema("contracts", schema)

    found = client.get_latest_with_metadata("contracts", {"tier": "gold"})

    assert (found.schema.metadata, found.schema.rule_set) == (metadata, rules)


def messages() -> dict[str, Any]:
    """Return message classes as generated code has them, of two files that import each other."""
    kind = descriptor_pb2.FieldDescriptorProto
    line = descriptor_pb2.FileDescriptorProto(
        name="shop/line.proto", package="shop", syntax="proto3"
    )
    sku = line.message_type.add(name="Line")
    sku.field.add(name="sku", number=1, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    order = descriptor_pb2.FileDescriptorProto(
        name="shop/order.proto",
        package="shop",
        syntax="proto3",
        dependency=["shop/line.proto", "google/type/date.proto"],
    )
    order.message_type.add(name="Before")
    message = order.message_type.add(name="Order")
    for number, name in enumerate((".shop.Line", ".google.type.Date"), 1):
        message.field.add(
            name=f"part_{number}",
            number=number,
            type=kind.TYPE_MESSAGE,
            type_name=name,
            label=kind.LABEL_OPTIONAL,
        )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(date_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(line)
    pool.Add(order)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"shop.{name}"))
        for name in ("Order", "Line")
    }


@pytest.mark.parametrize(
    "mode", [{}, {"auto.register.schemas": False}, {"use.latest.version": True}], ids=str
)
def test_protobuf_is_written_and_read_in_every_mode(
    client: SchemaRegistryClient, url: str, mode: dict[str, Any]
) -> None:
    made = messages()
    order = made["Order"](part_1=made["Line"](sku="box"))
    order.part_2.year = 2026
    with SchemaRegistryClient({"url": url}) as other:
        ProtobufSerializer(made["Order"], other, {})(order, VALUE_OF_PROTO)
    if mode.get("use.latest.version"):
        mode = {**mode, "auto.register.schemas": False}

    data = ProtobufSerializer(made["Order"], client, mode)(order, VALUE_OF_PROTO)

    assert data is not None
    read = ProtobufDeserializer(made["Order"], {}, client)(data, VALUE_OF_PROTO)
    assert read == order
    with SchemaRegistryClient({"url": url}) as other:
        text = other.get_latest_version("shipments-value").schema
    assert text.schema_str is not None
    assert "message Order {" in text.schema_str
    assert [each.name for each in text.references or []] == ["shop/line.proto"]


def test_the_management_calls_work(client: SchemaRegistryClient) -> None:
    first = client.register_schema("managed", Schema(TEXT))
    wider = json.loads(TEXT)
    wider["fields"].append({"name": "width", "type": "int"})
    broken = Schema(json.dumps(wider))
    assert client.test_compatibility("managed", broken) is False
    client.set_config("managed", ServerConfig(compatibility=ConfigCompatibilityLevel.FORWARD))
    assert client.get_compatibility("managed") == "FORWARD"
    assert client.test_compatibility("managed", broken) is True
    second = client.register_schema("managed", broken)
    client.delete_config("managed")

    assert client.get_versions("managed") == [1, 2]
    assert "managed" in client.get_subjects()
    assert client.lookup_schema("managed", Schema(TEXT)).schema_id == first
    assert client.get_version("managed", 2).schema_id == second
    assert [each.version for each in client.get_schema_versions(second)] == [2]
    assert client.delete_version("managed", 1) == 1
    assert client.delete_version("managed", 1, permanent=True) == 1
    assert client.delete_subject("managed") == [2]
    assert client.delete_subject("managed", permanent=True) == [2]
    assert client.get_global_mode() == "READWRITE"
