"""A registry that is exported and imported is the same registry."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataspine.adapters import schema_publish, schema_registry, schema_transfer
from dataspine.adapters.init import init
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.core.errors import ConflictError, DataSpineError, InputError
from dataspine.registry import Contract

pytestmark = pytest.mark.integration

ADDRESS = '{"type": "record", "name": "Address", "fields": [{"name": "floor", "type": "int"}]}'
PERSON = '{"type": "record", "name": "P", "fields": [{"name": "home", "type": "Address"}]}'
EMAIL = '{"type": "record", "name": "E", "fields": [{"name": "email", "type": "string"}]}'
CONTRACT = Contract({"tier": "gold"}, {"home": ("PII",)}, (), {"domainRules": [{"name": "r"}]})


def opened(folder: Path, opa: Path) -> Session:
    return Session(init(folder, name="shop", told=lambda _: None), opa=opa, actor="ada")


@pytest.fixture
def session(tmp_path: Path, opa: Path) -> Iterator[Session]:
    with opened(tmp_path / "one", opa) as made:
        yield made


@pytest.fixture
def file(session: Session, tmp_path: Path) -> Path:
    """Export a registry with references, a contract, a deleted version, levels and modes."""
    schema_publish.publish(session, Proposal("z.addresses", ADDRESS))
    reference = {"name": "Address", "subject": "z.addresses", "version": 1}
    for contract in (Contract(), CONTRACT):
        proposal = Proposal("a.people", PERSON, references=[reference], contract=contract)
        schema_publish.publish(session, proposal)
    proto = 'syntax = "proto3";\nmessage O { int64 id = 1; }\n'
    schema_publish.publish(session, Proposal("orders", proto, "PROTOBUF"))
    schema_registry.delete(session, "a.people", 1)
    schema_registry.set_level(session, "orders", "FULL")
    schema_registry.set_mode(session, "", "READONLY")
    path = tmp_path / "registry.jsonl"
    assert schema_transfer.export(session, path) == 4
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_origin(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what says who decided: each registry has its own decision."""
    return [{k: v for k, v in each.items() if k != "decision_id"} for each in documents]


def test_the_same_registry_gives_the_same_bytes(session: Session, file: Path) -> None:
    first = file.read_bytes()
    schema_transfer.export(session, file)
    assert file.read_bytes() == first
    assert [p.name for p in file.parent.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["none/a.jsonl", "file/a.jsonl"], ids=["no folder", "a file"])
def test_an_export_that_cannot_be_written_is_named(
    session: Session, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataSpineError) as refused:
        schema_transfer.export(session, tmp_path / name)
    assert (refused.value.code, refused.value.where) == ("input.not_found", str(tmp_path / name))


def test_an_imported_registry_is_the_same_and_known_again(
    file: Path, tmp_path: Path, opa: Path
) -> None:
    with opened(tmp_path / "two", opa) as other:
        counts = schema_transfer.import_file(other, file)
        assert counts.document() == {"imported": 4, "known": 0, "denied": []}
        again = tmp_path / "again.jsonl"
        schema_transfer.export(other, again)
        assert without_origin(lines(again)) == without_origin(lines(file))
        decided = [other.registry.stored("orders", 1), other.registry.stored("a.people", 2)]
        ids = {entry.decision.decision_id for entry in other.journal.list()}
        assert {each.decision_id for each in decided if each is not None} <= ids

        schema_registry.set_mode(other, "", None)
        counts = schema_transfer.import_file(other, file)
        assert counts.document() == {"imported": 0, "known": 4, "denied": []}


def test_what_policy_denies_is_told_and_left_out(file: Path, tmp_path: Path, opa: Path) -> None:
    (head, *rest) = lines(file)
    version = next(each for each in rest if each.get("subject") == "z.addresses" and "id" in each)
    denied = {**version, "id": 90, "subject": "mail", "schema": EMAIL}
    file.write_text("".join(json.dumps(each) + "\n" for each in (head, denied, version)))
    with opened(tmp_path / "two", opa) as other:
        counts = schema_transfer.import_file(other, file)
        assert counts.document() == {
            "imported": 1,
            "known": 0,
            "denied": [{"subject": "mail", "version": 1, "codes": ["pii.untagged_field"]}],
        }
        assert other.registry.subjects() == ["z.addresses"]


def test_an_id_or_number_that_is_taken_is_refused(file: Path, tmp_path: Path, opa: Path) -> None:
    with opened(tmp_path / "two", opa) as other:
        schema_publish.publish(other, Proposal("z.addresses", ADDRESS.replace("floor", "level")))
        with pytest.raises(ConflictError, match="is taken") as caught:
            schema_transfer.import_file(other, file)
    assert caught.value.where.startswith(f"{file}:")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"id": 2**31}, "registry.number_too_high"),
        ({"id": 0}, "registry.number_too_high"),
        ({"version": 2**31}, "registry.number_too_high"),
        ({"semver": "999999999.0.0"}, "registry.version"),
        ({"semver": "newest"}, "registry.version"),
    ],
)
def test_numbers_that_would_leave_none_are_refused_with_their_line(
    file: Path, tmp_path: Path, opa: Path, change: dict[str, Any], code: str
) -> None:
    (head, *rest) = lines(file)
    version = next(each for each in rest if each.get("subject") == "z.addresses" and "id" in each)
    file.write_text("".join(json.dumps(each) + "\n" for each in (head, {**version, **change})))
    with opened(tmp_path / "two", opa) as other:
        with pytest.raises(InputError) as caught:
            schema_transfer.import_file(other, file)
        assert (caught.value.code, other.registry.subjects()) == (code, [])
    assert caught.value.where.startswith(f"{file}:2")


def test_ids_far_above_are_kept_by_the_import_of_a_file(
    file: Path, tmp_path: Path, opa: Path
) -> None:
    (head, *rest) = lines(file)
    version = next(each for each in rest if each.get("subject") == "z.addresses" and "id" in each)
    moved = {**version, "id": 30_000_000}
    file.write_text("".join(json.dumps(each) + "\n" for each in (head, moved)))
    with opened(tmp_path / "two", opa) as other:
        schema_transfer.import_file(other, file)
        assert other.registry.version("z.addresses", 1).id == 30_000_000


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("", ":1", "the file is empty"),
        ('{"format": "other"}\n', ":1", "does not begin with"),
        ('{"format": "dataspine.registry/1"}\n[]\n', ":2", "no JSON object"),
        ('{"format": "dataspine.registry/1"}\n{\n', ":2", "no JSON"),
        ('{"format": "dataspine.registry/1"}\n{"subject": "a"}\n', ":2", "is missing"),
    ],
)
def test_another_file_is_refused_with_its_line(
    session: Session, tmp_path: Path, text: str, place: str, problem: str
) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        schema_transfer.import_file(session, path)
    assert caught.value.where.startswith(f"{path}{place}")
