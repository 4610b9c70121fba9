"""What a plan finds at a real source before anything is created there."""

from collections.abc import Callable

import psycopg2
import pytest

from dataspine.cdc.cluster import DemoCluster
from dataspine.cdc.postgres import PostgresSource
from dataspine.core.errors import DataSpineError, InputError

pytestmark = pytest.mark.integration

Run = Callable[..., list[tuple[object, ...]]]
Make = Callable[..., PostgresSource]

TWICE = "g int NOT NULL GENERATED ALWAYS AS (id * 2)"
KEY_PROBLEM = "the generated column g is part of the key, and generated columns are not replicated"
FULL_PROBLEM = (
    "once published, each UPDATE and DELETE of the table would fail: its replica identity FULL"
    " contains the generated column g"
)
KEY_REMEDY = (
    "Name another key: ALTER TABLE public.t REPLICA IDENTITY USING INDEX one that is unique,"
    " not partial, and of NOT NULL columns that are not generated."
)
FULL_REMEDY = "ALTER TABLE public.t REPLICA IDENTITY DEFAULT."


def refusal(call: Callable[[], object]) -> DataSpineError:
    with pytest.raises(DataSpineError) as caught:
        call()
    return caught.value


def nothing_is_there(run: Run) -> bool:
    return run("SELECT 1 FROM pg_publication UNION ALL SELECT 1 FROM pg_replication_slots") == []


@pytest.mark.parametrize(
    ("columns", "identity", "problem", "remedy"),
    [
        (f"id int, {TWICE} STORED, PRIMARY KEY (id, g)", "DEFAULT", KEY_PROBLEM, KEY_REMEDY),
        (f"id int, {TWICE} STORED, PRIMARY KEY (id, g)", "FULL", KEY_PROBLEM, KEY_REMEDY),
        (
            f"id int PRIMARY KEY, {TWICE} STORED, UNIQUE (g)",
            "USING INDEX t_g_key",
            KEY_PROBLEM,
            KEY_REMEDY,
        ),
        (f"id int PRIMARY KEY, {TWICE} STORED", "FULL", FULL_PROBLEM, FULL_REMEDY),
        (f"id int PRIMARY KEY, {TWICE} VIRTUAL", "FULL", FULL_PROBLEM, FULL_REMEDY),
    ],
    ids=["key", "key of full", "index", "full stored", "full virtual"],
)
def test_identity_with_generated_column_is_refused_before_anything_is_created(
    source: Make, run: Run, columns: str, identity: str, problem: str, remedy: str
) -> None:
    run(f"CREATE TABLE t ({columns})")
    run(f"ALTER TABLE t REPLICA IDENTITY {identity}")
    one = source("t")
    for call in (one.relations, one.prepare):
        error = refusal(call)
        assert (type(error), error.code) == (InputError, "cdc.generated_identity")
        assert (error.problem, error.remedy) == (problem, remedy)
    assert nothing_is_there(run)


@pytest.mark.parametrize(
    ("columns", "identity"),
    [
        (f"id int PRIMARY KEY, {TWICE} STORED", "DEFAULT"),
        (f"id int NOT NULL UNIQUE, {TWICE} STORED, PRIMARY KEY (id, g)", "USING INDEX t_id_key"),
    ],
)
def test_generated_column_beside_the_identity_lets_the_application_go_on(
    source: Make, run: Run, columns: str, identity: str
) -> None:
    run(f"CREATE TABLE t ({columns}, note text)")
    run(f"ALTER TABLE t REPLICA IDENTITY {identity}")
    one = source("t")
    one.prepare()
    list(one.snapshot())
    run("INSERT INTO t (id, note) VALUES (1, 'a')")
    run("UPDATE t SET note = 'b'")
    run("DELETE FROM t")
    assert [c.name for c in one.relations()[0].columns] == ["id", "note"]


def test_identity_that_becomes_generated_stops_the_next_stream(source: Make, run: Run) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY)")
    run("ALTER TABLE t REPLICA IDENTITY FULL")
    one = source("t")
    point = one.prepare()
    list(one.snapshot())
    run("ALTER TABLE t ADD COLUMN g int GENERATED ALWAYS AS (id * 2) STORED")
    assert refusal(lambda: next(one.stream(point))).code == "cdc.generated_identity"


@pytest.mark.parametrize(
    ("rights", "problem", "remedy"),
    [
        (
            [],
            "the role may not read the table",
            "GRANT SELECT ON public.t to it.",
        ),
        (
            ["GRANT SELECT ON t TO {role}"],
            "the role does not own the table, so it may not publish it",
            "ALTER TABLE public.t OWNER TO a role that it is a member of.",
        ),
        (
            ["ALTER TABLE t OWNER TO {role}"],
            "the role may not create a publication",
            "GRANT CREATE ON DATABASE … TO the role.",
        ),
        (
            ["ALTER TABLE t OWNER TO {role}", "GRANT CREATE ON DATABASE {database} TO {role}"],
            "the role may not replicate",
            "Grant it: ALTER ROLE … REPLICATION.",
        ),
        (
            [
                "ALTER TABLE t OWNER TO {role}",
                "GRANT CREATE ON DATABASE {database} TO {role}",
                "ALTER ROLE {role} REPLICATION",
            ],
            None,
            None,
        ),
    ],
    ids=["select", "owner", "create", "replication", "all"],
)
def test_missing_privilege_is_found_before_anything_is_created(
    run: Run, dsn: str, rights: list[str], problem: str | None, remedy: str | None
) -> None:
    database = dsn.rpartition("=")[2]
    role = f"role_{database}"
    run("CREATE TABLE t (id int PRIMARY KEY)")
    run(f"CREATE ROLE {role} LOGIN")
    for statement in rights:
        run(statement.format(role=role, database=database))
    one = PostgresSource(
        dsn.replace("user=postgres", f"user={role}"), ["t"], "spine_c", "spine_c", "route r"
    )
    try:
        if problem is None:
            assert [table.label for table in one.check()] == ["public.t"]
            return
        error = refusal(one.check)
        assert (type(error), error.code) == (InputError, "cdc.privilege")
        assert (error.problem, error.remedy) == (problem, remedy)
        assert error.where in ("route r", "route r, table public.t")
        assert nothing_is_there(run)
    finally:
        one.close()
        run(f"DROP OWNED BY {role}")
        run(f"DROP ROLE {role}")


def test_wal_level_is_found_before_anything_is_created() -> None:
    with DemoCluster(settings={"wal_level": "replica"}) as own:
        connection = psycopg2.connect(own.dsn())
        connection.autocommit = True
        connection.cursor().execute("CREATE TABLE t (id int PRIMARY KEY)")
        one = PostgresSource(own.dsn(), ["t"], "s", "p", "route r, source shop")
        error = refusal(one.check)
        assert (error.code, error.where) == ("cdc.wal_level", "route r, source shop")
        one.close()
        connection.close()


def test_check_of_a_running_route_finds_nothing(source: Make, run: Run) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY)")
    one = source("t")
    one.prepare()
    assert [table.label for table in source("t").check()] == ["public.t"]
