"""What is much work to compare is compared by a process that can be stopped."""

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
from tests.registry.support import parsed

from dataspine.core.errors import InputError
from dataspine.registry import (
    Comparison,
    ComparisonWorkers,
    Limits,
    ParsedSchema,
    ProtobufWorkers,
    compare,
    differences,
    parse,
)


@pytest.fixture(scope="module")
def workers() -> Iterator[ComparisonWorkers]:
    with ComparisonWorkers(1, seconds=60) as pool:
        yield pool


@pytest.fixture(scope="module")
def protobuf() -> Iterator[ProtobufWorkers]:
    with ProtobufWorkers(1) as pool:
        yield pool


def union(branches: int, kind: str = "int") -> ParsedSchema:
    """Return a record with a union of so many records, each with a field of this type."""
    records = [
        {"type": "record", "name": f"R{n}", "fields": [{"name": "a", "type": kind}]}
        for n in range(branches)
    ]
    fields = [{"name": "u", "type": records}]
    return parse("AVRO", json.dumps({"type": "record", "name": "T", "fields": fields}, indent=1))


def message(count: int, kind: str, workers: ProtobufWorkers) -> ParsedSchema:
    fields = "\n".join(f"  {kind} a_long_name_of_a_field_{n} = {n};" for n in range(1, count))
    return parse("PROTOBUF", f'syntax = "proto3";\nmessage M {{\n{fields}\n}}', workers=workers)


def flat(kind: str, workers: ProtobufWorkers) -> tuple[ParsedSchema, ParsedSchema]:
    """Return two ordinary schemas, of which the second breaks the first."""
    if kind == "PROTOBUF":
        return message(60, "int32", workers), message(60, "string", workers)
    fields = [{"name": f"f{n}", "type": ["null", "int"], "default": None} for n in range(60)]
    old = {"type": "record", "name": "R", "fields": fields}
    return parsed("AVRO", json.dumps(old)), parsed("AVRO", json.dumps(old).replace("int", "bytes"))


@pytest.mark.parametrize("level", ["BACKWARD", "FULL", "NONE"])
def test_a_worker_finds_what_this_process_finds(
    level: str, workers: ComparisonWorkers, protobuf: ProtobufWorkers
) -> None:
    for old, new in (
        (union(60), union(60, "string")),
        (union(60, "int"), union(60, "long")),
        (message(1500, "int32", protobuf), message(1500, "string", protobuf)),
    ):
        limited = compare(old, new, level=level, limits=Limits.of(workers))
        changed = differences(old, new, limits=Limits.of(workers))
        assert len(workers.pids) == 1
        assert (limited, changed) == (compare(old, new, level=level), differences(old, new))


def test_a_reference_travels_with_its_schema(workers: ComparisonWorkers) -> None:
    records = [{"type": "record", "name": f"R{n}", "fields": []} for n in range(60)]
    top = {"type": "record", "name": "T", "fields": [{"name": "u", "type": ["E", *records]}]}
    symbols = [
        {"E": json.dumps({"type": "enum", "name": "E", "symbols": names})}
        for names in (["A", "B"], ["A"])
    ]
    old, new = (parsed("AVRO", json.dumps(top), imports) for imports in symbols)

    found = compare(old, new, limits=Limits.of(workers))

    assert found == Comparison("BACKWARD", False, found.messages, "major")
    assert found.messages == ("u: the enum lost B (line 1); keep them, or give the enum a default",)


@pytest.mark.parametrize("kind", ["AVRO", "PROTOBUF"])
def test_an_ordinary_schema_needs_no_process(kind: str, protobuf: ProtobufWorkers) -> None:
    old, new = flat(kind, protobuf)
    with ComparisonWorkers(1) as pool:
        assert not compare(old, new, level="FULL", limits=Limits.of(pool)).compatible
        assert pool.pids == ()


def test_a_comparison_that_takes_too_long_is_stopped_and_the_pool_goes_on() -> None:
    with ComparisonWorkers(1, seconds=0.05) as pool:
        with pytest.raises(InputError) as refused:
            compare(union(190, "float"), union(190, "string"), limits=Limits.of(pool))
        assert (refused.value.code, len(pool.pids)) == ("registry.too_costly", 1)
        patient = Limits(pool, time.monotonic() + 60)
        assert not compare(union(50, "float"), union(50, "string"), limits=patient).compatible


def test_all_versions_share_one_deadline() -> None:
    versions = [union(40, "int"), union(40, "long"), union(40, "float")]
    with ComparisonWorkers(1) as pool:
        with pytest.raises(InputError) as refused:
            compare(
                versions, union(40, "double"), level="FULL_TRANSITIVE", limits=Limits(pool, 0.0)
            )
        assert (refused.value.code, pool.pids) == ("registry.too_costly", ())


def test_a_killed_process_is_replaced(workers: ComparisonWorkers) -> None:
    for kind in ("bytes", "boolean"):
        for pid in workers.pids:
            os.kill(pid, signal.SIGKILL)
        assert not compare(union(45), union(45, kind), limits=Limits.of(workers)).compatible


def test_a_union_too_wide_to_be_compared_is_refused_from_the_first_version_on() -> None:
    wide = union(201)
    for previous in ([], [union(3)]):
        with pytest.raises(InputError) as refused:
            compare(previous, wide)
        assert (refused.value.code, refused.value.problem) == (
            "registry.invalid_schema",
            "a union of 201 branches is over the limit of 200",
        )
    assert compare([wide], wide).bump == "none"  # one that is there stays known
    assert compare([], union(200)).compatible
    with ComparisonWorkers(1) as pool:
        assert compare([wide], union(2), level="NONE", limits=Limits.of(pool)).compatible
