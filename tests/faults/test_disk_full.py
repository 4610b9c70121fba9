"""The disk is full for each of the three files in turn: refused, nothing lost, then it goes on."""

import contextlib
import resource
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.cdc.world import Log, MemorySource, World

from dataspine.cdc.flush import FlushRecord
from dataspine.cdc.runner import Runner, Status

pytestmark = pytest.mark.faults

ROWS = 4_000
LONG = "a note that takes its place " * 10


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "w")
    made.run(MemorySource([("0", "DE", "first")], [], threading.Event()))
    yield made
    made.close()


def run_until_space(
    world: World, free: Callable[[], None], countries: tuple[str, str] = ("DE", "BR")
) -> list[str]:
    """Run a big transaction into the full disk, free it when the route waits, and go on."""
    log = Log()
    log.rows["0"] = ("0", "DE", "first")
    log.transaction(
        *(
            ("put", str(n), countries[n % 2], f"{n:08} {LONG * 10}{n * 7919}")
            for n in range(1, ROWS)
        ),
        pieces=4,
    )
    source = MemorySource([], log.batches, threading.Event())
    source.done = lambda: False
    problems: list[str] = []

    def told(status: Status) -> None:
        if status.state == "waiting":
            problems.append(status.problem)
            free()
        elif problems and status.outcomes["eu"]["applied"] > 0:
            source.stop.set()

    Runner(world.target, {"shop": source}, on_status=told, flush_rows=1_000).run(source.stop)
    world.check(log.rows)
    parked = ROWS // 2 if "BR" in countries else 0
    assert world.outcomes()["eu"] == {
        "applied": ROWS - parked,
        "masked": 0,
        "parked": parked,
        "deleted": 0,
        "dropped": 0,
    }
    judged = [rows for name, (rows, _) in world.classes().items() if name.startswith("d-eu")]
    assert sum(judged) == ROWS
    assert world.dead.pending() == set()
    return problems


def limit(connection: sqlite3.Connection, pages: int | None) -> None:
    (now,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + now if pages is not None else 2**31}")


def test_full_disk_of_the_dead_letters(world: World) -> None:
    store = world.dead._connection
    limit(store, 4)
    problems = run_until_space(world, lambda: limit(store, None))
    full = "cdc.dead_letter_unavailable: the dead-letter store: database or disk is full"
    assert problems == [full]


def test_full_disk_of_the_database(world: World) -> None:
    most = {"pages": 1}
    write = world.target.recorder

    def bound(connection: sa.Connection) -> None:
        # SQLite takes a limit below the file's size for the size: nothing may be added.
        connection.exec_driver_sql(f"PRAGMA max_page_count = {most['pages']}").close()

    def recorder(connection: sa.Connection, record: FlushRecord) -> None:
        write(connection, record)
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS big AS SELECT zeroblob(90000) AS x")

    world.target.recorder = recorder
    sa.event.listen(world.database._store._engine, "begin", bound)
    problems = run_until_space(world, lambda: most.update(pages=2**31))
    assert problems == ["spine.database: database or disk is full"]


def test_full_disk_of_the_sink(world: World) -> None:
    path = world.folder / "eu.duckdb"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with _file_size(path.stat().st_size, soft, hard) as free:
        # Nothing is parked, so the sink's is the only file that has to grow by much.
        problems = run_until_space(world, free, ("FR", "FR"))
    assert problems == ["cdc.sink_failed: the sink's disk is full"]


@contextlib.contextmanager
def _file_size(most: int, soft: int, hard: int) -> Iterator[Callable[[], None]]:
    """No file may grow over ``most`` bytes until the yielded function is called."""

    def free() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield free
    finally:
        free()
