"""Connections to a source, and its refusals in our words.

The connection string is a secret: no error shows any part of it, and neither does what libpq says
when it cannot connect, so that text is only searched, never passed on.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class
from psycopg2.extensions import make_dsn, parse_dsn
from psycopg2.extras import LogicalReplicationConnection

from dataspine.core.errors import (
    ConflictError,
    DataSpineError,
    InputError,
    NotFoundError,
    UnavailableError,
)

__all__ = ["OnWait", "Session", "close"]

# Called while the server makes us wait, with what for if that is known; raises to give up.
OnWait = Callable[[str], None]

# Values travel as text: these settings make the text the same whatever the server's defaults are.
# With row security off a hidden row is an error, not a row that silently stays behind.
_OPTIONS: Final = (
    "-c datestyle=ISO -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=1 "
    "-c bytea_output=hex -c row_security=off -c search_path=pg_catalog -c statement_timeout=0 "
    "-c default_transaction_read_only=off"
)
# A role, a database or the owner's own options may limit sessions, and a snapshot takes its time. A
# server knows only the limits of its own version, and refuses a session that names another one.
_UNTIMED: Final = (
    "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN"
    " ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_session_timeout',"
    " 'idle_in_transaction_session_timeout')"
)
_PARAMETERS: Final[Mapping[str, str]] = {
    "client_encoding": "UTF8",
    "application_name": "data-spine",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_TICK: Final = 0.1
_LOOK: Final = 1.0  # between looks at what a statement waits for
# A prepared transaction has no process and is number 0. Times are NULL for who may not see them.
_BLOCKERS: Final = """
SELECT 'process ' || pid || coalesce(' (' || nullif(application_name, '') || ')', ''),
       to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(%s))
UNION ALL
SELECT 'the prepared transaction ' || gid,
       to_char(prepared AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
FROM pg_prepared_xacts WHERE 0 = ANY (pg_blocking_pids(%s))
ORDER BY 2 NULLS LAST, 1 LIMIT 1
"""
# What libpq says when it cannot connect, by a pattern of its text: that text names host and user.
# A login may be put right at the server, so all of them but a missing right are worth a retry.
_LOGIN: Final = (UnavailableError, "cdc.login_refused")
_DATABASE: Final = (UnavailableError, "cdc.database_missing")
_BUSY: Final = (UnavailableError, "cdc.source_unavailable")
_REPLICATE: Final = (
    (InputError, "cdc.privilege"),
    "the role may not replicate",
    "Grant it: ALTER ROLE … REPLICATION.",
)
_REFUSALS: Final[tuple[tuple[str, tuple[tuple[type[DataSpineError], str], str, str]], ...]] = (
    (
        "password authentication failed",
        (
            _LOGIN,
            "user or password is wrong",
            "Correct them, at the server or in the connection string; that is read at the start.",
        ),
    ),
    (
        "no password supplied",
        (_LOGIN, "the server wants a password", "Write it into the connection string."),
    ),
    (
        "authentication failed",
        (_LOGIN, "the login was refused", "Check user, password and pg_hba.conf."),
    ),
    (
        "no pg_hba.conf entry|pg_hba.conf rejects",
        (
            _LOGIN,
            "pg_hba.conf does not let this client in",
            "Allow it there, then reload the server.",
        ),
    ),
    ("walsender|WAL sender", _REPLICATE),
    (
        "standby connections",
        (_BUSY, "the server has no free walsender", "Raise max_wal_senders."),
    ),
    (
        "is not permitted to log in",
        (_LOGIN, "the role may not log in", "Grant it: ALTER ROLE … LOGIN."),
    ),
    (
        'role ".*" does not exist',
        (_LOGIN, "the role does not exist", "Create it, or correct the connection string."),
    ),
    (
        'database ".*" does not exist',
        (_DATABASE, "the database does not exist", "Check the connection string."),
    ),
    (
        "too many",
        (_BUSY, "the server has no free connection", "Raise max_connections, or try again."),
    ),
)
_UNREACHED: Final = (
    _BUSY,
    "PostgreSQL cannot be reached",
    "Check that it runs and where, then try again.",
)
# By SQLSTATE; whatever else the server says is taken for passing trouble.
_FAILURES: Final[Mapping[str, tuple[type[DataSpineError], str, str]]] = {
    "42501": (
        InputError,
        "cdc.privilege",
        "The role needs REPLICATION, CREATE on the database, to own the tables, to see every row.",
    ),
    "42704": (
        NotFoundError,
        "cdc.slot_missing",
        "Destroy the route and start it again with a new snapshot.",
    ),
    "42P01": (NotFoundError, "cdc.table_missing", "Check the route's tables."),
    "42710": (
        ConflictError,
        "cdc.slot_exists",
        "Destroy the route, or give this one another name.",
    ),
    "55006": (UnavailableError, "cdc.slot_busy", "Stop the other reader of this slot."),
    "55000": (
        InputError,
        "cdc.slot_lost",
        "If the server gave up the slot, destroy the route and start it with a new snapshot.",
    ),
    "53100": (
        UnavailableError,
        "cdc.source_disk_full",
        "Free disk space at the source; the route tries again.",
    ),
    "53400": (UnavailableError, "cdc.slots_exhausted", "Raise max_replication_slots."),
}
_UNKNOWN: Final[tuple[type[DataSpineError], str, str]] = (
    UnavailableError,
    "cdc.source_unavailable",
    "Check that the server runs and look at its log; then try again.",
)


class Session:
    """A source's connections: one shared for questions, others on request.

    ``where`` names the source in errors.
    """

    def __init__(self, dsn: str, where: str) -> None:
        self._dsn = _dsn(dsn)
        self._where = where
        self._control: Connection | None = None
        self._lock = threading.Lock()

    def connect(self, *, replication: bool = False) -> Connection:
        """Open a connection in which every statement commits at once and none is timed out."""
        factory = LogicalReplicationConnection if replication else Connection
        connection: Connection | None = None
        try:
            connection = psycopg2.connect(self._dsn, connection_factory=factory)
            if not replication:
                connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(_UNTIMED)
        except psycopg2.Error as error:
            close(connection)
            if error.pgcode:
                raise self.failure(error, "set up a connection") from None
            raise self._refusal(str(error)) from None
        return connection

    def _refusal(self, text: str) -> DataSpineError:
        (kind, code), problem, remedy = next(
            (refusal for pattern, refusal in _REFUSALS if re.search(pattern, text)), _UNREACHED
        )
        return kind(problem, where=self._where, remedy=remedy, code=code)

    def query(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """Run a statement on the control connection, which is opened again when it broke."""
        with self._lock:
            if self._control is not None and not self._control.closed:
                try:
                    return _ask(self._control, statement, values)
                except psycopg2.Error as error:
                    if not self._control.closed:
                        raise self.failure(error, "ask the source") from None
            self._control = self.connect()
            try:
                return _ask(self._control, statement, values)
            except psycopg2.Error as error:
                raise self.failure(error, "ask the source") from None

    def patiently(
        self, connection: Connection, statement: str | sql.Composed, on_wait: OnWait
    ) -> list[tuple[object, ...]]:
        """Run a statement that may wait for others; return its rows.

        It runs in a thread of its own: inside the driver no signal would be heard.
        """
        rows: list[tuple[object, ...]] = []
        failure: list[BaseException] = []
        done = threading.Event()

        def run() -> None:
            try:
                with connection.cursor() as cursor:
                    cursor.execute(statement)
                    rows.extend(cursor.fetchall() if cursor.description else [])
            except BaseException as error:  # raised again in the waiting thread
                failure.append(error)
            done.set()

        wait = self.watched(connection, on_wait)
        threading.Thread(target=run, name="spine-statement", daemon=True).start()
        try:
            while not done.wait(_TICK):
                wait()
        finally:
            if not done.is_set():
                # The server would go on waiting for a client that is gone.
                self.query("SELECT pg_cancel_backend(%s)", (connection.info.backend_pid,))
                done.wait()
        if failure:
            raise failure[0]
        return rows

    def watched(self, connection: Connection, on_wait: OnWait) -> Callable[[], None]:
        """Return what to call while the connection is busy: it tells ``on_wait`` who blocks it."""
        pid = connection.info.backend_pid
        due = time.monotonic() + _LOOK
        blocker = ""

        def wait() -> None:
            nonlocal due, blocker
            if time.monotonic() >= due:
                blocker = self._blocker(pid)
                due = time.monotonic() + _LOOK
            on_wait(blocker)

        return wait

    def _blocker(self, pid: int) -> str:
        rows: list[tuple[object, ...]] = []
        with contextlib.suppress(DataSpineError):  # the statement itself says what is wrong
            rows = self.query(_BLOCKERS, (pid, pid))
        if not rows:
            return ""
        who, since = rows[0]
        return f"waits for a transaction at the source: {who}, open since {since or 'some time'}"

    def execute(self, what: str, statement: sql.Composed) -> None:
        """Run a statement without an answer on a connection of its own."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        except psycopg2.Error as error:
            raise self.failure(error, what) from None
        finally:
            close(connection)

    def failure(self, error: psycopg2.Error, what: str) -> DataSpineError:
        """Translate a server's answer; its primary message names objects, never the connection."""
        kind, code, remedy = _FAILURES.get(error.pgcode or "", _UNKNOWN)
        said = error.diag.message_primary if error.pgcode else "the connection was lost"
        return kind(f"cannot {what}: {said}", where=self._where, remedy=remedy, code=code)

    def close(self) -> None:
        """Close the shared connection; the next question opens it again."""
        with self._lock:
            close(self._control)
            self._control = None


def close(connection: Connection | None) -> None:
    """Close a connection, if it is one and open; what is closed any way does not complain."""
    if connection is not None and not connection.closed:
        with contextlib.suppress(psycopg2.Error):
            connection.close()


def _ask(
    connection: Connection, statement: str, values: tuple[object, ...]
) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def _dsn(dsn: str) -> str:
    """Add what every connection needs; what the owner wrote about the network stays."""
    try:
        given = parse_dsn(dsn)
    except psycopg2.ProgrammingError:
        raise InputError(
            "the connection string cannot be read",
            remedy="Write postgresql://user:password@host:port/database, or key=value pairs.",
            code="cdc.dsn_invalid",
        ) from None
    options = f"{given.pop('options', '')} {_OPTIONS}".strip()
    given.pop("client_encoding", None)
    return str(make_dsn(**{**_PARAMETERS, **given, "options": options}))
