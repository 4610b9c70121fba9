"""Avro: the facts of every field, and the line of every fault."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.registry.support import parsed

from dataspine.core.errors import InputError
from dataspine.registry import classifications_of, parse

ORDER = """{
  "type": "record", "name": "Order", "namespace": "shop",
  "fields": [
    {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    {
      "name": "emailAddress",
      "type": ["null", "string"], "default": null,
      "doc": "Where we write to. [pii] retain=90d"
    },
    {"name": "address", "confluent:tags": ["PII"], "retention": "P1Y", "type":
      {"type": "record", "name": "Address", "fields": [
        {"name": "street", "type": "string"},
        {"name": "country2", "type": "string", "doc": "[not-pii: a country is nobody]"}]}},
    {"name": "notes", "type": {"type": "array", "items": "string"}, "tags": "restricted"},
    {"name": "labels", "type": {"type": "map", "values": {"type": "array", "items": "long"}}},
    {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9}},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["A", "B"]}},
    {"name": "either", "type": ["int", "string"], "default": 1},
    {"name": "parent", "type": ["null", "Order"], "tags": ["Custom"]},
    {"name": "other", "type": "shop.Address"}
  ]
}"""

FIELDS = [
    ("id", "uuid", ("Public",), False, None, 4),
    ("emailAddress", "string", ("PII",), True, "P90D", 6),
    ("address", "record", ("PII",), True, "P1Y", 10),
    ("address.street", "string", ("PII",), False, "P1Y", 12),
    ("address.country2", "string", ("PII",), False, "P1Y", 13),
    ("notes", "array", ("Restricted",), True, None, 14),
    ("notes[]", "string", ("Restricted",), True, None, 14),
    ("labels", "map", ("Public",), False, None, 15),
    ("labels{}", "array", ("Public",), False, None, 15),
    ("labels{}[]", "long", ("Public",), False, None, 15),
    ("total", "decimal", ("Public",), False, None, 16),
    ("at", "timestamp", ("Public",), False, None, 17),
    ("day", "date", ("Public",), False, None, 18),
    ("state", "enum", ("Public",), False, None, 19),
    ("either", "union", ("Public",), False, None, 20),
    ("parent", "record", ("Custom", "PII", "Restricted"), True, "P90D", 21),
    ("other", "record", ("Public",), False, None, 22),
    ("other.street", "string", ("Public",), False, None, 12),
    ("other.country2", "string", ("Public",), False, None, 13),
]


def record(*fields: str) -> str:
    return '{"type": "record", "name": "R", "fields": [\n' + ",\n".join(fields) + "\n]}"


def test_every_field_is_found_with_its_path_type_tags_and_line() -> None:
    assert [
        (f.path, f.type, f.classifications, f.tagged, f.retention, f.line)
        for f in parse("AVRO", ORDER).fields
    ] == FIELDS


def test_facts_name_tokens_doc_and_waiver() -> None:
    fields = {f.path: f.facts() for f in parse("AVRO", ORDER).fields}

    assert fields["address.country2"] == {
        "path": "address.country2",
        "type": "string",
        "doc": "[not-pii: a country is nobody]",
        "tokens": ["country", "2", "country2"],
        "context": ["address"],
        "classifications": ["PII"],
        "tagged": False,
        "retention": "P1Y",
        "waiver": {"reason": "a country is nobody", "until": None},
        "line": 13,
    }
    assert fields["emailAddress"]["tokens"] == ["email", "address", "emailaddress"]
    assert fields["emailAddress"]["context"] == ["order"]


def test_a_column_is_as_classified_as_what_it_contains() -> None:
    fields = [f.facts() for f in parse("AVRO", ORDER).fields]

    assert classifications_of(fields, "address") == ("PII",)
    assert classifications_of(fields, "at") == ("Public",)
    assert classifications_of(fields, "addr") == ()


def test_white_space_and_key_order_are_no_content_but_tags_are() -> None:
    first = parse("AVRO", record('{"name": "a", "type": "int"}'))
    same = parse("AVRO", record('{"type":"int",  "name": "a"}'))
    tagged = parse("AVRO", record('{"name": "a", "type": "int", "tags": ["PII"]}'))

    assert first.digest == same.digest
    assert first.digest != tagged.digest
    assert first.structure == tagged.structure


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("\n\n  {", 3),
        ('{"type": "record",\n "name": "R",\n "fields": [}\n', 3),
        ('{"type": "record",\n "type": "record", "name": "R", "fields": []}', 2),
        ('{"type": "record", "name": "R",\n}', 2),
        ('"string"\n"string"', 2),
        ("3", 1),
        ("NaN", 1),
        ('"\\ud800"', 1),
        ('{"type":\n{"type": "string"}}', 2),
        (record('{"name": "a", "type": "double",\n"default": 1e999}'), 3),
        ('{"type": "record", "name": "R", "fields": [],\n"aliases": 3}', 2),
        ('{"type":\n "strin"}', 2),
        ('{"type": "array"}', 1),
        ('{"type": "record", "fields": []}', 1),
        ('{"type": "record",\n"name": "1R", "fields": []}', 2),
        ('{"type": "record", "name": "R",\n"fields": {}}', 2),
        (record('{"name": "a", "type": "int"}', '{"name": "a", "type": "int"}'), 3),
        (record('{"name": "a", "type": "int"}', '{"name": "b"}'), 3),
        (record('{"name": "a", "type": "int"}', '{"name": "b-c", "type": "int"}'), 3),
        (record('{"name": "a", "type": "Missing"}'), 2),
        (record('{"name": "a", "type": "int",\n"default": "x"}'), 3),
        (record('{"name": "a", "type": ["int",\n"int"]}'), 3),
        (record('{"name": "a", "type": ["int",\n["string"]]}'), 3),
        (record('{"name": "a", "type": []}'), 2),
        (record('{"name": "a", "type": "int",\n"order": "up"}'), 3),
        (record('{"name": "a", "type": "int",\n"aliases": "b"}'), 3),
        ('{"type": "enum", "name": "E",\n"symbols": ["A",\n"A"]}', 3),
        ('{"type": "enum", "name": "E", "symbols": ["A"],\n"default": "B"}', 2),
        ('{"type": "enum", "name": "E"}', 1),
        ('{"type": "fixed", "name": "F",\n"size": "x"}', 2),
        ('{"type": "bytes", "logicalType": "decimal",\n"precision": 0}', 2),
        ('{"type": "bytes", "logicalType": "decimal", "precision": 2,\n"scale": 3}', 2),
        (record('{"name": "a", "type": {"type": "fixed", "name": "R", "size": 1}}'), 2),
        ("[" * 65 + "]" * 65, 1),
    ],
)
def test_a_malformed_schema_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(InputError) as caught:
        parse("AVRO", text)
    assert (caught.value.code, caught.value.where) == ("registry.invalid_schema", f"line {line}")
    assert caught.value.remedy


def test_defaults_that_match_no_branch_deep_inside_are_refused_in_time() -> None:
    second = '{"type": "record", "name": "D", "fields": [{"name": "f", "type": ["C", "D"]}]}'
    fields = '[{"name": "f", "type": ["C", ' + second + "]}]"
    union = '{"type": "record", "name": "C", "fields": ' + fields + "}"
    default = '{"f": ' * 50 + '"x"' + "}" * 50

    with pytest.raises(InputError) as caught:
        parse("AVRO", record('{"name": "a", "type": ' + union + ',\n"default": ' + default + "}"))
    assert caught.value.where == "line 3"


def test_types_that_multiply_when_spelled_out_are_refused() -> None:
    kind = '"int"'
    for level in range(20):
        name = f"L{level}"
        uses = [f'{{"name": "a", "type": {kind}}}', f'{{"name": "b", "type": "L{level - 1}"}}']
        fields = ",".join(uses if level else uses[:1])
        kind = f'{{"type": "record", "name": "{name}", "fields": [{fields}]}}'

    with pytest.raises(InputError, match="more than 10000 fields"):
        parse("AVRO", kind)


SCHEMAS = st.recursive(
    st.sampled_from(["int", "string", "null", "R", "", 1, None]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "name", "fields", "items", "values", "symbols", "default", "size", "tags"]
            ),
            inner | st.sampled_from(["record", "enum", "array", "map", "fixed"]),
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(SCHEMAS.map(json.dumps) | st.text(max_size=60))
def test_whatever_is_sent_only_input_errors_come_back(text: str) -> None:
    try:
        parse("AVRO", text)
    except InputError as error:
        assert error.code == "registry.invalid_schema"  # noqa: PT017 - a schema may be valid too


def test_a_resolved_schema_keeps_its_logical_types() -> None:
    money = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    at = {"type": "long", "logicalType": "timestamp-millis"}
    other = {"type": "record", "name": "O", "fields": [{"name": "at", "type": at}]}

    def whole(kind: object) -> dict[str, object]:
        fields = [{"name": "price", "type": money}, {"name": "other", "type": kind}]
        return {"type": "record", "name": "R", "fields": fields}

    schema = parsed("AVRO", json.dumps(whole("O")), {"O": json.dumps(other)})
    assert json.loads(schema.text_as("resolved")) == whole(other)


INNER = '{"type": "record", "name": "In", "fields": [{"name": "x", "type": "int"}]}'


def _shop(field: str, **more: Any) -> str:
    record = {"type": "record", "name": "Order", "namespace": "shop", **more}
    return json.dumps({**record, "fields": [{"name": "a", "type": json.loads(field)}]})


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        (_shop('"int"', name="shop.Order", namespace=""), _shop('"int"')),
        (_shop(INNER.replace('"In"', '"In", "namespace": "shop"')), _shop(INNER)),
        (_shop('{"type": "string"}'), _shop('"string"')),
        (_shop('[{"type": "null"}, {"type": "string"}]'), _shop('["null", "string"]')),
        (
            _shop('{"type": "array", "items": {"type": "int"}}'),
            _shop('{"type": "array", "items": "int"}'),
        ),
        (_shop('["null", "shop.Order"]'), _shop('["null", "Order"]')),
        (_shop('"int"', aliases=["shop.Old", "x.Old"]), _shop('"int"', aliases=["Old", "x.Old"])),
        (_shop('"int"', aliases=[], doc=None), _shop('"int"')),
        (_shop('"int"').replace("}]", ', "order": "ascending"}]'), _shop('"int"')),
        (_shop('"int"', namespace=""), _shop('"int"').replace('"namespace": "shop", ', "")),
        ('{"type": "string"}', '"string"'),
    ],
)
def test_a_schema_is_the_same_in_whatever_words(written: str, sent: str) -> None:
    old, new = parse("AVRO", written), parse("AVRO", sent)
    assert (old.digest, old.structure, old.text) == (new.digest, new.structure, written)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_shop('"int"'), _shop('"int"', namespace="store")),
        (_shop('"int"'), _shop('{"type": "int", "owner": "a"}')),
        (_shop('"int"'), _shop('"int"', doc="")),
        (_shop('"int"'), _shop('"int"', aliases=["Old"])),
        (_shop('"int"'), _shop('"int"').replace("}]", ', "order": "ignore"}]')),
        (
            _shop('"int"'),
            _shop('"int"').replace("}]", ', "default": null}]').replace("int", "null"),
        ),
        (_shop('"string"', name="string"), _shop('"shop.string"', name="string")),
    ],
)
def test_what_says_more_is_another_schema(one: str, other: str) -> None:
    assert parse("AVRO", one).digest != parse("AVRO", other).digest


def test_types_nested_deep_are_spelled_once() -> None:
    text = '"int"'
    for _ in range(60):
        text = f'{{"type": "array", "items": {text}, "note": "{"x" * 10_000}"}}'
    assert parse("AVRO", text).structure.count(b"array") == 60
