"""A key that gets another name at the source while the route is down."""

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from tests.cdc.world import World, stream

from dataspine.cdc.postgres import PostgresSource

pytestmark = pytest.mark.integration

Run = Callable[..., list[tuple[object, ...]]]
Make = Callable[..., PostgresSource]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "w")
    yield made
    made.close()


def test_key_of_full_identity_that_was_renamed_starts_over(
    world: World, run: Run, source: Make
) -> None:
    run("CREATE TABLE people (id int PRIMARY KEY, country text, note text)")
    run("ALTER TABLE people REPLICA IDENTITY FULL")
    run("INSERT INTO people VALUES (1, 'DE', 'a'), (2, 'BR', 'b')")
    stream(world, source("people"), lambda status: status.state == "streaming")
    run("UPDATE people SET note = 'c' WHERE id = 1")
    run("ALTER TABLE people RENAME COLUMN id TO number")
    run("INSERT INTO people VALUES (3, 'DE', 'd')")
    status = stream(
        world,
        source("people"),
        lambda status: status.state == "streaming" and bool(status.started_over),
    )
    assert status.started_over == {
        "shop": "cdc.key_changed: the key of people is not the one that the stream describes"
    }
    with duckdb.connect(str(world.folder / "eu.duckdb"), read_only=True) as sink:
        rows = sink.execute("SELECT number, country, note FROM people ORDER BY 1").fetchall()
    assert rows == [(1, "DE", "c"), (3, "DE", "d")]
