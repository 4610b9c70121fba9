"""``spine.db``: SQLite in WAL mode by default, opened once per process, migrated under a lock.

Packages declare their tables on ``metadata`` beside the code that uses them; migrations are
explicit operations in
``core/migrations`` and import no model. ``tests/core`` proves that both agree.
"""

from __future__ import annotations

import contextlib
import fcntl
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dataspine.core.errors import IntegrityError, UnavailableError

__all__ = ["Database", "metadata", "upgrade"]

metadata = sa.MetaData()

BUSY_MS = 5_000

_MIGRATIONS = files("dataspine.core").joinpath("migrations")
_VERSION = sa.text("SELECT version_num FROM alembic_version")


class Database:
    """One workspace's database.

    ``begin()`` opens a write transaction at once (``BEGIN IMMEDIATE``), so what is read inside it
    is still true at
    commit; ``read()`` opens a snapshot. Both raise ``UnavailableError`` when the file is locked
    for longer than five
    seconds, full or unreadable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        # SQLite lets writers poll for their turn, at ever longer intervals; threads queue here.
        self._turn = threading.Lock()
        self._engine = sa.create_engine(self.url, connect_args={"timeout": BUSY_MS / 1000})
        sa.event.listen(self._engine, "connect", _configure)
        sa.event.listen(self._engine, "begin", _begin)

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a write transaction: commit at the block's end, roll back when it raises."""
        with (
            _translated(self.path),
            self._turn_to_write(),
            self._engine.connect().execution_options(spine_begin="BEGIN IMMEDIATE") as connection,
            connection.begin(),
        ):
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a read transaction: one consistent snapshot."""
        with _translated(self.path), self._engine.connect() as connection, connection.begin():
            yield connection

    def change_counter(self) -> int:
        """Return a number that changes when another connection commits (``data_version``)."""
        with self._engine.connect() as connection:
            return int(connection.exec_driver_sql("PRAGMA data_version").scalar_one())

    def migrate(self) -> None:
        """Bring the schema to this program's version, one process at a time."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with _translated(self.path), self._engine.begin() as connection:
                upgrade(connection)

    def require_current(self) -> None:
        """Raise ``UnavailableError`` unless the schema is this program's."""
        head = _head()
        with _translated(self.path), self._engine.connect() as connection:
            known = sa.inspect(connection).has_table("alembic_version")
            current = connection.scalar(_VERSION) if known else None
        if current != head:
            error = UnavailableError(
                f"the database is at version {current or 'none'}, this program needs {head}",
                where=str(self.path),
                remedy="Run `spine upgrade`.",
                code="spine.database_version",
            )
            error.retry = False
            raise error

    @contextlib.contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=BUSY_MS / 1000):
            raise _unavailable("database is locked", self.path)
        try:
            yield
        finally:
            self._turn.release()

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()


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


def _configure(connection: Any, _record: Any) -> None:
    # The driver must not begin by itself: `begin` below chooses between a read and a write
    # transaction.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("spine_begin", "BEGIN"))


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sa.exc.OperationalError as error:
        raise _unavailable(str(error.orig), path) from error
    except sa.exc.DatabaseError as error:
        # Anything more special is a fault of the statement, so of the program.
        if type(error) is not sa.exc.DatabaseError:
            raise
        raise IntegrityError(
            str(error.orig),
            where=str(path),
            remedy="Restore it from a backup; or move it away and run `spine upgrade`, which makes "
            "an empty one.",
            code="spine.database_damaged",
        ) from error


def _unavailable(reason: str, path: Path) -> UnavailableError:
    remedies = {
        "locked": "Another process holds it; try again.",
        "full": "Free disk space; nothing was lost.",
        "readonly": "Check the file's owner and mode.",
        "disk I/O": "The disk may be full, or over a file-size limit; nothing was lost.",
        "unable to open": "Run `spine init .` in a new clone; else check the folder's owner, mode "
        "and disk.",
    }
    remedy = next(
        (text for word, text in remedies.items() if word in reason),
        "Check the file and try again.",
    )
    return UnavailableError(reason, where=str(path), remedy=remedy, code="spine.database")
