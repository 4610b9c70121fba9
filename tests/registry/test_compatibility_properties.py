"""What holds for the comparison of any two schemas."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.registry.support import parsed

from dataspine.registry import LEVELS, ParsedSchema, ProtobufWorkers, compare, differences
from dataspine.registry.avro import Avro

PLAIN = ("BACKWARD", "FORWARD", "FULL")
QUICK = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PRIMITIVES = st.sampled_from(["int", "long", "float", "double", "string", "bytes", "boolean"])
SCALARS = st.sampled_from(["int32", "uint64", "sint32", "string", "bytes", "bool", "E", "B", "C"])


def types(name: str, depth: int = 2) -> st.SearchStrategy[Any]:
    """Return types whose names follow from their place, so that two schemas share them."""
    symbols = st.sets(st.sampled_from("ABC"), min_size=1).map(sorted)
    logical = st.sampled_from(["timestamp-millis", "timestamp-micros"])
    found = [
        PRIMITIVES,
        st.builds(lambda s: {"type": "enum", "name": f"E{name}", "symbols": s}, symbols),
        st.builds(lambda n: {"type": "fixed", "name": f"F{name}", "size": n}, st.integers(1, 2)),
        st.builds(lambda kind: {"type": "long", "logicalType": kind}, logical),
    ]
    if depth:
        inner = types(f"{name}x", depth - 1)
        found += [
            st.builds(lambda t: {"type": "array", "items": t}, inner),
            st.builds(lambda t: {"type": "map", "values": t}, inner),
            records(f"R{name}", depth - 1),
            inner.filter(lambda t: not isinstance(t, list)).map(lambda t: ["null", t]),
        ]
    return st.one_of(found)


def records(name: str, depth: int = 2) -> st.SearchStrategy[Any]:
    def field(key: str) -> st.SearchStrategy[Any]:
        kind = st.one_of(
            types(f"{name}{key}", depth).map(lambda t: {"name": key, "type": t}),
            st.integers(0, 3).map(lambda n: {"name": key, "type": "int", "default": n}),
        )
        return st.none() | kind

    fields = st.tuples(*(field(key) for key in "abc")).flatmap(st.permutations)
    return fields.map(
        lambda found: {"type": "record", "name": name, "fields": [f for f in found if f]}
    )


SCHEMAS = records("Top").map(lambda document: parsed("AVRO", json.dumps(document)))


@st.composite
def messages(draw: st.DrawFn) -> str:
    lines = []
    for number in draw(st.sets(st.integers(1, 5))):
        repeated = "repeated " if draw(st.booleans()) else ""
        lines.append(f"{repeated}{draw(SCALARS)} f{number} = {number};")
    chosen = [
        f"{draw(SCALARS)} f{number} = {number};" for number in draw(st.sets(st.integers(6, 9)))
    ]
    if chosen:
        kept = draw(st.integers(0, len(chosen)))
        lines += chosen[kept:] + ([f"oneof o {{ {' '.join(chosen[:kept])} }}"] if kept else [])
    body = "\n".join(draw(st.permutations(lines)))
    return (
        f"message A {{\n{body}\n}} message B {{ int32 x = 1; }} message C {{}} enum E {{ Z = 0; }}"
    )


@pytest.fixture(scope="module")
def workers() -> Iterator[ProtobufWorkers]:
    with ProtobufWorkers(1) as pool:
        yield pool


@QUICK
@given(schema=SCHEMAS, level=st.sampled_from(LEVELS), logical=st.booleans())
def test_an_avro_schema_follows_itself(schema: ParsedSchema, level: str, logical: bool) -> None:
    found = compare([schema, schema], schema, level=level, logical=logical)
    assert (found.compatible, found.bump, differences(schema, schema)) == (True, "none", ())


@QUICK
@given(document=records("Top"), kind=PRIMITIVES)
def test_a_field_with_a_default_may_be_added(document: dict[str, Any], kind: str) -> None:
    default = {"string": "", "bytes": "", "boolean": False}.get(kind, 0)
    field = {"name": "added", "type": kind, "default": default}
    grown = {**document, "fields": [field, *document["fields"]]}
    old, new = parsed("AVRO", json.dumps(document)), parsed("AVRO", json.dumps(grown))
    for level in ("BACKWARD", "FULL"):
        found = compare(old, new, level=level)
        assert (found.compatible, found.bump) == (True, "minor")


@QUICK
@given(old=SCHEMAS, new=SCHEMAS, logical=st.booleans())
def test_avro_levels_agree(old: ParsedSchema, new: ParsedSchema, logical: bool) -> None:
    _levels_agree(old, new, logical=logical)


@QUICK
@given(old=SCHEMAS, new=SCHEMAS)
def test_the_avro_package_has_the_last_word(old: ParsedSchema, new: ParsedSchema) -> None:
    before, after = (s.model.model for s in (old, new) if isinstance(s.model, Avro))
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call] # the package has no types
    for level, reader, writer in (("BACKWARD", after, before), ("FORWARD", before, after)):
        found = checker.get_compatibility(reader, writer).compatibility
        readable = found is not SchemaCompatibilityType.incompatible
        assert compare(old, new, level=level).compatible == readable


@settings(QUICK, max_examples=25)
@given(old=messages(), new=messages())
def test_protobuf_levels_agree(workers: ProtobufWorkers, old: str, new: str) -> None:
    before, after = (parsed("PROTOBUF", text, None, workers) for text in (old, new))
    _levels_agree(before, after)
    assert compare([after], after, level="FULL_TRANSITIVE").bump == "none"
    # Each rule holds in both directions: forward is backward with the schemas exchanged.
    forward = compare(before, after, level="FORWARD").compatible
    assert forward == compare(after, before, level="BACKWARD").compatible


def _levels_agree(old: ParsedSchema, new: ParsedSchema, *, logical: bool = False) -> None:
    found = {level: compare(old, new, level=level, logical=logical) for level in LEVELS}
    compatible = {level: comparison.compatible for level, comparison in found.items()}
    assert compatible["NONE"]
    assert compatible["FULL"] == (compatible["BACKWARD"] and compatible["FORWARD"])
    for level in PLAIN:
        transitive = found[f"{level}_TRANSITIVE"]
        assert transitive.messages == found[level].messages
        assert transitive.bump == found[level].bump
        assert compatible[level] == (found[level].bump != "major")
    told = differences(old, new, logical=logical)
    assert compatible["BACKWARD"] == all(change.backward is None for change in told)
    assert compatible["FORWARD"] == all(change.forward is None for change in told)
    assert told == differences(old, new, logical=logical)
