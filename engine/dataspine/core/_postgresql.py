"""PostgreSQL: many writers in many processes, one after the other where they touch the same.

Locks are advisory and end with their transaction or their session, so no process leaves one
behind. A writer that names what it writes shares the lock of all and owns that of the thing; any
other writer owns the lock of all. So a transaction reads what nobody changes before its commit.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import psycopg2.extensions
import sqlalchemy as sa

from dataspine.core.errors import InputError, UnavailableError

__all__ = ["Postgresql", "address"]

POOL_SIZE = 16
CONNECT_SECONDS = 5
# A process that stops inside a transaction, or whose machine is gone, must not keep its locks.
IDLE_SECONDS = 30
MIGRATION_SECONDS = 60
SCHEMA = "spine"

_BEGIN = f"set_config('idle_in_transaction_session_timeout', '{IDLE_SECONDS}s', true)"
_ALL = sa.text(f"SELECT {_BEGIN}, pg_advisory_xact_lock(:all)")
_ONE = sa.text(f"SELECT {_BEGIN}, pg_advisory_xact_lock_shared(:all), pg_advisory_xact_lock(:one)")
_WAIT = sa.text(f"SELECT set_config('lock_timeout', '{MIGRATION_SECONDS}s', true)")
_LEASE = sa.text("SELECT pg_try_advisory_lock(:name)")
# Text is compared byte by byte, as SQLite does: times and subjects are sorted by it.
_TEXTS = sa.text(
    "SELECT t.relname, c.attname, format_type(c.atttypid, c.atttypmod)"
    " FROM pg_attribute c JOIN pg_class t ON t.oid = c.attrelid"
    " JOIN pg_collation k ON k.oid = c.attcollation"
    " WHERE t.relnamespace = current_schema()::regnamespace AND t.relkind = 'r'"
    " AND c.attnum > 0 AND NOT c.attisdropped AND k.collname <> 'C' ORDER BY 1, 2"
)
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_NO_RIGHTS, _READ_ONLY, _LOCKED = "42501", "25006", "55P03"


class Postgresql:
    """Opens transactions in one database, and says in our words what goes wrong there."""

    kind = "PostgreSQL"
    has_many_writers = True

    def __init__(self, url: sa.URL, busy_seconds: float) -> None:
        self.where = f"{url.host or url.query.get('host') or 'localhost'}/{url.database or ''}"
        self._password = str(url.password or url.query.get("password") or "")
        own = f"-c search_path={SCHEMA} -c lock_timeout={round(busy_seconds * 1000)}"
        self._engine = sa.create_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=busy_seconds,
            isolation_level="READ COMMITTED",
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "application_name": "data-spine",
                "options": f"{url.query.get('options', '')} {own}".strip(),
                # A server that is gone without a word is noticed.
                "keepalives_idle": 30,
                "keepalives_interval": 10,
                "keepalives_count": 3,
                "tcp_user_timeout": 30_000,
            },
        )
        self._reading = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        sa.event.listen(self._engine, "handle_error", _refuse_nul)

    @contextlib.contextmanager
    def begin(self, of: str | None) -> Iterator[sa.Connection]:
        """Open a write transaction of one thing, or of all; wait for others' before."""
        with self._translated(), self._engine.connect() as connection, connection.begin():
            if of is None:
                connection.execute(_ALL, {"all": _key("")})
            else:
                connection.execute(_ONE, {"all": _key(""), "one": _key(of)})
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a read transaction: one consistent snapshot."""
        with self._translated(), self._reading.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def migration(self) -> Iterator[sa.Connection]:
        """Open the transaction of a migration; nobody else migrates or writes meanwhile."""
        with self._translated(), self._engine.connect() as connection, connection.begin():
            connection.execute(_WAIT)
            connection.execute(_ALL, {"all": _key("")})
            if not sa.inspect(connection).has_schema(SCHEMA):
                connection.execute(sa.schema.CreateSchema(SCHEMA))
            yield connection
            _compare_bytes(connection)

    @contextlib.contextmanager
    def lease(self, name: str, stop: threading.Event, idle: float) -> Iterator[Callable[[], bool]]:
        """Hold a lock of a session of its own; give up on ``stop``."""
        session = None
        while session is None and not stop.is_set():
            with contextlib.suppress(UnavailableError):
                session = self._leased(name)
            if session is None:
                stop.wait(idle)
        try:
            yield lambda: session is not None and _answers(session)
        finally:
            if session is not None:
                session.close()

    def locked(self) -> UnavailableError:
        """Return the error of a writer that got no turn."""
        return self._unavailable("database is locked", "Another process writes; try again.")

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()

    def _leased(self, name: str) -> sa.Connection | None:
        with self._translated():
            session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            # Its end must free the lock: it does not go back to the pool.
            session.detach()
            try:
                if session.scalar(_LEASE, {"name": _key(f"lease {name}")}):
                    return session
            except BaseException:
                session.close()
                raise
            session.close()
        return None

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.TimeoutError as error:
            raise self._unavailable(
                "every connection is in use", "Try again; many requests come at once."
            ) from error
        except sa.exc.DBAPIError as error:
            code = getattr(error.orig, "pgcode", None)
            if code == _LOCKED:
                raise self.locked() from error
            if code in {_NO_RIGHTS, _READ_ONLY}:
                remedy = "Check the rights of this user, and that the server takes writes."
                raise self._unavailable(self._reason(error), remedy) from error
            # Anything more special is a fault of the statement, so of the program.
            if type(error.orig) is psycopg2.DatabaseError or isinstance(
                error.orig, psycopg2.OperationalError | psycopg2.InterfaceError
            ):
                remedy = "Check the server and `database.url`; nothing was lost."
                raise self._unavailable(self._reason(error), remedy) from error
            raise

    def _reason(self, error: sa.exc.DBAPIError) -> str:
        first = str(error.orig).strip().partition("\n")[0] or "the connection was lost"
        return first.replace(self._password, "***") if self._password else first

    def _unavailable(self, reason: str, remedy: str) -> UnavailableError:
        return UnavailableError(reason, where=self.where, remedy=remedy, code="spine.database")


def address(text: str) -> sa.URL | None:
    """Return the address that a text is, None when it is none that this module can use."""
    try:
        url = sa.make_url(text)
        psycopg2.extensions.make_dsn(**{name: str(value) for name, value in url.query.items()})
    except (sa.exc.ArgumentError, ValueError, psycopg2.ProgrammingError):
        return None
    if url.drivername not in {"postgresql", "postgres"} or not _PRINTABLE.fullmatch(text):
        return None
    return url.set(drivername="postgresql+psycopg2")


def _key(name: str) -> int:
    digest = hashlib.sha256(f"data-spine {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _answers(session: sa.Connection) -> bool:
    try:
        return session.exec_driver_sql("SELECT true").scalar_one() is True
    except sa.exc.DBAPIError:
        return False


def _refuse_nul(context: sa.engine.ExceptionContext) -> None:
    """Say what cannot be stored: the driver refuses a NUL character in a text."""
    error: Any = context.original_exception
    if isinstance(error, ValueError) and "NUL" in str(error):
        raise InputError(
            "a text has a NUL character", remedy="Remove it.", code="input.nul"
        ) from None


def _compare_bytes(connection: sa.Connection) -> None:
    changes: dict[str, list[str]] = {}
    quote = connection.dialect.identifier_preparer.quote
    for table, column, kind in connection.execute(_TEXTS):
        change = f'ALTER {quote(column)} TYPE {kind} COLLATE "C"'
        changes.setdefault(quote(table), []).append(change)
    for table, several in changes.items():
        connection.exec_driver_sql(f"ALTER TABLE {table} {', '.join(several)}")
