"""What makes a source wait is named and can be given up; no limit of the server's ends it."""

import time
from collections.abc import Callable, Iterator

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from dataspine.cdc.cluster import DemoCluster
from dataspine.cdc.postgres import PostgresSource

pytestmark = pytest.mark.integration

Run = Callable[..., list[tuple[object, ...]]]
Make = Callable[..., PostgresSource]
LIMITS = (
    "statement_timeout",
    "lock_timeout",
    "transaction_timeout",
    "idle_session_timeout",
    "idle_in_transaction_session_timeout",
)


@pytest.fixture
def other(dsn: str) -> Iterator[Connection]:
    """Somebody else's session, in a transaction that has written something."""
    connection = psycopg2.connect(dsn, application_name="payroll")
    connection.cursor().execute("SELECT pg_current_xact_id()::text, 'a secret in its query'")
    yield connection
    connection.close()


class GivenUpError(Exception): ...


class Waiting:
    """Waits until it hears who blocks, then gives up."""

    def __init__(self) -> None:
        self.blocker = ""
        self.deadline = time.monotonic() + 30

    def __call__(self, blocker: str) -> None:
        assert time.monotonic() < self.deadline, "nobody was named"
        self.blocker = blocker
        if blocker:
            raise GivenUpError


def since(run: Run, pid: int) -> str:
    ((at,),) = run(
        "SELECT to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
        " FROM pg_stat_activity WHERE pid = %s",
        pid,
    )
    return str(at)


def test_slot_that_waits_names_who_blocks_it_and_gives_up(
    source: Make, run: Run, other: Connection
) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY)")
    waiting = Waiting()
    with pytest.raises(GivenUpError):
        source("t").prepare(waiting)
    pid = other.info.backend_pid
    assert waiting.blocker == (
        f"waits for a transaction at the source: process {pid} (payroll),"
        f" open since {since(run, pid)}"
    )
    assert run("SELECT pubname FROM pg_publication") == []
    assert run("SELECT slot_name FROM pg_replication_slots WHERE slot_name = 'spine_test'") == []
    other.rollback()
    assert source("t").prepare() > 0


def test_publication_that_waits_for_a_lock_gives_up(
    source: Make, run: Run, other: Connection
) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY)")
    other.cursor().execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    waiting = Waiting()
    with pytest.raises(GivenUpError):
        source("t").prepare(waiting)
    assert f"process {other.info.backend_pid} (payroll)" in waiting.blocker
    assert run("SELECT pubname FROM pg_publication") == []


def test_snapshot_that_waits_for_a_lock_gives_up(source: Make, run: Run, dsn: str) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY)")
    run("INSERT INTO t VALUES (1)")
    one = source("t")
    one.prepare()
    other = psycopg2.connect(dsn, application_name="payroll")
    other.cursor().execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    waiting = Waiting()
    with pytest.raises(GivenUpError):
        list(one.snapshot(waiting))
    assert f"process {other.info.backend_pid} (payroll)" in waiting.blocker
    other.close()


def test_prepared_transaction_is_named() -> None:
    with DemoCluster(settings={"max_prepared_transactions": "2"}) as own:
        connection = psycopg2.connect(own.dsn())
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE t (id int PRIMARY KEY)")
        connection.commit()
        cursor.execute("INSERT INTO t VALUES (1)")
        cursor.execute("PREPARE TRANSACTION 'left behind'")
        one = PostgresSource(own.dsn(), ["t"], "s", "p")
        waiting = Waiting()
        with pytest.raises(GivenUpError):
            one.prepare(waiting)
        assert "the prepared transaction left behind, open since 2" in waiting.blocker
        one.close()
        connection.close()


def test_limits_of_role_or_database_end_nothing(
    source: Make, run: Run, dsn: str, capfd: pytest.CaptureFixture[str]
) -> None:
    database = dsn.rpartition("=")[2]
    run("CREATE TABLE t (id int PRIMARY KEY, note text)")
    run("INSERT INTO t SELECT g, repeat('x', 2000) FROM generate_series(1, 40000) g")
    for limit in LIMITS:
        run(f"ALTER DATABASE {database} SET {limit} = '2s'")
    one = source("t")
    point = one.prepare()
    count = 0
    for batch in one.snapshot():
        if count == 0:
            outlast(run)
        count += len(batch.changes)
    assert count == 40_000
    stream = one.stream(point, tick=0.01)
    assert next(stream) is None
    outlast(run)
    run("INSERT INTO t VALUES (0, 'last')")
    while (last := next(stream)) is None:
        pass
    assert [change.row for change in last.changes] == [("0", "last")]
    assert capfd.readouterr().err == ""


def outlast(run: Run) -> None:
    """Return when every session of the route is older than the limits."""
    deadline = time.monotonic() + 30
    young = (
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'data-spine'"
        " AND datname = current_database()"
        " AND greatest(backend_start, xact_start, state_change) > now() - interval '2.5 seconds'"
    )
    while run(young):
        assert time.monotonic() < deadline
