"""The rules of compatibility: every case of the two named files, in every direction."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.registry.support import parsed

from dataspine.registry import LEVELS, ProtobufWorkers, compare

FOLDER = Path(__file__).parent


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return document


AVRO, PROTOBUF = _read("avro_compatibility.yaml"), _read("protobuf_compatibility.yaml")


@pytest.fixture(scope="module")
def workers() -> Iterator[ProtobufWorkers]:
    with ProtobufWorkers(1) as pool:
        yield pool


@pytest.mark.parametrize("document", [AVRO, PROTOBUF], ids=["avro", "protobuf"])
def test_no_case_is_lost(document: Mapping[str, Any]) -> None:
    names = [case["name"] for case in document["cases"]]
    assert (len(names), len(set(names))) == (document["count"], document["count"])


@pytest.mark.parametrize("case", AVRO["cases"], ids=lambda case: case["name"])
def test_avro_case(case: Mapping[str, Any]) -> None:
    old, new = _sides("AVRO", case)
    assert _found(old, new) == _expected(case)
    assert _found(old, new, logical=True) == _expected(case.get("logical", case))


@pytest.mark.parametrize("case", PROTOBUF["cases"], ids=lambda case: case["name"])
def test_protobuf_case(case: Mapping[str, Any], workers: ProtobufWorkers) -> None:
    assert _found(*_sides("PROTOBUF", case, workers)) == _expected(case)


def _sides(kind: str, case: Mapping[str, Any], workers: ProtobufWorkers | None = None) -> list[Any]:
    imports = case.get("imports", {})
    return [parsed(kind, case[side], imports.get(side), workers) for side in ("old", "new")]


def _found(old: Any, new: Any, *, logical: bool = False) -> dict[str, bool]:
    found = {level: compare(old, new, level=level, logical=logical) for level in LEVELS}
    for comparison in found.values():
        assert comparison.compatible == (not comparison.messages)
        assert comparison.compatible or comparison.bump == "major"
    return {level: comparison.compatible for level, comparison in found.items()}


def _expected(case: Mapping[str, Any]) -> dict[str, bool]:
    backward, forward = case["backward"], case["forward"]
    plain = {"BACKWARD": backward, "FORWARD": forward, "FULL": backward and forward}
    return {"NONE": True} | plain | {f"{level}_TRANSITIVE": v for level, v in plain.items()}
