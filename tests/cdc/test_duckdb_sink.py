"""A sink's transaction holds what DuckDB holds; no row and no name stops it."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from tests.cdc.world import MASKER, NOW, PEOPLE, World

from dataspine.cdc.duckdb_sink import DuckDbSink, Partial, Upserts
from dataspine.cdc.event import UNCHANGED, Batch, Change, Column, Commit, Op, Relation, Row
from dataspine.cdc.flush import Flush
from dataspine.core.errors import InputError, UnavailableError

PIECE = 500


def test_staged_piece_is_freed_before_the_transaction_ends(tmp_path: Path) -> None:
    sink = DuckDbSink("eu", tmp_path / "eu.duckdb", {}, MASKER)
    before = pa.total_allocated_bytes()
    held = []
    with sink.open() as session:
        for number in range(4):
            first = number * PIECE
            rows: list[Row] = [(str(i), "DE", "x" * 1_000) for i in range(first, first + PIECE)]
            upserts = Upserts(rows, [(1, i) for i in range(PIECE)])
            assert session.rejected(PEOPLE, upserts) == []
            session.apply(PEOPLE, upserts)
            del upserts
            held.append(pa.total_allocated_bytes() - before)
        session.commit("r", "shop", 1)
        assert session.existing(PEOPLE, [("0",), (str(4 * PIECE - 1),)]) == [True, True]
    assert held == [0, 0, 0, 0]


@pytest.fixture
def sink(tmp_path: Path) -> DuckDbSink:
    return DuckDbSink("eu", tmp_path / "eu.duckdb", {}, MASKER)


def table(name: str, *columns: tuple[str, str]) -> Relation:
    made = tuple(Column(column, kind, n == 0) for n, (column, kind) in enumerate(columns))
    return Relation(1, "public", name, made, "default")


def put(sink: DuckDbSink, relation: Relation, *rows: Row) -> None:
    with sink.open() as session:
        session.apply(relation, Upserts(list(rows), [(1, n) for n in range(len(rows))]))
        session.commit_rows()


def rows_of(sink: DuckDbSink, statement: str) -> list[tuple[object, ...]]:
    connection = duckdb.connect(str(sink.path), read_only=True)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def test_file_and_its_log_are_their_owners_alone(sink: DuckDbSink) -> None:
    before = os.umask(0o022)
    try:
        with sink.open() as session:
            session.apply(PEOPLE, Upserts([("1", "DE", "a")], [(1, 0)]))
            session.commit_rows()
            modes = {path.name: path.stat().st_mode & 0o777 for path in sink.path.parent.iterdir()}
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert modes == {"eu.duckdb": 0o600, "eu.duckdb.wal": 0o600}


def test_mode_that_somebody_gave_the_file_stays(sink: DuckDbSink) -> None:
    put(sink, PEOPLE, ("1", "DE", "a"))
    sink.path.chmod(0o640)
    put(sink, PEOPLE, ("2", "DE", "b"))
    assert sink.path.stat().st_mode & 0o777 == 0o640


def test_umask_is_restored_when_sinks_are_open_at_the_same_time(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        one, other = (DuckDbSink(n, tmp_path / n / "x.duckdb", {}, MASKER) for n in ("a", "b"))
        first, second = one.open(), other.open()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
        after = os.umask(0o022)
        modes = [(tmp_path / name).stat().st_mode & 0o777 for name in "ab"]
    finally:
        os.umask(before)
    assert (after, modes) == (0o022, [0o700, 0o700])


@pytest.mark.parametrize(
    "name", ["stage", "completed0", "s", "t", "temp", "main", "duckdb_tables", "information_schema"]
)
def test_table_may_have_any_name_that_is_not_the_sinks_own(sink: DuckDbSink, name: str) -> None:
    words = ("i", "s", "t", "c0", "k0", "lsn", "seq", "rowid", "stage")
    relation = table(name, *((word, "text") for word in words))
    rows: list[Row] = [tuple(f"{key}{word}" for word in words) for key in "abc"]
    put(sink, relation, *rows)
    changed = (*rows[0][:8], "new")
    with sink.open() as session:
        touched = Partial((*rows[0][:7], UNCHANGED, "new"), ("ai",), (2, 0))
        session.apply(relation, Upserts(partials=[touched], removals=[("bi",)]))
        session.commit_rows()
    assert rows_of(sink, f'SELECT * EXCLUDE (_spine_lsn, _spine_seq) FROM main."{name}"') == [
        changed,
        rows[2],
    ]


def test_strangers_table_in_the_file_is_not_taken_for_staged_rows(sink: DuckDbSink) -> None:
    put(sink, PEOPLE, ("1", "DE", "a"))
    connection = duckdb.connect(str(sink.path))
    connection.execute('CREATE TABLE stage AS SELECT 9 AS i; CREATE SCHEMA eu."temp"')
    connection.execute('CREATE TABLE eu."temp".stage AS SELECT 9 AS i')
    connection.close()
    put(sink, PEOPLE, ("2", "DE", "b"))
    assert rows_of(sink, "SELECT note FROM people ORDER BY id") == [("a",), ("b",)]


def test_table_that_differs_in_case_alone_from_before_goes_on(sink: DuckDbSink) -> None:
    put(sink, table("People", ("Id", "int4"), ("Note", "text")), ("1", "a"))
    put(sink, table("people", ("id", "int4"), ("note", "text")), ("2", "b"))
    with sink.open() as session:
        session.empty("PEOPLE")
        session.commit_rows()
    assert rows_of(sink, "SELECT * FROM people") == []


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [("text", "date", "no date"), ("text", "bytea", "\\x00"), ("bytea", "text", "\\x00")],
)
def test_changed_type_that_old_rows_cannot_take_ends_the_route(
    sink: DuckDbSink, before: str, after: str, value: str
) -> None:
    put(sink, table("people", ("id", "int4"), ("born", before)), ("1", value))
    with pytest.raises(InputError) as caught:
        put(sink, table("people", ("id", "int4"), ("born", after)))
    assert caught.value.document() == {
        "code": "cdc.sink_type_changed",
        "problem": "the rows at the sink cannot take the new type of people.born",
        "where": str(sink.path),
        "remedy": "Destroy the route, remove the sink's table, then apply and run the route again.",
        "retry": False,
    }


def test_failed_sink_names_table_and_column(sink: DuckDbSink) -> None:
    put(sink, table("other", ("id", "int4")))
    connection = duckdb.connect(str(sink.path))
    connection.execute("CREATE VIEW people AS SELECT 1 AS id")
    connection.close()
    with pytest.raises(UnavailableError) as caught:
        put(sink, PEOPLE, ("1", "DE", "a"))
    assert caught.value.document() == {
        "code": "cdc.sink_failed",
        "problem": "the sink failed at people.country: CatalogException",
        "where": str(sink.path),
        "remedy": "Nothing was written; check the file and the disk, then run the route again.",
        "retry": True,
    }


# -- what the sink's types cannot hold ------------------------------------------------------------

BORN = Relation(
    1,
    "public",
    "people",
    (
        Column("id", "int4", True),
        Column("country", "text", False),
        Column("born", "date", False),
        Column("fee", "numeric(10,2)", False),
        Column("seen", "timestamp", False),
        Column("note", "text", False),
    ),
    "default",
)
GOOD: Row = ("1", "DE", "1990-01-01", "1.50", "2026-11-24 09:00:00", "a")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "w")


def flush(world: World, lsn: int, *changes: tuple[Op, Row]) -> None:
    made = [Change(op, BORN, row, None, n) for n, (op, row) in enumerate(changes)]
    opened = Flush(world.target, "shop", world.target.sinks[:1])
    opened.add([Batch(lsn, made, Commit(lsn, lsn + 8, NOW.timestamp()))])
    opened.commit(lsn + 8)


def letters(world: World) -> list[tuple[tuple[str, ...], str]]:
    return [(letter.codes, letter.detail) for letter in world.dead.letters(sink="eu")]


@pytest.mark.parametrize(
    ("column", "value"),
    [("born", "0044-03-15 BC"), ("fee", "NaN"), ("seen", "0044-03-15 12:00:00 BC")],
)
@pytest.mark.parametrize("note", ["b", UNCHANGED], ids=["whole", "partial"])
def test_value_that_the_sink_cannot_hold_parks_and_names_its_column(
    world: World, column: str, value: str, note: str
) -> None:
    flush(world, 100, (Op.INSERT, GOOD))
    names = [each.name for each in BORN.columns]
    bad = [*GOOD[:5], note]
    bad[names.index(column)] = value
    flush(world, 110, (Op.UPDATE, tuple(bad)))
    assert rows_of(world.target.sinks[0], "SELECT id FROM people") == []
    assert letters(world) == [
        (("cdc.sink_rejected",), f"the sink's type cannot hold the value of {column}")
    ]
    world.close()


def test_all_columns_that_do_not_fit_are_named(world: World) -> None:
    flush(world, 100, (Op.INSERT, ("1", "DE", "0044-03-15 BC", "NaN", None, None)))
    assert letters(world) == [
        (("cdc.sink_rejected",), "the sink's type cannot hold the value of born, fee")
    ]
    world.close()


def test_parked_value_of_an_older_type_parks_again_when_it_completes_a_row(world: World) -> None:
    """A dead letter may be from before its column became what it is now."""
    old = Relation(
        1, "public", "people", (*BORN.columns[:5], Column("note", "text", False)), "default"
    )
    new = Relation(
        1, "public", "people", (*BORN.columns[:5], Column("note", "int4", False)), "default"
    )
    for lsn, relation, row in (
        (100, old, ("1", "BR", *GOOD[2:5], "words")),
        (110, new, ("1", "DE", *GOOD[2:5], UNCHANGED)),
    ):
        opened = Flush(world.target, "shop", world.target.sinks[:1])
        change = Change(Op.UPDATE, relation, row, None, 0)
        opened.add([Batch(lsn, [change], Commit(lsn, lsn + 8, NOW.timestamp()))])
        opened.commit(lsn + 8)
    assert letters(world) == [
        (("cdc.sink_rejected",), "the sink's type cannot hold the value of note")
    ]
    world.close()


# -- names that a sink cannot have ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("relation", "code", "problem", "remedy"),
    [
        (
            table("_Spine", ("id", "int4")),
            "cdc.name_reserved",
            "the name '_Spine' in the table public._Spine is reserved",
            "Rename it at the source: a sink's own names begin with _spine.",
        ),
        (
            table("people", ("id", "int4"), ("_spine_lsn", "int8")),
            "cdc.name_reserved",
            "the name '_spine_lsn' in the table public.people is reserved",
            "Rename it at the source: a sink's own names begin with _spine.",
        ),
        (
            table("people", ("id", "int4"), ("V", "text"), ("v", "text")),
            "cdc.names_equal",
            "the columns 'V' and 'v' of the table public.people differ in case alone",
            "Rename one at the source: names in a sink are equal whatever their case.",
        ),
    ],
    ids=["table", "column", "case"],
)
def test_name_that_a_sink_cannot_have_is_refused(
    sink: DuckDbSink, relation: Relation, code: str, problem: str, remedy: str
) -> None:
    with pytest.raises(InputError) as caught:
        put(sink, relation)
    expected = {"code": code, "problem": problem, "where": "eu", "remedy": remedy, "retry": False}
    assert caught.value.document() == expected


def test_names_that_duckdb_tells_apart_are_taken(sink: DuckDbSink) -> None:
    """DuckDB ignores the case of ASCII letters alone."""
    put(sink, table("people", ("id", "int4"), ("Ä", "text"), ("ä", "text")), ("1", "a", "b"))
    assert rows_of(sink, 'SELECT "Ä", "ä" FROM people') == [("a", "b")]
