"""What a source refuses, with what to do about it, and without its connection string."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg2
import pytest

from dataspine.cdc.cluster import DemoCluster
from dataspine.cdc.postgres import PostgresSource
from dataspine.core.errors import DataSpineError, InputError, NotFoundError, UnavailableError

Run = Callable[..., list[tuple[object, ...]]]
Make = Callable[..., PostgresSource]


@contextmanager
def refused(kind: type[DataSpineError], code: str) -> Iterator[None]:
    with pytest.raises(kind) as caught:
        yield
    error = caught.value
    assert error.code == code
    assert error.remedy
    assert "hunter2" not in repr((error.document(), error, error.__cause__))
    assert error.__cause__ is None


@pytest.mark.integration
@pytest.mark.parametrize(
    ("statement", "kind", "code"),
    [
        ("SELECT", NotFoundError, "cdc.table_missing"),
        ("CREATE TABLE t (id int)", InputError, "cdc.no_key"),
        ("CREATE VIEW t AS SELECT 1 AS id", InputError, "cdc.table_unusable"),
        ("CREATE UNLOGGED TABLE t (id int PRIMARY KEY)", InputError, "cdc.table_unusable"),
        (
            "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY NOTHING",
            InputError,
            "cdc.no_key",
        ),
        (
            "CREATE TABLE t (id int); ALTER TABLE t REPLICA IDENTITY FULL",
            InputError,
            "cdc.no_key",
        ),
    ],
)
def test_a_table_that_cannot_be_captured(
    source: Make, run: Run, statement: str, kind: type[DataSpineError], code: str
) -> None:
    run(statement)
    with refused(kind, code):
        source("t").prepare()
    assert run("SELECT pubname FROM pg_publication") == []


@pytest.mark.integration
def test_wal_level_is_checked_before_anything_is_created() -> None:
    with DemoCluster(settings={"wal_level": "replica"}) as own:
        connection = psycopg2.connect(own.dsn())
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE t (id int PRIMARY KEY)")
        one = PostgresSource(own.dsn(), ["t"], "s", "p")
        with refused(InputError, "cdc.wal_level"):
            one.prepare()
        cursor.execute("SELECT pubname FROM pg_publication")
        assert cursor.fetchall() == []
        one.close()
        connection.close()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("rights", "kind", "code"),
    [
        ("", InputError, "cdc.privilege"),  # may not read
        ("GRANT SELECT ON t TO {role}", InputError, "cdc.privilege"),  # may not publish
        ("ALTER TABLE t OWNER TO {role}", InputError, "cdc.privilege"),  # may not replicate
    ],
)
def test_a_missing_privilege_leaves_nothing_behind(
    run: Run, dsn: str, rights: str, kind: type[DataSpineError], code: str
) -> None:
    database = dsn.rpartition("=")[2]
    role = f"role_{database}"
    run("CREATE TABLE t (id int PRIMARY KEY)")
    run(f"CREATE ROLE {role} LOGIN PASSWORD 'hunter2'")
    run(f"GRANT CREATE ON DATABASE {database} TO {role}")
    run(rights.format(role=role) or "SELECT")
    login = dsn.replace("user=postgres", f"user={role} password=hunter2")
    one = PostgresSource(login, ["t"], "spine_test", "spine_test")
    with refused(kind, code):
        one.prepare()
    one.close()
    assert run("SELECT pubname FROM pg_publication") == []
    assert run("SELECT slot_name FROM pg_replication_slots WHERE database = %s", database) == []
    run(f"DROP OWNED BY {role}")
    run(f"DROP ROLE {role}")


@pytest.mark.integration
def test_a_policy_that_hides_rows_fails_the_snapshot(run: Run, dsn: str) -> None:
    database = dsn.rpartition("=")[2]
    role = f"role_{database}"
    run("CREATE TABLE t (id int PRIMARY KEY)")
    run("INSERT INTO t VALUES (1)")
    run(f"CREATE ROLE {role} LOGIN REPLICATION")
    run(f"GRANT CREATE ON DATABASE {database} TO {role}")
    run(f"ALTER TABLE t OWNER TO {role}")
    run("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    run("ALTER TABLE t FORCE ROW LEVEL SECURITY")
    one = PostgresSource(dsn.replace("user=postgres", f"user={role}"), ["t"], "spine_p", "spine_p")
    one.prepare()
    with refused(InputError, "cdc.privilege"):
        list(one.snapshot())
    one.destroy()
    one.close()
    run(f"DROP OWNED BY {role}")
    run(f"DROP ROLE {role}")


@pytest.mark.integration
def test_a_slot_of_another_database_is_left_alone(
    source: Make, run: Run, cluster: DemoCluster
) -> None:
    other = psycopg2.connect(cluster.dsn())
    other.autocommit = True
    cursor = other.cursor()
    cursor.execute("SELECT pg_create_logical_replication_slot('foreign_slot', 'pgoutput')::text")
    try:
        with refused(DataSpineError, "cdc.slot_foreign"):
            source("t", name="foreign_slot").destroy()
        cursor.execute("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'foreign_slot'")
        assert cursor.fetchall() == [(1,)]
    finally:
        cursor.execute("SELECT pg_drop_replication_slot('foreign_slot')::text")
        other.close()


REFUSALS = {
    "user=postgres password=wrong": (
        UnavailableError,
        "cdc.login_refused",
        "user or password is wrong",
        "Correct them, at the server or in the connection string; that is read at the start.",
    ),
    "user=postgres": (
        UnavailableError,
        "cdc.login_refused",
        "the server wants a password",
        "Write it into the connection string.",
    ),
    "user=nobody": (
        UnavailableError,
        "cdc.login_refused",
        "the role does not exist",
        "Create it, or correct the connection string.",
    ),
    "user=outsider": (
        UnavailableError,
        "cdc.login_refused",
        "pg_hba.conf does not let this client in",
        "Allow it there, then reload the server.",
    ),
    "user=group_only": (
        UnavailableError,
        "cdc.login_refused",
        "the role may not log in",
        "Grant it: ALTER ROLE … LOGIN.",
    ),
    "user=trusted dbname=closed": (
        UnavailableError,
        "cdc.source_unavailable",
        "PostgreSQL cannot be reached",
        "Check that it runs and where, then try again.",
    ),
    "user=trusted dbname=hunter2": (
        UnavailableError,
        "cdc.database_missing",
        "the database does not exist",
        "Check the connection string.",
    ),
}


@pytest.fixture(scope="module")
def guarded() -> Iterator[DemoCluster]:
    """A server that wants passwords, but for one role."""
    with DemoCluster() as own:
        connection = psycopg2.connect(own.dsn())
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("ALTER ROLE postgres PASSWORD 'hunter2'")
            cursor.execute("CREATE ROLE trusted LOGIN")
            cursor.execute("CREATE ROLE group_only")
            cursor.execute("CREATE DATABASE closed ALLOW_CONNECTIONS false")
            (own.folder / "data/pg_hba.conf").write_text(
                "local all trusted,nobody,group_only trust\nlocal all postgres scram-sha-256\n"
            )
            cursor.execute("SELECT pg_reload_conf()")
        connection.close()
        yield own


@pytest.mark.integration
@pytest.mark.parametrize("login", REFUSALS)
def test_what_a_server_has_against_a_login_is_said(guarded: DemoCluster, login: str) -> None:
    kind, code, problem, remedy = REFUSALS[login]
    one = PostgresSource(
        f"host={guarded.folder} port=5432 dbname=postgres {login}", ["t"], "s", "p", "route r"
    )
    with pytest.raises(kind) as caught:
        one.check()
    assert caught.value.document() == {
        "code": code,
        "problem": problem,
        "where": "route r",
        "remedy": remedy,
        "retry": True,
    }


def test_an_unreachable_server_is_unavailable_and_unnamed() -> None:
    dsn = "host=/nowhere/hunter2 user=hunter2 password=hunter2 dbname=hunter2"
    one = PostgresSource(dsn, ["t"], "s", "p")
    for call in (one.prepare, one.relations, one.heartbeat, one.slot_state, one.destroy):
        with refused(UnavailableError, "cdc.source_unavailable"):
            call()
    with refused(UnavailableError, "cdc.source_unavailable"):
        next(one.stream(0))
    assert "hunter2" not in repr(one)


def test_an_unreadable_connection_string_is_not_shown() -> None:
    with refused(InputError, "cdc.dsn_invalid"):
        PostgresSource("host=x hunter2", ["t"], "s", "p")


@pytest.mark.parametrize(
    ("tables", "slot"),
    [([], "s"), (["t", "public.t"], "s"), (["t"], "S; DROP"), (["t"], "x" * 64)],
)
def test_unusable_names_are_refused(tables: list[str], slot: str) -> None:
    with refused(InputError, "input.invalid"):
        PostgresSource("", tables, slot, "p")
