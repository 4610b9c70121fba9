"""A parked row's payload is nowhere once the row is given up, replayed, superseded or deleted."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cdc.world import GONE, HASHER, PEOPLE, Log, MemorySource, World

from dataspine.cdc.dead_letter import DeadLetterStore
from dataspine.cdc.gate import Action, Gate, Verdict
from dataspine.cdc.key_hash import unkeyed_hash
from dataspine.cdc.replay import replay
from dataspine.core.errors import InputError, UnavailableError

CANARY = "canary-7c1f"
LONG = CANARY * 900  # over several pages


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "w")
    made.asker.allowed = {"eu": ["DE", "FR"], "us": []}
    yield made
    made.close()


def where(folder: Path) -> set[str]:
    """The files below a folder that have the canary: stores, logs, indexes, staging, all."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.name.partition(".")[0] for path in files if CANARY.encode() in path.read_bytes()}


def stream(world: World, log: Log) -> None:
    world.run(MemorySource([], log.batches, threading.Event()))
    world.dead.truncate_log(wait=True)  # a second may not have passed


def parked(world: World, note: str = LONG) -> Log:
    """A log with a row that both sinks park."""
    log = Log()
    log.transaction(("put", "1", "BR", note), ("put", "2", "BR", "other"))
    stream(world, log)
    assert where(world.folder) == {"eu-west-1"}
    return log


CHANGES: dict[str, tuple[Any, ...]] = {
    "deleted": ("delete", "1"),
    "truncated": ("truncate",),
    "parked again": ("put", "1", "BR", "short"),
    "moved": ("rename", "1", "9", "BR"),
}


@pytest.mark.parametrize("note", [CANARY, LONG], ids=["short", "long"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_payload_of_an_older_version_is_gone(
    world: World, change: tuple[Any, ...], note: str
) -> None:
    log = parked(world, note)
    log.transaction(change)
    stream(world, log)
    # A key that moves takes its unchanged value along, to a version that is parked itself.
    assert where(world.folder) == ({"eu-west-1"} if change[0] == "rename" else set())
    log.transaction(("truncate",))
    stream(world, log)
    assert where(world.folder) == set()


def test_payload_of_a_version_of_the_same_flush_is_never_written(world: World) -> None:
    log = Log()
    log.transaction(("put", "1", "BR", LONG), ("put", "1", "BR", "short"), ("put", "2", "DE", "x"))
    stream(world, log)
    assert where(world.folder) == set()
    assert world.dead.counts() == {"parked": 3, "superseded": 1 + 1}


def test_payload_is_gone_when_a_newer_version_is_applied(world: World) -> None:
    log = parked(world)
    log.transaction(("put", "1", "DE", "new"))
    stream(world, log)
    assert world.rows("eu") == {"1": ("DE", "new")}
    assert where(world.folder) == set()


def test_payload_is_gone_after_a_new_snapshot_even_at_lower_positions(world: World) -> None:
    parked(world)
    world.asker.allowed["eu"].append("BR")
    world.asker.number += 1
    row = ("1", "DE", "new")
    world.run(MemorySource([row], [], threading.Event(), point=50, lost=GONE))
    world.dead.truncate_log(wait=True)
    assert where(world.folder) == set()
    replay(world.target, {"people": PEOPLE})
    assert world.rows("eu") == {"1": ("DE", "new")}


def test_payload_is_gone_after_discard_and_replay(world: World) -> None:
    parked(world)
    for sink in ("eu", "us"):
        letter = next(x for x in world.dead.parked(sink, "people") if CANARY in x.payload)
        world.dead.discard(letter.id)
        assert world.dead.show(letter.id).payload == ""
        with pytest.raises(InputError, match="is not parked"):
            world.dead.discard(letter.id)
    assert where(world.folder) == set()
    world.asker.allowed["eu"].append("BR")
    world.asker.number += 1
    assert replay(world.target, {"people": PEOPLE}).outcomes == {"replayed": 1, "parked": 1}
    assert [x.payload for x in map(world.dead.show, (1, 2))] == ["", ""]
    assert world.dead.counts() == {"replayed": 1, "discarded": 2, "parked": 1}


def test_reader_in_the_way_makes_discard_say_that_it_is_not_done(world: World) -> None:
    parked(world)
    reader = sqlite3.connect(world.dead.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM dead_letter").fetchall()
    world.dead._connection.execute("PRAGMA busy_timeout = 0")
    with pytest.raises(UnavailableError) as caught:
        world.dead.discard(world.dead.parked("eu", "people")[0].id)
    assert caught.value.document() == {
        "code": "cdc.erasure_unfinished",
        "problem": "what was erased still stands in the write-ahead log",
        "where": f"{world.dead.path}-wal",
        "remedy": "Another process reads the dead letters; do the same again.",
        "retry": True,
    }
    reader.execute("COMMIT")
    reader.close()


class DroppingGate(Gate):
    """Drops whoever lives in XX, as an obligation `drop_row` does."""

    def judge(self, columns: Any, count: int) -> list[Verdict]:
        verdicts = super().judge(columns, count)
        return [
            Verdict(Action.DROP, v.decision_id, ()) if country == "XX" else v
            for v, country in zip(verdicts, columns[0], strict=True)
        ]


@pytest.fixture
def dropping(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("dataspine.cdc.flush.Gate", DroppingGate)
    world.asker.allowed["eu"].append("XX")
    return world


def test_dropped_row_is_not_brought_back_by_replay(dropping: World) -> None:
    world, log = dropping, parked(dropping)
    log.transaction(("put", "1", "XX", "new"), ("put", "3", "XX", "new"))
    stream(world, log)
    assert where(world.folder) == set()
    world.asker.allowed["eu"].append("BR")
    world.asker.number += 1
    replay(world.target, {"people": PEOPLE})
    assert world.rows("eu") == {"2": ("BR", "other")}
    assert world.dead.version("eu", "people", ("3",)).position == (210, 1)


@pytest.mark.parametrize("third", ["discarded", "dropped"])
def test_unchanged_value_comes_from_the_newest_version_alone(dropping: World, third: str) -> None:
    world = dropping
    log = parked(world, f"{CANARY} A")
    log.transaction(("put", "1", "DE", "B"))
    stream(world, log)
    log.transaction(("touch", "1", "BR" if third == "discarded" else "XX"))
    stream(world, log)
    for letter in world.dead.parked("eu", "people"):
        if third == "discarded" and letter.lsn == 220:
            world.dead.discard(letter.id)
    log.transaction(("touch", "1", "DE"))
    stream(world, log)
    assert world.rows("eu") == {}
    newest = world.dead.parked("eu", "people")[-1]
    assert (newest.codes, newest.lsn) == (("cdc.incomplete_row",), 230)


def test_unchanged_value_of_a_rebuilt_source_comes_from_the_sink(world: World) -> None:
    """Tombstones and letters of an earlier life, at higher positions, say nothing about it."""
    log = parked(world)
    log.transaction(("delete", "1"), ("delete", "2"))
    stream(world, log)
    row = ("1", "DE", "kept")
    world.run(MemorySource([row], [], threading.Event(), point=50, lost=GONE))
    again = Log(60)
    again.rows["1"] = row
    again.transaction(("touch", "1", "FR"))
    world.run(MemorySource([], again.batches, threading.Event()))
    assert world.rows("eu") == {"1": ("FR", "kept")}


def test_source_at_the_same_positions_again_parks_again(world: World) -> None:
    for note in ("first", "second"):
        source = MemorySource([("1", "BR", note)], [], threading.Event(), lost=GONE)
        world.run(source)
        world.check({"1": ("1", "BR", note)})
    assert [x.payload for x in world.dead.parked("eu", "people")] == [
        '{"id": "1", "country": "BR", "note": "second"}'
    ]


# -- files from before ---------------------------------------------------------------------------

OLD = """
CREATE TABLE dead_letter (
  id INTEGER PRIMARY KEY, route TEXT NOT NULL, source TEXT NOT NULL, sink TEXT NOT NULL,
  tbl TEXT NOT NULL, key_hash TEXT NOT NULL, lsn INTEGER NOT NULL, seq INTEGER NOT NULL, home TEXT,
  codes TEXT NOT NULL, decision_id TEXT NOT NULL, payload TEXT NOT NULL, flush TEXT NOT NULL,
  state TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 0,
  UNIQUE (route, sink, tbl, lsn, seq));
CREATE INDEX dead_letter_key ON dead_letter (route, sink, tbl, key_hash, lsn, seq);
CREATE TABLE tombstone (
  route TEXT NOT NULL, sink TEXT NOT NULL, tbl TEXT NOT NULL, key_hash TEXT NOT NULL,
  lsn INTEGER NOT NULL, seq INTEGER NOT NULL, flush TEXT NOT NULL, state TEXT NOT NULL,
  PRIMARY KEY (route, sink, tbl, key_hash, lsn, seq)) WITHOUT ROWID;
"""


def old_file(path: Path, rows: list[tuple[str, int, str, str]]) -> None:
    """A store of an earlier version, in which key 3 was deleted and bytes stand in free pages."""
    path.parent.mkdir(parents=True)
    connection = sqlite3.connect(path)
    connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA secure_delete=OFF; {OLD}")
    for key, lsn, state, note in [*rows, ("9", 9, "parked", LONG)]:
        connection.execute(
            "INSERT INTO dead_letter (route, source, sink, tbl, key_hash, lsn, seq, home, codes,"
            " decision_id, payload, flush, state)"
            " VALUES ('r', 'shop', 'eu', 'people', ?, ?, 0, 'BR', '[]', 'd', ?, 'f', ?)",
            (
                unkeyed_hash((key,)),
                lsn,
                f'{{"id": "{key}", "country": "BR", "note": "{note}"}}',
                state,
            ),
        )
    connection.execute("DELETE FROM dead_letter WHERE lsn = 9")
    connection.execute(
        "INSERT INTO tombstone VALUES ('r', 'eu', 'people', ?, 50, 0, 'f', 'applied')",
        (unkeyed_hash(("3",)),),
    )
    connection.commit()
    connection.close()


def test_older_file_loses_what_was_given_up_at_its_first_opening(tmp_path: Path) -> None:
    path = tmp_path / "letters" / "eu-west-1.db"
    rows = [("1", 1, "discarded"), ("2", 2, "replayed"), ("3", 3, "parked"), ("4", 4, "parked")]
    old_file(path, [(*row, CANARY) for row in rows] + [("4", 5, "parked", "newer")])
    assert where(tmp_path) == {"eu-west-1"}
    store = DeadLetterStore(path, "r", HASHER)
    assert where(tmp_path) == set()
    assert store.counts() == {"discarded": 1, "replayed": 1, "superseded": 2, "parked": 1}
    (left,) = store.parked("eu", "people")
    assert left.payload == '{"id": "4", "country": "BR", "note": "newer"}'
    assert [x.state for x in map(store.show, range(1, 6))] == [
        *("discarded", "replayed", "superseded", "superseded", "parked")
    ]
    store.close()


def test_rows_under_an_old_hash_are_still_found(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path / "w"
    old_file(folder / "dead-letter" / "eu-west-1.db", [("1", 1, "parked", CANARY)])
    world = World(folder)
    assert world.dead.version("eu", "people", ("1",)).position == (1, 0)
    assert world.dead.version("eu", "people", ("3",)).position == (50, 0)
    assert world.dead.version("us", "people", ("1",)).position == (-1, -1)
    log = Log()
    log.rows["1"] = ("1", "BR", CANARY)
    log.transaction(("put", "1", "DE", "new"))
    world.dead.begin()
    world.dead.supersede("eu", "people", [(("1",), (200, 0))], "f2")
    world.dead.commit()
    world.dead.settle("f2")
    world.dead.truncate_log(wait=True)
    assert where(folder) == set()
    world.close()


def test_key_hash_is_keyed_and_of_one_table() -> None:
    hashes = {
        HASHER("eu", "people", ("1",)),
        HASHER("us", "people", ("1",)),
        HASHER("eu", "orders", ("1",)),
        HASHER("eu", "people", ("1", "")),
        HASHER("eu", "people", ("", "1")),
        unkeyed_hash(("1",)),
    }
    assert len(hashes) == 6
