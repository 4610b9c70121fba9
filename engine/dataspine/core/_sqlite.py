"""SQLite in WAL mode: one file, one writer, any number of readers."""

from __future__ import annotations

import contextlib
import fcntl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dataspine.core.errors import IntegrityError, UnavailableError
from dataspine.core.files import private

__all__ = ["Sqlite"]


class Sqlite:
    """Opens transactions in one file, and says in our words what goes wrong there."""

    kind = "SQLite"
    has_many_writers = False

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self.where = str(path)
        self._path = path
        self._busy_ms = round(busy_seconds * 1000)
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": busy_seconds})
        sa.event.listen(self._engine, "connect", self._configure)
        sa.event.listen(self._engine, "begin", _begin)

    @contextlib.contextmanager
    def begin(self, _of: str | None) -> Iterator[sa.Connection]:
        """Open a write transaction at once, so what is read inside it is true at commit."""
        with (
            self._translated(),
            self._engine.connect().execution_options(spine_begin="BEGIN IMMEDIATE") as connection,
            connection.begin(),
        ):
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a read transaction: one consistent snapshot."""
        with self._translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def migration(self) -> Iterator[sa.Connection]:
        """Open the transaction of a migration, one process at a time."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with self._translated(), self._engine.begin() as connection:
                yield connection

    @contextlib.contextmanager
    def lease(self, name: str, stop: threading.Event, idle: float) -> Iterator[Callable[[], bool]]:
        """Hold a file's lock, which the kernel frees when its process dies; give up on ``stop``."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path.with_name(f"{name}.lock"), "ab", opener=private) as file:
            while not stop.is_set():
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    stop.wait(idle)
            yield lambda: True

    def locked(self) -> UnavailableError:
        """Return the error of a writer that got no turn."""
        return self._unavailable("database is locked")

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()

    def _configure(self, connection: Any, _record: Any) -> None:
        # The driver must not begin by itself: `_begin` below chooses between a read and a write
        # transaction.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={self._busy_ms}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.OperationalError as error:
            raise self._unavailable(str(error.orig)) from error
        except sa.exc.DatabaseError as error:
            # Anything more special is a fault of the statement, so of the program.
            if type(error) is not sa.exc.DatabaseError:
                raise
            raise IntegrityError(
                str(error.orig),
                where=self.where,
                remedy="Restore it from a backup; or move it away and run `spine upgrade`, which "
                "makes an empty one.",
                code="spine.database_damaged",
            ) from error

    def _unavailable(self, reason: str) -> UnavailableError:
        remedies = {
            "locked": "Another process holds it; try again.",
            "full": "Free disk space; nothing was lost.",
            "readonly": "Check the file's owner and mode.",
            "disk I/O": "The disk may be full, or over a file-size limit; nothing was lost.",
            "unable to open": "Run `spine init .` in a new clone; else check the folder's owner, "
            "mode and disk.",
        }
        remedy = next(
            (text for word, text in remedies.items() if word in reason),
            "Check the file and try again.",
        )
        return UnavailableError(reason, where=self.where, remedy=remedy, code="spine.database")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("spine_begin", "BEGIN"))
