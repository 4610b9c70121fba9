"""What the stream needs is gone at a real server: the route starts over by itself."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from tests.cdc.world import World, stream

from dataspine.cdc.cluster import DemoCluster
from dataspine.cdc.postgres import PostgresSource
from dataspine.cdc.runner import Status
from dataspine.core.errors import ConflictError

pytestmark = pytest.mark.integration

Run = Callable[..., list[tuple[object, ...]]]
Make = Callable[..., PostgresSource]
TABLE = "CREATE TABLE people (id int PRIMARY KEY, country text, note text)"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "w")
    yield made
    made.close()


def streaming(status: Status) -> bool:
    return status.state == "streaming"


def over(status: Status) -> bool:
    return status.state == "streaming" and bool(status.started_over)


def drop_slot(run: Run) -> None:
    run("SELECT pg_drop_replication_slot('spine_test')::text")


def drop_publication(run: Run) -> None:
    run("DROP PUBLICATION spine_test")


def shrink_publication(run: Run) -> None:
    run("ALTER PUBLICATION spine_test SET (publish = 'insert')")


@pytest.mark.parametrize(
    ("lose", "code"),
    [
        (drop_slot, "cdc.slot_missing"),
        (drop_publication, "cdc.slot_missing"),
        (shrink_publication, "cdc.publication_changed"),
    ],
)
def test_what_somebody_took_away_is_made_again_with_a_new_snapshot(
    world: World,
    run: Run,
    source: Make,
    lose: Callable[[Run], None],
    code: str,
) -> None:
    run(TABLE)
    run("INSERT INTO people VALUES (1, 'DE', 'a'), (2, 'BR', 'b'), (3, 'DE', 'c')")
    stream(world, source("people"), streaming)
    lose(run)
    run("DELETE FROM people WHERE id IN (1, 2)")
    run("INSERT INTO people VALUES (4, 'BR', 'd')")
    status = stream(world, source("people"), over)
    assert status.started_over["shop"].startswith(code)
    world.check({"3": ("3", "DE", "c"), "4": ("4", "BR", "d")})
    assert world.dead.parked_by_sink()["eu"][0] == 1
    assert world.outcomes()["eu"]["applied"] == 3
    assert world.outcomes()["eu"]["parked"] == 2


def test_older_file_of_a_sink_is_filled_anew(world: World, run: Run, source: Make) -> None:
    """The server has no more what came between a backup of the file and what was confirmed."""
    run(TABLE)
    run("INSERT INTO people VALUES (1, 'DE', 'a'), (2, 'DE', 'b')")
    stream(world, source("people"), streaming)
    backup = (world.folder / "eu.duckdb").read_bytes()
    run("DELETE FROM people WHERE id = 1")
    stream(world, source("people"), lambda s: s.outcomes["eu"]["deleted"] == 1)
    (world.folder / "eu.duckdb").write_bytes(backup)
    status = stream(world, source("people"), streaming)
    assert status.started_over == {
        "shop": "cdc.sink_older: the sink eu lacks changes that it had: its file is an older one"
    }
    world.check({"2": ("2", "DE", "b")})
    assert stream(world, source("people"), streaming).started_over == {}


def test_publication_that_vanishes_in_mid_stream_is_noticed(
    world: World, run: Run, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some servers then send nothing and say nothing, so the route has to look by itself."""
    monkeypatch.setattr("dataspine.cdc.runner.PROBE_SECONDS", 0.05)
    run(TABLE)
    run("INSERT INTO people VALUES (1, 'DE', 'a')")
    lost: list[str] = []

    def until(status: Status) -> bool:
        if status.state == "streaming" and not lost:
            lost.append("now")
            drop_publication(run)
            run("INSERT INTO people VALUES (2, 'DE', 'unseen')")
        return over(status)

    stream(world, source("people"), until)
    world.check({"1": ("1", "DE", "a"), "2": ("2", "DE", "unseen")})


def test_slot_that_the_server_gave_up_is_replaced(world: World) -> None:
    settings = {"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}
    with DemoCluster(settings=settings) as own:
        connection = psycopg2.connect(own.dsn())
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(TABLE)
            cursor.execute("INSERT INTO people VALUES (1, 'DE', 'a')")
            stream(world, PostgresSource(own.dsn(), ["people"], "s", "s"), streaming)
            cursor.execute("INSERT INTO people VALUES (2, 'DE', 'b')")
            for _ in range(4):
                cursor.execute("SELECT pg_switch_wal()::text")
                cursor.execute("CREATE TABLE filler AS SELECT generate_series(1, 1000)")
                cursor.execute("DROP TABLE filler")
            cursor.execute("CHECKPOINT")
            cursor.execute("SELECT wal_status FROM pg_replication_slots")
            assert cursor.fetchall() == [("lost",)]
            status = stream(world, PostgresSource(own.dsn(), ["people"], "s", "s"), over)
        connection.close()
    assert status.started_over == {"shop": "cdc.slot_lost: the server gave the slot up"}
    world.check({"1": ("1", "DE", "a"), "2": ("2", "DE", "b")})


def test_foreign_slot_of_the_same_name_is_not_touched(
    world: World, run: Run, source: Make, cluster: DemoCluster
) -> None:
    run(TABLE)
    run("INSERT INTO people VALUES (1, 'DE', 'a')")
    stream(world, source("people"), streaming)
    drop_slot(run)
    connection = psycopg2.connect(cluster.dsn())  # another database of the same server
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_create_logical_replication_slot('spine_test', 'pgoutput')::text")
        try:
            foreign = "SELECT database::text, restart_lsn::text FROM pg_replication_slots"
            before = run(foreign)
            with pytest.raises(ConflictError) as caught:
                stream(world, source("people"), over)
            assert caught.value.code == "cdc.slot_foreign"
            assert run(foreign) == before
        finally:
            cursor.execute("SELECT pg_drop_replication_slot('spine_test')::text")
    connection.close()
    assert world.rows("eu") == {"1": ("DE", "a")}
