"""Tags of a data contract: what a pattern names, and what that says about fields."""

import json
from collections.abc import Iterator, Mapping, Sequence

import pytest
from confluent_kafka.schema_registry.wildcard_matcher import wildcard_match
from hypothesis import given
from hypothesis import strategies as st

from dataspine.core.errors import InputError
from dataspine.registry import ParsedSchema, ProtobufWorkers, parse
from dataspine.registry._tag_pattern import tag_pattern

CUSTOMER = json.dumps(
    {
        "type": "record",
        "name": "Customer",
        "namespace": "shop",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "email", "type": ["null", "string"]},
            {"name": "nicks", "type": {"type": "array", "items": "string"}},
            {"name": "note", "type": "string", "confluent:tags": ["Internal"]},
            {
                "name": "home",
                "type": {
                    "type": "record",
                    "name": "Address",
                    "namespace": "geo",
                    "fields": [
                        {"name": "street", "type": "string"},
                        {"name": "city", "type": "string"},
                    ],
                },
            },
        ],
    }
)
ORDER = """syntax = "proto3";
package shop;
message Order {
  int64 id = 1;
  map<string, Line> lines = 2;
  message Line { string email = 1; string sku = 2; }
}
"""


@pytest.fixture(scope="module")
def workers() -> Iterator[ProtobufWorkers]:
    with ProtobufWorkers(1) as pool:
        yield pool


def said(schema: ParsedSchema, tags: Mapping[str, Sequence[str]]) -> dict[str, tuple[object, ...]]:
    """Return what is said beside the schema, by path: classifications, and whether of itself."""
    before = {field.path: field for field in schema.fields}
    return {
        field.path: (*field.classifications, field.tagged)
        for field in schema.tagged(tags).fields
        if field != before[field.path]
    }


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"**.email": ["PII"]}, {"email": ("PII", True)}),
        ({"shop.*.email": ["pii", "GDPR"]}, {"email": ("PII", "GDPR", True)}),
        ({"*.email": ["PII"]}, {}),
        ({"email": ["PII"]}, {}),
        ({"**.nicks": ["PII"]}, {"nicks": ("PII", True), "nicks[]": ("PII", True)}),
        ({"**.note": ["PII"]}, {"note": ("Internal", "PII", True)}),
        ({"**.nothing": ["PII"]}, {}),
        ({}, {}),
        ({"geo.Address.street": ["PII"]}, {"home.street": ("PII", True)}),
        (
            {"**.home": ["Restricted"], "**.street": ["PII"]},
            {
                "home": ("Restricted", True),
                "home.street": ("PII", "Restricted", True),
                "home.city": ("Restricted", False),
            },
        ),
    ],
)
def test_a_tag_classifies_the_fields_that_its_pattern_names(
    tags: Mapping[str, Sequence[str]], expected: Mapping[str, tuple[object, ...]]
) -> None:
    assert said(parse("AVRO", CUSTOMER), tags) == expected


def test_fields_of_protobuf_are_named_by_their_message(workers: ProtobufWorkers) -> None:
    schema = parse("PROTOBUF", ORDER, workers=workers)
    assert said(schema, {"shop.Order.Line.e*": ["PII"]}) == {"lines{}.email": ("PII", True)}
    assert said(schema, {"**.lines": ["PII"]}) == {
        "lines": ("PII", True),
        "lines{}": ("PII", True),
        "lines{}.email": ("PII", False),
        "lines{}.sku": ("PII", False),
    }


def test_tags_are_no_part_of_the_text() -> None:
    schema = parse("AVRO", CUSTOMER)
    tagged = schema.tagged({"**": ["PII"]})
    assert (tagged.digest, tagged.text) == (schema.digest, schema.text)
    assert parse("AVRO", CUSTOMER) == schema


@given(
    text=st.text("ab.", max_size=8),
    pattern=st.lists(st.sampled_from(["**", "*", "?", "a", "b", "."]), max_size=7).map("".join),
)
def test_a_pattern_names_what_stock_clients_take_it_for(text: str, pattern: str) -> None:
    found = tag_pattern(pattern)
    assert found.matches(text) == wildcard_match(text, pattern)
    assert found.may_match(text) or not found.matches(text)


def test_a_hostile_pattern_is_looked_at_once_for_each_character() -> None:
    pattern = tag_pattern("**a" * 300 + "c")
    assert not pattern.matches("a" * 100_000)
    assert pattern.matches("a" * 1_000 + "c")


def test_more_tags_than_can_be_compared_are_refused() -> None:
    fields = [{"name": f"f{n}", "type": "int"} for n in range(1_000)]
    schema = parse("AVRO", json.dumps({"type": "record", "name": "R", "fields": fields}))
    with pytest.raises(InputError) as raised:
        schema.tagged({f"**f{'*' * n}": ["PII"] for n in range(1, 200)})
    assert (raised.value.code, raised.value.where) == (
        "registry.invalid_contract",
        "metadata/tags",
    )
