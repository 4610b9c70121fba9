"""Whatever type a key has: insert, update, delete and key change leave source and sink equal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.cdc.world import NOW, World

from dataspine.cdc.event import UNCHANGED, Batch, Change, Column, Commit, Op, Relation, Row
from dataspine.cdc.flush import Flush
from dataspine.cdc.postgres import PostgresSource
from dataspine.cdc.replay import replay
from dataspine.cdc.runner import Runner, Status

# Four keys of each type as PostgreSQL writes them, and those among them that DuckDB cannot hold.
KEYS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "int8": (("1", "-1", "9223372036854775807", "0"), set()),
    "bytea": (("\\x", "\\x0a0b", "\\x00ff", "\\x0a"), set()),
    "text": (("", "\\x0a0b", "é\x1f'", "x"), set()),
    "numeric(10,2)": (("1.00", "-0.01", "99999999.99", "NaN"), {"NaN"}),
    "numeric": (("NaN", "1.00", "1.0", "1e5"), set()),
    "float8": (("NaN", "0", "5e-324", "-Infinity"), set()),
    "date": (("2026-11-24", "infinity", "0044-03-15", "0044-03-15 BC"), {"0044-03-15 BC"}),
    "timestamp": (
        ("0044-03-15 12:00:00", "0044-03-15 12:00:00 BC", "infinity", "294277-01-01 00:00:00"),
        {"0044-03-15 12:00:00 BC", "294277-01-01 00:00:00"},
    ),
    "timestamptz": (
        ("0044-03-15 12:00:00+00", "0044-03-15 12:00:00+00 BC", "infinity", "2026-11-24 09:00+00"),
        {"0044-03-15 12:00:00+00 BC"},
    ),
    "time": (("00:00:00", "24:00:00", "09:00:00.000001", "12:00:00"), set()),
    "uuid": (tuple(f"0000000{n}-0000-0000-0000-000000000000" for n in range(4)), set()),
    "bool": (("t", "f"), set()),
}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "touch", "delete", "rename", "flush"]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from(["DE", "DE", "BR"]),
    ),
    max_size=14,
)


@dataclass
class Play:
    """Plays steps on a source of one table, whose key has one type."""

    relation: Relation
    keys: tuple[str, ...]
    rows: dict[str, Row] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    lsn: int = 100
    number: int = 0

    def step(self, op: str, one: int, other: int, country: str) -> None:
        key, new = self.keys[one % len(self.keys)], self.keys[other % len(self.keys)]
        if op == "put":
            self.number += 1
            row: Row = (key, country, str(self.number))
            self._change(Op.UPDATE if key in self.rows else Op.INSERT, row, None)
            self.rows[key] = row
        elif key not in self.rows:
            return
        elif op == "delete":
            self._change(Op.DELETE, None, (key, None, None))
            del self.rows[key]
        elif op == "touch":
            row = (key, self.rows[key][1], UNCHANGED)
            self._change(Op.UPDATE, row, None)
        elif op == "rename" and new not in self.rows:
            row = (new, country, self.rows.pop(key)[2])
            self._change(Op.UPDATE, row, (key, None, None))
            self.rows[new] = row

    def flush(self, world: World) -> None:
        commit = Commit(self.lsn, self.lsn + 8, NOW.timestamp())
        flush = Flush(world.target, "shop", world.target.sinks)
        flush.add([Batch(self.lsn, self.changes, commit)])
        flush.commit(self.lsn + 8)
        self.lsn, self.changes = self.lsn + 10, []

    def notes_of(self, *, homes: set[str], beyond: set[str]) -> list[str]:
        """What the sink has of rows with these homes, but for keys that it cannot hold."""
        rows = self.rows.items()
        return sorted(str(row[2]) for key, row in rows if row[1] in homes and key not in beyond)

    def _change(self, op: Op, row: Row | None, old: Row | None) -> None:
        self.changes.append(Change(op, self.relation, row, old, len(self.changes)))


def table(kind: str) -> Relation:
    country, note = Column("country", "text", False), Column("note", "text", False)
    return Relation(1, "public", "people", (Column("id", kind, True), country, note), "default")


def notes(world: World) -> list[str]:
    connection = duckdb.connect(str(world.folder / "eu.duckdb"), read_only=True)
    try:
        found = connection.execute("SELECT note FROM people ORDER BY note").fetchall()
    except duckdb.CatalogException:  # nothing ever came
        found = []
    finally:
        connection.close()
    return [str(note) for (note,) in found]


@pytest.mark.integration  # each flush is made durable
@pytest.mark.parametrize("kind", KEYS)
@settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])
@given(steps=STEPS)
def test_changes_by_a_key_of_any_type_leave_source_and_sink_equal(
    tmp_path_factory: pytest.TempPathFactory, kind: str, steps: list[tuple[str, int, int, str]]
) -> None:
    keys, beyond = KEYS[kind]
    world, play = World(tmp_path_factory.mktemp("keys")), Play(table(kind), keys)
    world.target.sinks = world.target.sinks[:1]
    for step in steps:
        if step[0] == "flush":
            play.flush(world)
        else:
            play.step(*step)
    play.flush(world)
    assert notes(world) == play.notes_of(homes={"DE"}, beyond=beyond)
    world.asker.allowed["eu"].append("BR")
    world.asker.number = 2
    replay(world.target, {"people": play.relation})
    assert notes(world) == play.notes_of(homes={"DE", "BR"}, beyond=beyond)
    world.close()


@pytest.mark.parametrize("kind", KEYS)
def test_row_leaves_the_sink_by_a_key_of_any_type(tmp_path: Path, kind: str) -> None:
    keys, beyond = KEYS[kind]
    world, play = World(tmp_path / "w"), Play(table(kind), keys)
    for index in range(len(keys)):
        play.step("put", index, 0, "DE")
    play.flush(world)
    assert len(notes(world)) == len(set(keys) - beyond)
    # One is deleted, one leaves the allowed homes, and one gets the first one's key.
    play.step("delete", 0, 0, "DE")
    play.step("put", 1, 0, "BR")
    play.step("rename", 2, 0, "DE")
    play.flush(world)
    assert notes(world) == play.notes_of(homes={"DE"}, beyond=beyond)
    world.close()


@pytest.mark.integration
def test_real_rows_with_a_binary_key_follow_the_source(
    tmp_path: Path,
    run: Callable[..., list[tuple[object, ...]]],
    source: Callable[..., PostgresSource],
) -> None:
    run("CREATE TABLE people (id bytea PRIMARY KEY, country text, note text)")
    run(r"INSERT INTO people SELECT int4send(n), 'DE', n::text FROM generate_series(1, 5) n")
    world, stop = World(tmp_path / "w"), threading.Event()
    world.target.sinks = world.target.sinks[:1]

    changed: list[bool] = []

    def end(status: Status) -> None:
        if status.state != "streaming":
            return
        if not changed:
            changed.append(True)
            run("DELETE FROM people WHERE id = int4send(1)")
            run("UPDATE people SET country = 'BR' WHERE id = int4send(2)")
            run(r"UPDATE people SET id = '\x00', note = 'moved' WHERE id = int4send(3)")
            run("UPDATE people SET note = 'changed' WHERE id = int4send(4)")
        elif status.outcomes["eu"]["applied"] == 7:
            stop.set()

    Runner(world.target, {"shop": source("public.people")}, on_status=end).run(stop)
    found = run("SELECT note FROM people WHERE country = 'DE' ORDER BY note")
    assert notes(world) == [note for (note,) in found] == ["5", "changed", "moved"]
    world.close()
