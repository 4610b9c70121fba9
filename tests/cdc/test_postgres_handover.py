"""From snapshot to stream, through restarts, to the end: nothing lost, nothing twice."""

import threading
import time
from collections.abc import Callable, Iterator

import psycopg2
import pytest

from dataspine.cdc.cluster import DemoCluster
from dataspine.cdc.event import Batch, Op
from dataspine.cdc.postgres import PostgresSource
from dataspine.core.errors import ConflictError, InputError, NotFoundError, UnavailableError

pytestmark = pytest.mark.integration

Run = Callable[..., list[tuple[object, ...]]]
Make = Callable[..., PostgresSource]


def ids(batches: list[Batch]) -> list[int]:
    found: list[int] = []
    for batch in batches:
        for change in batch.changes:
            assert change.op is Op.INSERT
            assert change.row is not None
            found.append(int(str(change.row[0])))
    return found


def until(stream: Iterator[Batch | None], last: int) -> list[Batch]:
    """Read up to and including the transaction that inserts ``last``."""
    deadline = time.monotonic() + 60
    batches: list[Batch] = []
    for batch in stream:
        assert time.monotonic() < deadline, "the stream is late"
        if batch is not None:
            batches.append(batch)
            if batch.commit is not None and last in ids([batch]):
                break
    return batches


def test_concurrent_transactions_are_in_the_snapshot_or_in_the_stream(
    source: Make, run: Run, dsn: str
) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY, note text)")
    run("INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(1, 20000) g")
    started, stop = threading.Event(), threading.Event()
    written = 20_000

    def write() -> None:
        nonlocal written
        connection = psycopg2.connect(dsn)
        with connection.cursor() as cursor:
            while not stop.is_set():
                cursor.execute("INSERT INTO t VALUES (%s, 'new')", (written + 1,))
                connection.commit()
                written += 1
                started.set()
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert started.wait(30)
        one = source("t")
        point = one.prepare()
        snapshot = list(one.snapshot())
    finally:
        stop.set()
        writer.join()
    run("INSERT INTO t VALUES (%s, 'last')", written + 1)
    streamed = until(one.stream(point, tick=0.01), written + 1)
    taken = ids(snapshot)
    assert all(batch.snapshot for batch in snapshot)
    assert [c.sequence for b in snapshot for c in b.changes] == list(range(len(taken)))
    assert [batch.commit is not None for batch in snapshot] == [False] * (len(snapshot) - 1) + [
        True
    ]
    assert len(snapshot) == -(-len(taken) // 5000)
    # In the order of their commits, the hand-over is one cut.
    assert sorted(taken) + ids(streamed) == list(range(1, written + 2))
    assert all(batch.commit is not None and batch.commit.lsn >= point for batch in streamed)


def test_a_stream_starts_after_a_position_and_never_repeats_what_was_confirmed(
    source: Make, run: Run
) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY)")
    one = source("t")
    point = one.prepare()
    list(one.snapshot())
    for number in (1, 2, 3):
        run("INSERT INTO t VALUES (%s)", number)
    first, second, third = until(one.stream(point, tick=0.01), 3)
    assert ids([first, second, third]) == [1, 2, 3]
    assert first.commit is not None
    assert second.commit is not None
    # Nothing is confirmed yet: the position alone decides.
    assert ids(until(one.stream(first.commit.end_lsn, tick=0.01), 3)) == [2, 3]
    stream = one.stream(point, tick=0.01)
    until(stream, 3)
    one.confirm(second.commit.end_lsn)
    assert ids(until(one.stream(point, tick=0.01), 3)) == [3]


@pytest.mark.parametrize("end", [DemoCluster.restart, lambda c: (c.kill(), c.start())])
def test_a_server_restart_is_unavailable_and_the_next_stream_goes_on(
    end: Callable[[DemoCluster], object],
) -> None:
    with DemoCluster() as own:
        one = PostgresSource(own.dsn(), ["t"], "spine_r", "spine_r")
        connection = psycopg2.connect(own.dsn())
        connection.autocommit = True
        connection.cursor().execute("CREATE TABLE t (id int PRIMARY KEY)")
        point = one.prepare()
        list(one.snapshot())
        connection.cursor().execute("INSERT INTO t VALUES (1)")
        stream = one.stream(point, tick=0.01)
        (batch,) = until(stream, 1)
        assert batch.commit is not None
        one.confirm(batch.commit.end_lsn)
        one.heartbeat()
        end(own)
        with pytest.raises(UnavailableError) as caught:
            for _ in stream:
                pass
        assert (caught.value.code, caught.value.retry) == ("cdc.source_unavailable", True)
        assert str(own.folder) not in f"{caught.value} {caught.value.document()}"
        again = psycopg2.connect(own.dsn())
        again.autocommit = True
        again.cursor().execute("INSERT INTO t VALUES (2)")
        one.heartbeat()  # the control connection comes back by itself
        assert ids(until(one.stream(batch.commit.end_lsn, tick=0.01), 2)) == [2]
        one.destroy()
        one.close()
        connection.close()
        again.close()


def test_destroy_ends_the_reader_and_leaves_nothing(source: Make, run: Run) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY)")
    one, other = source("t"), source("t")
    point = one.prepare()
    list(one.snapshot())
    stream = one.stream(point, tick=0.01)
    assert next(stream) is None
    other.destroy()
    assert (
        run("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()") == []
    )
    assert run("SELECT pubname FROM pg_publication") == []
    assert one.slot_state() is None
    with pytest.raises(UnavailableError):
        list(stream)
    other.destroy()
    with pytest.raises(NotFoundError) as caught:
        next(one.stream(point))
    assert caught.value.code == "cdc.slot_missing"


def test_an_unfinished_snapshot_starts_over_after_destroy(source: Make, run: Run) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY)")
    run("INSERT INTO t SELECT generate_series(1, 30000)")
    one = source("t")
    one.prepare()
    snapshot = one.snapshot()
    assert len(next(snapshot).changes) == 5000
    snapshot.close()  # type: ignore[attr-defined] # a generator
    with pytest.raises(ConflictError) as caught:
        next(one.snapshot())
    assert caught.value.code == "cdc.snapshot_missing"
    with pytest.raises(ConflictError) as caught:
        one.prepare()
    assert caught.value.code == "cdc.slot_exists"
    one.destroy()
    one.prepare()
    assert ids(list(one.snapshot())) == list(range(1, 30_001))


def test_a_stream_that_was_left_behind_does_not_silence_its_successor(
    source: Make, run: Run
) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY)")
    one = source("t")
    point = one.prepare()
    list(one.snapshot())
    old = one.stream(point, tick=0.01)
    assert next(old) is None
    new = one.stream(point, tick=0.01)
    assert next(new) is None
    with pytest.raises(UnavailableError):
        next(old)
    run("INSERT INTO t VALUES (1)")
    (batch,) = until(new, 1)
    assert batch.commit is not None
    one.confirm(batch.commit.end_lsn)
    deadline = time.monotonic() + 30
    while (state := one.slot_state()) and state.confirmed_flush_lsn < batch.commit.end_lsn:
        assert time.monotonic() < deadline
        next(new)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER PUBLICATION spine_test DROP TABLE u",
        "ALTER PUBLICATION spine_test ADD TABLE v",
        "ALTER PUBLICATION spine_test SET (publish = 'insert')",
    ],
)
def test_a_changed_publication_is_refused(source: Make, run: Run, statement: str) -> None:
    for table in ("t", "u", "v"):
        run(f"CREATE TABLE {table} (id int PRIMARY KEY)")
    one = source("t", "u")
    point = one.prepare()
    list(one.snapshot())
    run(statement)
    with pytest.raises(ConflictError) as caught:
        next(one.stream(point))
    assert caught.value.code == "cdc.publication_changed"


def test_a_slot_that_the_server_gave_up_says_so() -> None:
    with DemoCluster(settings={"max_slot_wal_keep_size": "1MB"}) as own:
        one = PostgresSource(own.dsn(), ["t"], "spine_l", "spine_l")
        connection = psycopg2.connect(own.dsn())
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE t (id int PRIMARY KEY)")
        point = one.prepare()
        list(one.snapshot())
        for number in range(4):
            cursor.execute("INSERT INTO t VALUES (%s)", (number,))
            cursor.execute("SELECT pg_switch_wal()::text")
        cursor.execute("CHECKPOINT")
        state = one.slot_state()
        assert state is not None
        assert state.lost
        with pytest.raises(InputError) as caught:
            next(one.stream(point))
        assert caught.value.code == "cdc.slot_lost"
        one.destroy()
        assert one.slot_state() is None
        one.close()
        connection.close()


def test_two_readers_of_one_slot_do_not_mix(source: Make, run: Run) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY)")
    one, other = source("t"), source("t")
    point = one.prepare()
    list(one.snapshot())
    stream = one.stream(point, tick=0.01)
    assert next(stream) is None
    with pytest.raises(UnavailableError) as caught:
        next(other.stream(point))
    assert caught.value.code == "cdc.slot_busy"
    run("INSERT INTO t VALUES (1)")
    assert ids(until(stream, 1)) == [1]
