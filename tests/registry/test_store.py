"""Subjects and versions in a real database."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dataspine.core.database import Database, metadata
from dataspine.core.errors import InputError, NotFoundError
from dataspine.registry import Registry, Version, parse
from dataspine.registry._tables import schema_versions

AT = datetime(2026, 11, 24, tzinfo=UTC)
TEXT = '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}'


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "spine.db")
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
) -> Version:
    registry = Registry(database)
    with database.begin() as connection:
        return registry.add(
            connection,
            subject,
            parse("AVRO", text, references, lookup=registry.reference),
            semver="1.0.0",
            owner="team-shop",
            metadata=properties or {},
            references=references,
            provenance={"actor": "ann"},
            decision_id="d1",
            published_at=AT,
        )


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
    registry, other = Registry(database), Database(database.path)
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
    found = Registry(database).find("a", parse("AVRO", TEXT + " "), metadata=sent)
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
