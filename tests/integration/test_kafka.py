"""Messages through a real broker, written and read by stock clients through this registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import DeserializingConsumer, SerializingProducer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import SerializationError
from tests.conftest import missing
from tests.integration.test_stock_clients import ORDER, TEXT, messages
from tests.kafka.broker import jars, running
from tests.served import served

pytestmark = pytest.mark.integration

COUNT = 500


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    libraries = jars()
    if libraries is None:
        missing("Kafka (run `make kafka`; it needs Java and Maven)")
    else:
        with running(tmp_path_factory.mktemp("kafka"), libraries) as address:
            yield address


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("registry"), opa) as address:
        yield address


def _through(broker: str, topic: str, values: list[Any], write: Any, read: Any) -> list[Any]:
    """Return what a consumer reads of what a producer wrote."""
    failed: list[Any] = []
    producer = SerializingProducer({"bootstrap.servers": broker, "value.serializer": write})
    for value in values:
        producer.produce(topic, value=value, on_delivery=lambda error, _: failed.append(error))
    producer.flush(60)
    del producer  # it would look for the broker when that is gone
    assert failed == [None] * len(values)
    consumer = DeserializingConsumer(
        {
            "bootstrap.servers": broker,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "value.deserializer": read,
        }
    )
    try:
        consumer.subscribe([topic])
        found: list[Any] = []
        while len(found) < len(values):
            message = consumer.poll(60)
            assert message is not None, f"{len(found)} of {len(values)} messages arrived"
            assert message.error() is None
            found.append(message.value())
        return found
    finally:
        consumer.close()


def test_avro_messages_are_read_as_they_were_written(broker: str, url: str) -> None:
    orders = [{**ORDER, "size": number} for number in range(COUNT)]
    with SchemaRegistryClient({"url": url}) as writer, SchemaRegistryClient({"url": url}) as reader:
        write, read = AvroSerializer(writer, TEXT), AvroDeserializer(reader)
        assert _through(broker, "orders", orders, write, read) == orders


def test_protobuf_messages_are_read_as_they_were_written(broker: str, url: str) -> None:
    made = messages()
    orders = [made["Order"](part_1=made["Line"](sku=str(number))) for number in range(COUNT)]
    with SchemaRegistryClient({"url": url}) as writer, SchemaRegistryClient({"url": url}) as reader:
        write = ProtobufSerializer(made["Order"], writer, {})
        read = ProtobufDeserializer(made["Order"], {}, reader)
        assert _through(broker, "shipments", orders, write, read) == orders


def test_a_denied_schema_sends_nothing(broker: str, url: str) -> None:
    text = TEXT.replace("kind", "email")
    with SchemaRegistryClient({"url": url}) as client:
        write = AvroSerializer(client, text)
        producer = SerializingProducer({"bootstrap.servers": broker, "value.serializer": write})
        with pytest.raises(SerializationError, match=r"pii\.untagged_field"):
            producer.produce("denied", value={"size": 1, "email": "a@example.org"})
        assert producer.flush(10) == 0
        assert "denied" not in producer.list_topics(timeout=30).topics
        del producer
