"""A field is at least as classified as anything that its type can reach, cycles included."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.registry.support import parsed

from dataspine.core.errors import InputError
from dataspine.registry import ParsedSchema, ProtobufWorkers, classifications_of, parse

QUICK = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
EMPLOYEE = json.dumps(
    {
        "type": "record",
        "name": "Employee",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "email", "type": "string", "doc": "[pii] retain=P30D"},
            {"name": "manager", "type": ["null", "Employee"]},
        ],
    }
)
PROTO = """syntax = "proto3";
message Employee {
  int64 id = 1;
  string email = 2; // [pii] retain=P30D
  Employee manager = 3;
  repeated Team teams = 4;
}
message Team { map<string, Employee> members = 1; string city = 2; }
"""
TAGS = ("PII", "PCI", "Internal", "Public", "Restricted")


@dataclass(frozen=True)
class Member:
    """A field of a generated type: what stands around its types, and which types they are."""

    shape: str
    targets: tuple[int, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Named:
    """A generated type: what is said of it, and its fields."""

    tags: tuple[str, ...]
    members: tuple[Member, ...]


Types = tuple[Named, ...]


@st.composite
def graphs(draw: st.DrawFn, shapes: Sequence[str]) -> Types:
    """Return up to four types that contain each other as they like."""
    count = draw(st.integers(1, 4))
    tags = st.lists(st.sampled_from(TAGS), max_size=1).map(tuple)
    target = st.integers(0, count - 1)
    several = st.lists(target, min_size=1, max_size=2, unique=True).map(tuple)
    member = st.sampled_from(shapes).flatmap(
        lambda shape: st.builds(Member, st.just(shape), _targets(shape, target, several), tags)
    )
    members = st.lists(member, min_size=1, max_size=3).map(tuple)
    return draw(
        st.lists(st.builds(Named, tags, members), min_size=count, max_size=count).map(tuple)
    )


def _targets(
    shape: str, one: st.SearchStrategy[int], several: st.SearchStrategy[tuple[int, ...]]
) -> st.SearchStrategy[tuple[int, ...]]:
    if shape == "text":
        return st.just(())
    return several if shape == "union" else one.map(lambda target: (target,))


@QUICK
@given(types=graphs(("text", "plain", "array", "map", "union")))
def test_an_avro_field_is_as_classified_as_what_its_type_reaches(types: Types) -> None:
    schema = parsed("AVRO", json.dumps(_avro(types, 0, set())))

    _require_closed(schema, types, {})


@QUICK
@given(types=graphs(("text", "plain", "array", "map")))
def test_a_protobuf_field_is_as_classified_as_what_its_type_reaches(
    types: Types, workers: ProtobufWorkers
) -> None:
    schema = parsed("PROTOBUF", "\n".join(starmap(_proto, enumerate(types))), workers=workers)

    _require_closed(schema, types, {})


@QUICK
@given(types=graphs(("text", "plain", "array", "union")), data=st.data())
def test_the_tags_of_a_contract_are_reached_as_well(types: Types, data: st.DataObject) -> None:
    names = [f"T{n}.f{m}" for n, each in enumerate(types) for m in range(len(each.members))]
    tag = st.lists(st.sampled_from(TAGS), min_size=1, max_size=1)
    tags = data.draw(st.dictionaries(st.sampled_from(names), tag, max_size=3))

    schema = parsed("AVRO", json.dumps(_avro(types, 0, set()))).tagged(tags)

    _require_closed(schema, types, tags)


def test_a_record_of_its_own_kind_is_what_the_record_is() -> None:
    fields = [field.facts() for field in parse("AVRO", EMPLOYEE).fields]

    assert [(f["path"], f["classifications"], f["tagged"], f["retention"]) for f in fields] == [
        ("id", ["Public"], False, None),
        ("email", ["PII"], True, "P30D"),
        ("manager", ["PII"], False, "P30D"),
    ]
    assert classifications_of(fields, "manager") == ("PII",)


def test_messages_that_contain_each_other_are_what_both_are(workers: ProtobufWorkers) -> None:
    fields = [field.facts() for field in parse("PROTOBUF", PROTO, workers=workers).fields]

    columns = ("id", "email", "manager", "teams")
    assert {name: classifications_of(fields, name) for name in columns} == {
        "id": ("Public",),
        "email": ("PII",),
        "manager": ("PII",),
        "teams": ("PII",),
    }
    held = [f["path"] for f in fields if f["classifications"] == ["PII"] and not f["tagged"]]
    assert held == [
        "manager",
        "teams[].members{}",
        "Team/members{}.manager",
        "Team/members{}.teams[]",
    ]


def test_a_type_that_is_referred_to_may_lead_back() -> None:
    types = {
        "Node": '{"type": "record", "name": "Node", "fields": [{"name": "note", '
        '"type": "string", "doc": "[restricted]"}, {"name": "next", "type": ["null", "Node"]}]}'
    }
    text = '{"type": "record", "name": "Top", "fields": [{"name": "first", "type": "Node"}]}'

    fields = {f.path: f.classifications for f in parsed("AVRO", text, types).fields}

    assert fields == {
        "first": ("Public",),
        "first.note": ("Restricted",),
        "first.next": ("Restricted",),
    }


@pytest.mark.parametrize(
    ("own", "kept"),
    [("", "P30D"), ("retain=P1Y", "P30D"), ("retain=PT12H", "PT12H"), ("retain=soon", "soon")],
)
def test_what_closes_a_cycle_is_kept_no_longer_than_what_it_holds(own: str, kept: str) -> None:
    document = json.loads(EMPLOYEE)
    document["fields"][2]["doc"] = own

    assert parse("AVRO", json.dumps(document)).fields[2].retention == kept


def test_a_schema_that_repeats_its_tags_without_end_is_refused() -> None:
    fields = [{"name": f"t{n}", "type": "int", "tags": [f"tag{n}"]} for n in range(500)]
    fields += [{"name": f"n{n}", "type": ["null", "T"]} for n in range(500)]

    with pytest.raises(InputError) as refused:
        parse("AVRO", json.dumps({"type": "record", "name": "T", "fields": fields}))

    assert (refused.value.code, refused.value.problem) == (
        "registry.invalid_schema",
        "types that contain themselves repeat more than 200000 classifications",
    )


@pytest.fixture(scope="module")
def workers() -> Iterator[ProtobufWorkers]:
    with ProtobufWorkers(1) as pool:
        yield pool


def _require_closed(schema: ParsedSchema, types: Types, tags: Mapping[str, Sequence[str]]) -> None:
    facts = [field.facts() for field in schema.fields]
    reached = [_reached(types, start, tags) - {"Public"} for start in range(len(types))]
    for field in schema.fields:
        record, _, name = field.full_name.rpartition(".")
        member = types[int(record.removeprefix("T"))].members[int(name.removeprefix("f"))]
        inside = set().union(*(reached[target] for target in member.targets))
        assert inside <= set(classifications_of(facts, field.path)), field.path


def _reached(types: Types, start: int, tags: Mapping[str, Sequence[str]]) -> set[str]:
    """Return what is said of all that a type reaches, walked as a graph."""
    found: set[str] = set()
    todo, seen = [start], {start}
    while todo:
        number = todo.pop()
        found.update(types[number].tags)
        for index, member in enumerate(types[number].members):
            found.update(member.tags, tags.get(f"T{number}.f{index}", ()))
            todo += [target for target in member.targets if target not in seen]
            seen.update(member.targets)
    return found


def _avro(types: Types, number: int, defined: set[int]) -> object:
    """Return a type, written out where it is first used."""
    if number in defined:
        return f"T{number}"
    defined.add(number)
    fields = []
    for index, member in enumerate(types[number].members):
        inner = [_avro(types, target, defined) for target in member.targets]
        kinds: dict[str, object] = {
            "text": "string",
            "plain": ["null", *inner],
            "array": {"type": "array", "items": inner},
            "map": {"type": "map", "values": inner},
            "union": ["null", *inner],
        }
        fields.append({"name": f"f{index}", "type": kinds[member.shape], "tags": list(member.tags)})
    tags = list(types[number].tags)
    return {"type": "record", "name": f"T{number}", "fields": fields, "tags": tags}


def _proto(number: int, named: Named) -> str:
    lines = []
    for index, member in enumerate(named.members):
        kind = {
            "text": "string",
            "plain": "T{}",
            "array": "repeated T{}",
            "map": "map<string, T{}>",
        }[member.shape].format(*member.targets)
        lines.append(f"{_brackets(member.tags)}  {kind} f{index} = {index + 1};")
    return "\n".join([f"{_brackets(named.tags)}message T{number} {{", *lines, "}"])


def _brackets(tags: Sequence[str]) -> str:
    return "".join(f"// [{tag}]\n" for tag in tags)
