"""The database of a workspace: SQLite in a file by default, PostgreSQL for several machines.

Packages declare their tables on ``metadata`` beside the code that uses them; migrations are
explicit operations in ``core/migrations`` and import no model. ``tests/core`` proves that both
agree. What the two databases say differently is in ``core/statement`` and in the modules of each.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from dataspine.core._sqlite import Sqlite
from dataspine.core.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from dataspine.core._postgresql import Postgresql

__all__ = ["Database", "metadata", "postgresql_url", "upgrade"]

metadata = sa.MetaData()

BUSY_MS = 5_000

_MIGRATIONS = files("dataspine.core").joinpath("migrations")
_VERSION = sa.text("SELECT version_num FROM alembic_version")


class Database:
    """One workspace's database: ``place`` is SQLite's file, or the address of a PostgreSQL.

    ``begin()`` opens a write transaction in which what is read is still true at commit; ``read()``
    opens a snapshot. Both raise ``UnavailableError`` when the database is locked for longer than
    five seconds, full or out of reach.
    """

    def __init__(self, place: Path | sa.URL) -> None:
        self.place = place
        self._store = _store(place)
        # The databases let writers wait for each other, each in its connection; threads queue here.
        self._turn = threading.Lock()

    @property
    def kind(self) -> str:
        """``SQLite`` or ``PostgreSQL``."""
        return self._store.kind

    @property
    def where(self) -> str:
        """The file, or host and name: never a password."""
        return self._store.where

    @property
    def exists(self) -> bool:
        """Whether there is something to open; a server is only known by asking it."""
        return not isinstance(self.place, Path) or self.place.exists()

    @contextlib.contextmanager
    def begin(self, of: str | None = None) -> Iterator[sa.Connection]:
        """Open a write transaction: commit at the block's end, roll back when it raises.

        Nobody else writes meanwhile, in any process. A writer that says ``of`` what it writes, and
        reads nothing else that others who do so write, has only those of the same thing waiting
        where the database can do that.
        """
        if of is not None and self._store.has_many_writers:
            with self._store.begin(of) as connection:
                yield connection
            return
        with self._turn_to_write(), self._store.begin(None) as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a read transaction: one consistent snapshot."""
        with self._store.read() as connection:
            yield connection

    @contextlib.contextmanager
    def lease(self, name: str, stop: threading.Event, idle: float) -> Iterator[Callable[[], bool]]:
        """Be the only process that holds ``name``; try every ``idle`` seconds until ``stop``.

        It ends with the process, however that ends. What is yielded tells whether it still holds.
        """
        with self._store.lease(name, stop, idle) as holds:
            yield holds

    def migrate(self) -> None:
        """Bring the schema to this program's version, one process at a time."""
        with self._store.migration() as connection:
            upgrade(connection)

    def require_current(self) -> None:
        """Raise ``UnavailableError`` unless the schema is this program's."""
        head = _head()
        with self._store.read() as connection:
            known = sa.inspect(connection).has_table("alembic_version")
            current = connection.scalar(_VERSION) if known else None
        if current != head:
            error = UnavailableError(
                f"the database is at version {current or 'none'}, this program needs {head}",
                where=self.where,
                remedy="Run `spine upgrade`.",
                code="spine.database_version",
            )
            error.retry = False
            raise error

    @contextlib.contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=BUSY_MS / 1000):
            raise self._store.locked()
        try:
            yield
        finally:
            self._turn.release()

    def close(self) -> None:
        """Close every pooled connection."""
        self._store.close()


def _store(place: Path | sa.URL) -> Sqlite | Postgresql:
    if isinstance(place, Path):
        return Sqlite(place, BUSY_MS / 1000)
    from dataspine.core._postgresql import Postgresql  # noqa: PLC0415 - few workspaces need it

    return Postgresql(place, BUSY_MS / 1000)


def postgresql_url(text: str, *, where: str) -> sa.URL:
    """Return the address of a PostgreSQL; raise ``InputError``, which does not show it."""
    from dataspine.core._postgresql import address  # noqa: PLC0415 - few workspaces need it

    url = address(text)
    if url is not None:
        return url
    raise InputError(
        "this is no address of a PostgreSQL",
        where=where,
        remedy="Write postgresql://USER:PASSWORD@HOST:PORT/DATABASE.",
        code="input.database_url",
    )


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    """Run the migrations up to a revision in the connection's transaction."""
    from alembic import command  # noqa: PLC0415 - slow to import, and few commands migrate
    from alembic.config import Config  # noqa: PLC0415 - the same

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _head() -> str:
    """Return the newest migration's number, which its file's name begins with."""
    names = (each.name for each in _MIGRATIONS.joinpath("versions").iterdir())
    return max(name.partition("_")[0] for name in names if name.endswith(".py"))
