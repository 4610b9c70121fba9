"""Purging old dead letters: what goes, what stays, and what is left on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cdc.test_erasure import CANARY, old_file, stream, where
from tests.cdc.world import HASHER, NOW, PEOPLE, Log, World

from dataspine.cdc.dead_letter import DeadLetterStore, Purged
from dataspine.cdc.replay import replay

AFTER, BEFORE = int(NOW.timestamp()) + 1, int(NOW.timestamp())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Of sink eu: 1 was deleted, 2 superseded and parked, 3 discarded, 4 replayed; us parks all."""
    made, log = World(tmp_path / "w"), Log()
    made.asker.allowed = {"eu": ["DE"], "us": []}
    log.transaction(*(("put", key, "BR", f"{CANARY} {key}") for key in "1234"))
    log.transaction(("delete", "1"), ("put", "2", "IN", f"{CANARY} new"))
    stream(made, log)
    made.dead.discard(next(x.id for x in made.dead.parked("eu", "people") if '"3"' in x.payload))
    made.asker.allowed = {"eu": ["DE", "BR"], "us": []}
    made.asker.number += 1
    replay(made.target, {"people": PEOPLE})
    yield made
    made.close()


SETTLED = {"discarded": 1, "replayed": 1, "superseded": 4}


def test_settled_rows_and_tombstones_go_and_parked_rows_stay(world: World) -> None:
    counts = world.dead.counts()
    assert counts == {**SETTLED, "parked": 4}
    # Two keys' stones and the table's own stone of the snapshot, at each sink.
    expected = Purged(SETTLED, 4)
    assert world.dead.purge(BEFORE) == Purged({}, 0)
    assert world.dead.purge(AFTER, dry_run=True) == expected
    assert world.dead.counts() == counts
    assert world.dead.purge(AFTER) == expected
    assert world.dead.counts() == {"parked": 4}
    assert {x.payload[8:9] for x in world.dead.parked("us", "people")} == {"2", "3", "4"}
    assert world.dead.purge(AFTER) == Purged({}, 0)
    world.asker.allowed["eu"].append("IN")
    world.asker.number += 1
    replay(world.target, {"people": PEOPLE})
    assert world.rows("eu") == {"2": ("IN", f"{CANARY} new"), "4": ("BR", f"{CANARY} 4")}


def test_parked_rows_go_on_request_alone_and_their_bytes_with_them(world: World) -> None:
    assert world.dead.purge(AFTER, parked=True) == Purged({**SETTLED, "parked": 4}, 4)
    assert world.dead.counts() == {}
    assert where(world.folder / "dead-letter") == set()


def test_number_of_a_purged_row_is_never_given_again(world: World) -> None:
    newest = world.dead.newest_id()
    world.dead.purge(AFTER, parked=True)
    log = Log(300)
    log.transaction(("put", "7", "US", "later"))
    stream(world, log)
    assert min(x.id for x in world.dead.letters()) > newest


def test_tombstone_that_keeps_an_older_row_away_stays(tmp_path: Path) -> None:
    """Rows under the old hash meet a stone under the new one: nobody can tell their keys apart."""
    path = tmp_path / "letters" / "eu-west-1.db"
    old_file(path, [("1", 1, "parked", "a")])
    store = DeadLetterStore(path, "r", HASHER)
    stone = HASHER("eu", "people", ("1",))
    store._run("INSERT INTO tombstone VALUES ('r', 'eu', 'people', ?, 2, 70, 0, 'f', 0)", (stone,))
    assert store.purge(2**40) == Purged({}, 1)  # key 3's, which was deleted before
    assert store.version("eu", "people", ("1",)).position == (70, 0)
    assert store.purge(2**40, parked=True) == Purged({"parked": 1}, 1)
    assert store.version("eu", "people", ("1",)).position == (-1, -1)
    store.close()
