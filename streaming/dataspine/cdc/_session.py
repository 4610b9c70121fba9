"""Connections to a source, and its refusals in our words.

The connection string is a secret: no error shows any part of it, and neither does what libpq says
when it cannot connect, so that text is only searched, never passed on.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
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

__all__ = ["Session", "close"]

# Values travel as text: these settings make the text the same whatever the server's defaults are.
# With row security off a hidden row is an error, not a row that silently stays behind.
_OPTIONS: Final = (
    "-c datestyle=ISO -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=1 "
    "-c bytea_output=hex -c row_security=off -c search_path=pg_catalog -c statement_timeout=0 "
    "-c idle_in_transaction_session_timeout=0"
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
# What libpq says when it cannot connect, by a part of its text: that text names host and user.
_REFUSALS: Final[tuple[tuple[str, str, str], ...]] = (
    ("authentication failed", "the login was refused", "Check user and password."),
    ("no password supplied", "the login was refused", "Check user and password."),
    ("no pg_hba.conf entry", "the login was refused", "Allow this client in pg_hba.conf."),
    (
        "walsender",
        "the role may not replicate",
        "Grant it: ALTER ROLE … REPLICATION.",
    ),
    (
        "WAL sender",
        "the role may not replicate",
        "Grant it: ALTER ROLE … REPLICATION.",
    ),
    ("standby connections", "the server has no free walsender", "Raise max_wal_senders."),
    ("does not exist", "the database or the role does not exist", "Check the connection string."),
    ("too many", "the server has no free connection", "Raise max_connections, or try again."),
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
        """Open a connection in which every statement commits at once."""
        try:
            if replication:
                return psycopg2.connect(self._dsn, connection_factory=LogicalReplicationConnection)
            connection = psycopg2.connect(self._dsn)
        except psycopg2.Error as error:
            raise self._refusal(str(error)) from None
        connection.autocommit = True
        return connection

    def _refusal(self, text: str) -> DataSpineError:
        problem, remedy = next(
            ((problem, remedy) for part, problem, remedy in _REFUSALS if part in text),
            ("PostgreSQL cannot be reached", "Check that it runs and where, then try again."),
        )
        return UnavailableError(
            problem, where=self._where, remedy=remedy, code="cdc.source_unavailable"
        )

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
    """Close a connection, if it is one and open."""
    if connection is not None and not connection.closed:
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
