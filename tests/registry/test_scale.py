"""What a read costs may not grow with the registry: how SQLite runs it, how often it is asked."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dataspine.core.database import Database, metadata
from dataspine.registry import Contract, Registry, parse

AT = datetime(2026, 11, 24, tzinfo=UTC)
TEXT = '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}'
NAMES = [f"shop.s{number:02d}" for number in range(20)]

FIRST: dict[str, Any] = {
    "semver": "1.0.0",
    "owner": None,
    "contract": Contract(),
    "references": (),
    "provenance": {},
    "decision_id": None,
    "published_at": AT,
}

Statements = list[tuple[str, Any]]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "spine.db")
    with opened.begin() as connection:
        metadata.create_all(connection)
    registry, parsed = Registry(opened), [parse("AVRO", TEXT), parse("AVRO", TEXT + " ")]
    with opened.begin() as connection:
        for subject in NAMES:
            for each in parsed:
                registry.add(connection, subject, each, **FIRST)
    yield opened
    opened.close()


@pytest.fixture
def asked() -> Iterator[Statements]:
    """Return what was asked so far."""
    found: Statements = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            found.append((statement, values))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    yield found
    sa.event.remove(sa.Engine, "before_cursor_execute", note)


def plan(database: Database, statement: str, values: Any) -> list[str]:
    with database.read() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        return [row[3] for row in rows]


READS: dict[str, Callable[[Registry], object]] = {
    "latest": lambda registry: registry.latest("shop.s07"),
    "version": lambda registry: registry.version("shop.s07", 1),
    "versions": lambda registry: registry.versions("shop.s07"),
    "stored": lambda registry: registry.stored("shop.s07", 1),
    "by id": lambda registry: registry.by_id(1),
    "by id of a subject": lambda registry: registry.by_id(1, "shop.s07"),
    "uses": lambda registry: registry.uses(1),
    "referenced by": lambda registry: registry.referenced_by("shop.s07", 1),
    "find": lambda registry: registry.find("shop.s07", parse("AVRO", TEXT), deleted="shown"),
    "greatest id": lambda registry: registry.greatest_id(),
    "removed": lambda registry: registry.removed(0),
    "pages": lambda registry: registry.pages(NAMES[:5]),
    "all of pages": lambda registry: registry.pages(NAMES[:5], latest_only=False),
    "prefix": lambda registry: registry.subjects("shop.s0"),
    "prefix of deleted": lambda registry: registry.subjects("shop.s0", deleted="only"),
}


@pytest.mark.parametrize("read", READS)
def test_no_read_looks_at_a_whole_table(database: Database, asked: Statements, read: str) -> None:
    READS[read](Registry(database))
    statements = list(asked)
    assert statements
    scanned = [
        step
        for statement, values in statements
        for step in plan(database, statement, values)
        if step.startswith("SCAN") and "SUBQUERY" not in step
    ]
    assert scanned == []


@pytest.mark.parametrize("prefix", ["", "shop.s0"])
def test_subjects_are_listed_from_an_index_alone(
    database: Database, asked: Statements, prefix: str
) -> None:
    assert Registry(database).subjects(prefix, limit=10) == NAMES[:10]
    [(statement, values)] = asked
    assert plan(database, statement, values) == [
        "SEARCH schema_versions USING COVERING INDEX schema_versions_kept (subject>? AND subject<?)"
    ]


@pytest.mark.parametrize("latest_only", [True, False])
def test_a_page_of_versions_is_one_question(
    database: Database, asked: Statements, latest_only: bool
) -> None:
    found = Registry(database).pages(NAMES[3:17], latest_only=latest_only)
    numbers = [2] if latest_only else [1, 2]
    assert [(each.subject, each.number) for each in found] == [
        (name, number) for name in NAMES[3:17] for number in numbers
    ]
    assert len(asked) == 1


def test_a_page_leaves_out_what_is_deleted(database: Database) -> None:
    registry = Registry(database)
    with database.begin() as connection:
        registry.delete(connection, NAMES[0], 2, at=AT)
        registry.delete(connection, NAMES[1], at=AT)
    found = registry.pages(NAMES[:3])
    assert [(each.subject, each.number) for each in found] == [(NAMES[0], 1), (NAMES[2], 2)]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("A", ["A", "A\U0010ffff", "A\U0010ffffz"]), ("a", ["a", "ab"]), ("%", ["%"]), ("_", ["_"])],
)
def test_a_prefix_is_compared_letter_by_letter(
    database: Database, prefix: str, expected: list[str]
) -> None:
    registry = Registry(database)
    with database.begin() as connection:
        for subject in ("A", "A\U0010ffff", "A\U0010ffffz", "a", "ab", "%", "_", "B"):
            registry.add(connection, subject, parse("AVRO", TEXT), **FIRST)
    assert registry.subjects(prefix) == expected
