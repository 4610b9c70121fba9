"""What a workspace on PostgreSQL relies on, with a real server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from tests import store

from dataspine.adapters.doctor import examine
from dataspine.adapters.init import init
from dataspine.core import database as module
from dataspine.core._postgresql import POOL_SIZE
from dataspine.core.database import Database, metadata, postgresql_url
from dataspine.core.errors import DataSpineError, InputError, UnavailableError
from dataspine.core.workspace import Workspace
from dataspine.registry import Registry

pytestmark = pytest.mark.integration

SECRET = "t0p-s3cret"
ADDRESS = f"postgresql://ann:{SECRET}@host/shop"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[sa.URL]:
    made = store.place(tmp_path, "postgres", migrated=True)
    assert isinstance(made, sa.URL)
    yield made
    store.drop(made)


@pytest.fixture
def database(address: sa.URL) -> Iterator[Database]:
    with contextlib.closing(Database(address)) as opened:
        yield opened


@pytest.mark.parametrize("kind", store.KINDS)
def test_models_and_migrations_agree(tmp_path: Path, kind: str) -> None:
    place = store.place(tmp_path, kind, migrated=True)
    with contextlib.closing(Database(place)) as database, database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        database.require_current()
    store.drop(place)


def test_text_is_compared_byte_by_byte(database: Database) -> None:
    words = ["a", "B", "Z", "ä", "_", "a.b", "a b", "ab"]
    with database.begin() as connection:
        connection.execute(
            metadata.tables["schema_settings"].insert(),
            [{"subject": word, "changed_at": "", "changed_by": ""} for word in words],
        )
        found = connection.scalars(sa.text("SELECT subject FROM schema_settings ORDER BY subject"))
        assert list(found) == sorted(words)


def test_migrations_of_many_processes_come_one_after_the_other(tmp_path: Path) -> None:
    place = store.place(tmp_path, "postgres")
    several = [Database(place) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Database.migrate, several))
    for database in several:
        database.require_current()
        database.close()
    store.drop(place)


def test_whoever_names_nothing_writes_alone(
    address: sa.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_MS", 50)
    with contextlib.closing(Database(address)) as one, contextlib.closing(Database(address)) as two:
        for mine, theirs in ((None, "a"), ("a", None), ("a", "a"), (None, None)):
            with one.begin(mine), pytest.raises(UnavailableError) as raised, two.begin(theirs):
                pass
            assert raised.value.document() == {
                "code": "spine.database",
                "problem": "database is locked",
                "where": two.where,
                "remedy": "Another process writes; try again.",
                "retry": True,
            }
        with one.begin("a"), two.begin("b") as connection:  # others go on
            assert connection.scalar(sa.text("SELECT 1")) == 1


def test_a_reader_sees_one_moment_and_may_not_write(database: Database) -> None:
    insert = "INSERT INTO schema_removals (schema_id) VALUES (7)"
    count = sa.text("SELECT count(*) FROM schema_removals")
    with database.read() as reading:
        assert reading.scalar(count) == 0
        with database.begin() as connection:
            connection.execute(sa.text(insert))
        assert reading.scalar(count) == 0
    with database.read() as reading:
        assert reading.scalar(count) == 1
    with pytest.raises(UnavailableError, match="read-only"), database.read() as reading:
        reading.execute(sa.text(insert))


def test_a_lease_is_held_by_one_and_ends_with_its_session(address: sa.URL) -> None:
    stop, order = threading.Event(), []
    with contextlib.closing(Database(address)) as one, contextlib.closing(Database(address)) as two:

        def wait() -> None:
            with two.lease("x", stop, 0.01) as holds:
                order.append(("second", holds()))

        thread = threading.Thread(target=wait)
        with one.lease("x", stop, 0.01) as holds:
            thread.start()
            assert holds()
            order.append(("first", True))
            with one.begin() as connection:
                connection.execute(
                    sa.text(
                        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks"
                        " WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()"
                    )
                )
            assert not holds()
        thread.join(30)
    assert order == [("first", True), ("second", True)]


def test_a_server_that_went_away_is_out_of_reach_and_then_back(database: Database) -> None:
    end = sa.text(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    def read() -> None:
        with database.read() as lost:
            lost.scalar(sa.text("SELECT 1"))
            with database.read() as connection:
                connection.execute(end)
            lost.scalar(sa.text("SELECT 1"))

    with pytest.raises(UnavailableError) as raised:
        read()
    assert (raised.value.code, raised.value.where) == ("spine.database", database.where)
    with database.read() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1


def test_more_callers_than_connections_are_told_to_come_again(
    address: sa.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_MS", 50)
    reading = [0]

    def read(database: Database) -> None:
        with database.read():
            reading[0] += 1
            read(database)

    with contextlib.closing(Database(address)) as database:
        with pytest.raises(UnavailableError, match="every connection is in use"):
            read(database)
        assert reading == [POOL_SIZE]
        with database.read():
            pass


def test_a_nul_character_is_no_fault_of_the_program(database: Database) -> None:
    with pytest.raises(InputError, match="NUL"):
        Registry(database).versions("a\x00b")


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://ann:{SECRET}@127.0.0.1:1/shop",
        f"postgresql://ann@127.0.0.1:1/shop?password={SECRET}",
        f"postgresql://ann:{SECRET}@/shop?host=/nowhere",
        f"mysql://ann:{SECRET}@127.0.0.1/shop",
        f"postgresql://ann:{SECRET}@127.0.0.1:{SECRET}/shop",
        f"postgresql://ann:{SECRET}@127.0.0.1:1/shop?{SECRET}=1",
        SECRET,
        f"postgresql://ann:{SECRET}@host:1/shop\nx",
    ],
)
def test_no_error_shows_a_password(tmp_path: Path, address: str) -> None:
    (tmp_path / "address").write_text(address)
    with pytest.raises(DataSpineError) as raised:
        init(tmp_path / "shop", name="shop", database="file:../address", told=lambda _: None)
    error = raised.value
    assert error.exit_code in (2, 3)
    assert SECRET not in str(error.document())
    checks = list(examine(Workspace.open(tmp_path / "shop")))
    assert [each.ok for each in checks if each.name == "database"] == [False]
    assert SECRET not in str(checks)


def test_an_address_in_the_file_itself_is_refused_and_not_shown(tmp_path: Path) -> None:
    init(tmp_path / "shop", name="shop", told=lambda _: None)
    settings = tmp_path / "shop" / "spine.yaml"
    told = settings.read_text()
    for value in (f"{{url: {ADDRESS}}}", f"{{url: [{ADDRESS}]}}", ADDRESS, f"{{url: {SECRET}}}"):
        settings.write_text(f"{told}\ndatabase: {value}\n")
        with pytest.raises(InputError) as raised:
            Workspace.open(tmp_path / "shop")
        assert SECRET not in str(raised.value.document())
        assert "/database" in raised.value.problem
    assert raised.value.code == "input.secret_inline"


@pytest.mark.parametrize("told", [ADDRESS, "env:", "file:", ""])
def test_a_new_workspace_takes_a_reference_of_its_database_alone(tmp_path: Path, told: str) -> None:
    with pytest.raises(InputError) as raised:
        init(tmp_path / "new", name="new", database=told, told=print)
    assert (raised.value.code, raised.value.where) == ("input.secret_inline", "--database")
    assert SECRET not in str(raised.value.document())
    assert not (tmp_path / "new").exists()


def test_a_workspace_says_which_database_it_has(tmp_path: Path) -> None:
    with store.workspace(tmp_path / "shop", "postgres") as workspace:
        (check,) = [each for each in examine(workspace) if each.name == "database"]
        assert (check.ok, check.found) == (True, f"PostgreSQL ({workspace.database.where})")
        assert not (workspace.state / "spine.db").exists()
    url = postgresql_url(f"postgresql://ann:{SECRET}@db.example:5433/shop", where="env:X")
    assert Database(url).where == "db.example/shop"
