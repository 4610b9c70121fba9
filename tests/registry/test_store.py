"""Subjects and versions in a real database."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from tests.store import Place

from dataspine.core.database import Database, metadata
from dataspine.core.errors import ConflictError, InputError, NotFoundError
from dataspine.registry import DELETED, Chosen, Contract, Registry, Version, parse
from dataspine.registry._tables import schema_versions, schemas

AT = datetime(2026, 11, 24, tzinfo=UTC)
TEXT = '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}'


@pytest.fixture
def database(place: Place) -> Iterator[Database]:
    opened = Database(place)
    with opened.begin() as connection:
        metadata.create_all(connection)
    yield opened
    opened.close()


def publish(
    database: Database,
    subject: str,
    text: str = TEXT,
    properties: Mapping[str, str] | None = None,
    references: Sequence[Mapping[str, Any]] = (),
    contract: Contract | None = None,
    at: tuple[int, int] | None = None,
    whole: bool = False,
) -> Version:
    registry = Registry(database)
    with database.begin() as connection:
        return registry.add(
            connection,
            subject,
            parse("AVRO", text, references, lookup=registry.reference),
            semver="1.0.0",
            owner="team-shop",
            contract=contract or Contract(properties or {}),
            references=references,
            provenance={"actor": "ann"},
            decision_id="d1",
            published_at=AT,
            at=Chosen(*at, whole) if at is not None else None,
        )


def delete(
    database: Database, subject: str, number: int | None = None, *, permanent: bool = False
) -> list[int]:
    with database.begin() as connection:
        return Registry(database).delete(connection, subject, number, permanent=permanent, at=AT)


def test_a_version_is_read_back_as_it_was_stored(database: Database) -> None:
    stored = publish(database, "shop/ü%2F")

    assert Registry(database).version("shop/ü%2F", "latest") == stored
    assert stored.document() == {
        "subject": "shop/ü%2F",
        "version": 1,
        "id": 1,
        "schemaType": "AVRO",
        "schema": TEXT,
        "references": [],
        "metadata": {"properties": {}},
        "semver": "1.0.0",
        "owner": "team-shop",
        "provenance": {"actor": "ann"},
        "decision_id": "d1",
        "published_at": "2026-11-24T00:00:00Z",
    }
    assert [f["path"] for f in stored.fields] == ["a"]


def test_the_latest_version_is_the_latest_whoever_wrote_it(database: Database) -> None:
    registry, other = Registry(database), Database(database.place)
    first = publish(database, "a")
    assert (registry.latest("a"), registry.latest("a")) == (first, first)

    with contextlib.closing(other):
        second = publish(other, "a", TEXT.replace("int", "long"))
    assert registry.latest("a") == second

    third: dict[str, Any] = {"subject": "a", "number": 3, "schema_id": 1, "semver": "3.0.0"}
    empty: dict[str, Any] = {"metadata": {}, "references": [], "fields": [], "provenance": {}}
    with database.begin() as connection:
        connection.execute(schema_versions.insert(), {**third, **empty, "published_at": "now"})
        assert registry.latest("a", connection) != second
        connection.rollback()
    assert registry.latest("a") == second


def test_the_same_content_has_the_same_id_under_every_subject(database: Database) -> None:
    first, second = publish(database, "a"), publish(database, "b", TEXT + "\n")
    third = publish(database, "a", TEXT.replace("int", "long"))

    assert (first.id, second.id, third.id) == (1, 1, 2)
    assert Registry(database).subjects() == ["a", "b"]
    assert [v.number for v in Registry(database).versions("a")] == [1, 2]
    assert Registry(database).by_id(1) == first


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        ({}, True),
        ({"tier": "gold"}, True),
        ({"tier": "gold", "owner": "team-shop"}, True),
        ({"tier": "silver"}, False),
        ({"owner": "team-shop"}, False),
    ],
)
def test_a_known_schema_is_found_unless_other_metadata_are_sent(
    database: Database, sent: dict[str, str], known: bool
) -> None:
    stored = publish(database, "a", properties={"tier": "gold", "owner": "team-shop"})
    found = Registry(database).find("a", parse("AVRO", TEXT + " "), contract=Contract(sent))
    assert found == (stored if known else None)


def test_a_reference_is_resolved_from_the_registry(database: Database) -> None:
    publish(database, "addresses", TEXT)
    reference = {"name": "R", "subject": "addresses", "version": 1}
    text = '{"type": "record", "name": "Q", "fields": [{"name": "r", "type": "R"}]}'

    stored = publish(database, "people", text, references=[reference])

    assert [(f["path"], f.get("line")) for f in stored.fields] == [("r", 1), ("r.a", None)]
    with pytest.raises(InputError, match="cannot be resolved"):
        parse("AVRO", text + " ", [reference])


@pytest.mark.parametrize("subject", ["", " ", "ids", "guids", "types", "a\nb", "a" * 256, "\ud800"])
def test_a_name_that_can_be_no_subject_is_refused(database: Database, subject: str) -> None:
    with pytest.raises(InputError) as caught:
        Registry(database).check_subject(subject)
    assert caught.value.code == "registry.invalid_subject"


def test_what_is_unknown_says_so(database: Database) -> None:
    registry = Registry(database)
    publish(database, "a")

    with pytest.raises(NotFoundError, match="the subject is unknown"):
        registry.version("b", "latest")
    with pytest.raises(NotFoundError, match="there is no version 2"):
        registry.version("a", "2")
    with pytest.raises(InputError, match="no version number"):
        registry.version("a", "x")


def test_a_contract_is_stored_whole_and_is_part_of_identity(database: Database) -> None:
    contract = Contract(
        {"tier": "gold"},
        {"**.email": ("PII",)},
        ("tier",),
        {"domainRules": [{"name": "r", "type": "CEL", "expr": "size(message.a) > 0"}]},
    )
    plain, whole = publish(database, "a"), publish(database, "a", contract=contract)

    assert (plain.id, whole.id) == (1, 2)
    assert Registry(database).version("a", 2).contract == contract
    assert whole.document()["ruleSet"] == contract.document()["ruleSet"]
    parsed = parse("AVRO", TEXT)
    assert Registry(database).find("a", parsed) == whole
    assert Registry(database).find("a", parsed, contract=contract) == whole
    assert Registry(database).find("a", parsed, contract=Contract({"tier": "silver"})) is None


def test_a_deleted_version_is_hidden_read_by_its_id_and_not_numbered_again(
    database: Database,
) -> None:
    registry = Registry(database)
    first, second = publish(database, "a"), publish(database, "a", TEXT.replace("int", "long"))
    assert registry.latest("a") == second

    assert delete(database, "a", 2) == [2]

    assert registry.latest("a") == first
    assert [v.number for v in registry.versions("a")] == [1]
    assert [v.number for v in registry.versions("a", deleted="only")] == [2]
    assert [v.number for v in registry.versions("a", deleted="shown")] == [1, 2]
    with pytest.raises(NotFoundError, match="there is no version 2"):
        registry.version("a", 2)
    assert registry.by_id(second.id).is_deleted
    assert (registry.uses(second.id), registry.uses(second.id, deleted="shown")) == ([], [("a", 2)])
    again = publish(database, "a", TEXT.replace("int", "long"))
    assert (again.id, again.number) == (second.id, 3)


def test_a_subject_is_deleted_first_and_then_for_good(database: Database) -> None:
    registry = Registry(database)
    publish(database, "a")
    publish(database, "b")
    with pytest.raises(ConflictError, match="the subject was not deleted before") as caught:
        delete(database, "a", permanent=True)
    assert caught.value.code == "registry.not_deleted"

    assert delete(database, "a") == [1]
    assert [registry.subjects(deleted=each) for each in DELETED] == [["b"], ["a", "b"], ["a"]]
    with pytest.raises(ConflictError, match="the subject is deleted already") as caught:
        delete(database, "a")
    assert caught.value.code == "registry.deleted"
    assert registry.latest("a") is None

    assert delete(database, "a", permanent=True) == [1]
    assert registry.subjects(deleted="shown") == ["b"]
    with pytest.raises(NotFoundError, match="the subject is unknown"):
        delete(database, "a")
    assert registry.by_id(1).subject == "b"


def test_what_is_referred_to_is_not_deleted(database: Database) -> None:
    registry = Registry(database)
    publish(database, "addresses")
    reference = {"name": "R", "subject": "addresses", "version": 1}
    text = '{"type": "record", "name": "Q", "fields": [{"name": "r", "type": "R"}]}'
    person = publish(database, "people", text, references=[reference])
    assert registry.referenced_by("addresses", 1) == [person]

    with pytest.raises(ConflictError, match="people version 1 refers to it") as caught:
        delete(database, "addresses")
    assert caught.value.code == "registry.referenced"

    delete(database, "people")
    assert delete(database, "addresses") == [1]
    # What is hidden is still read: a version that refers to it can be restored.
    assert registry.reference("addresses", 1).is_deleted


def test_an_imported_version_keeps_its_id_and_number(database: Database) -> None:
    imported = publish(database, "a", at=(70, 3))
    assert (imported.id, imported.number, Registry(database).greatest_id()) == (70, 3, 70)
    for text, at, problem in (
        (TEXT, (71, 4), "this content has the id 70"),
        (TEXT.replace("int", "long"), (70, 4), "id 70 is taken"),
        (TEXT.replace("int", "long"), (71, 3), "version 3 of a is taken"),
    ):
        with pytest.raises(ConflictError, match=problem):
            publish(database, "a", text, at=at)
    following = publish(database, "a", TEXT.replace("int", "long"))
    assert (following.id, following.number) == (71, 4)


@pytest.mark.parametrize(
    ("at", "whole", "problem"),
    [
        ((1_000_071, 1), False, "the id 1000071 is not between 1 and 1000070"),
        ((2**31 - 1, 1), False, "the id 2147483647 is not between 1 and 1000070"),
        ((2**30, 1), True, "the id 1073741824 is not between 1 and 1073741823"),
        ((2**40, 1), True, "the id 1099511627776 is not between 1 and 1073741823"),
        ((0, 1), True, "the id 0 is not between 1 and 1073741823"),
        ((71, 1_000_001), False, "the version 1000001 is not between 1 and 1000000"),
        ((71, 2**30), True, "the version 1073741824 is not between 1 and 1073741823"),
        ((71, -1), True, "the version -1 is not between 1 and 1073741823"),
    ],
)
def test_an_import_that_leaps_is_refused_and_nothing_is_stored(
    database: Database, at: tuple[int, int], whole: bool, problem: str
) -> None:
    publish(database, "a", at=(70, 1))
    with pytest.raises(InputError) as refused:
        publish(database, "b", TEXT.replace("int", "long"), at=at, whole=whole)
    assert (refused.value.code, refused.value.problem) == ("registry.number_too_high", problem)
    following = publish(database, "b", TEXT.replace("int", "long"))
    assert (following.id, following.number) == (71, 1)


def test_an_import_takes_over_what_another_registry_gave(database: Database) -> None:
    for at, whole in (((1_000_000, 900_000), False), ((2**30 - 1, 2**30 - 1), True)):
        imported = publish(database, "a", TEXT.replace('"a"', f'"a{whole}"'), at=at, whole=whole)
        assert (imported.id, imported.number) == at
    following = publish(database, "a")
    assert (following.id, following.number) == (2**30, 2**30)


def test_no_id_is_given_that_a_message_cannot_carry(database: Database) -> None:
    publish(database, "a")
    last = {"id": 2**31 - 1, "identity": "x", "type": "AVRO", "digest": "x", "text": TEXT}
    with database.begin() as connection:
        connection.execute(sa.insert(schemas).values(last))
    with pytest.raises(ConflictError) as refused:
        publish(database, "b", TEXT.replace("int", "long"))
    assert refused.value.code == "registry.out_of_numbers"
    assert publish(database, "b").id == 1  # what has an id keeps it
    assert Registry(database).subjects() == ["a", "b"]


def test_an_id_over_the_range_is_not_given_after_the_greatest_was_removed(
    database: Database,
) -> None:
    last = {"id": 2**31 - 1, "identity": "x", "type": "AVRO", "digest": "x", "text": TEXT}
    with database.begin() as connection:
        if connection.dialect.name != "sqlite":
            pytest.skip("PostgreSQL's own column ends there")
        connection.execute(sa.insert(schemas).values(last))
        connection.execute(sa.delete(schemas))
    with pytest.raises(ConflictError) as refused:
        publish(database, "b")
    assert refused.value.code == "registry.out_of_numbers"
    assert Registry(database).subjects() == []


@pytest.mark.parametrize(
    ("metadata", "rule_set", "place"),
    [
        ([], None, "metadata"),
        ({"owner": "a"}, None, "metadata/owner"),
        ({"properties": {"a": 1}}, None, "metadata/properties"),
        ({"tags": {"a": "PII"}}, None, "metadata/tags"),
        ({"sensitive": [""]}, None, "metadata/sensitive"),
        ({}, {"rules": [{}]}, "ruleSet/rules"),
        ({}, {"domainRules": ["x" * 70_000]}, "ruleSet"),
        ({"properties": {str(n): "x" for n in range(201)}}, None, "metadata/properties"),
    ],
)
def test_a_contract_of_another_shape_is_refused_instead_of_cut(
    metadata: object, rule_set: object, place: str
) -> None:
    with pytest.raises(InputError) as caught:
        Contract.of(metadata, rule_set)
    assert (caught.value.code, caught.value.where) == ("registry.invalid_contract", place)


def test_null_says_nothing_in_a_contract() -> None:
    assert Contract.of(None) == Contract.of({"properties": None, "tags": {}}) == Contract()
    assert not Contract.of({"sensitive": None}, {"domainRules": None, "migrationRules": []})
