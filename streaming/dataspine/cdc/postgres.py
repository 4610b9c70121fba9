"""PostgreSQL as a source: publication, slot, snapshot and stream.

A source hands out batches and takes back the position up to which they are safe at the sinks. The
connection string is a secret: no error or log shows any part of it.
"""

from __future__ import annotations

import re
import select
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class
from psycopg2.extras import ReplicationCursor

from dataspine.cdc._catalog import CatalogTable, read_tables
from dataspine.cdc._copy import copy_rows
from dataspine.cdc._session import OnWait, Session, close
from dataspine.cdc.event import HEARTBEAT, Batch, Change, Commit, Op, Relation, Row
from dataspine.cdc.pgoutput import Decoder
from dataspine.core.clock import utc_now
from dataspine.core.errors import (
    ConflictError,
    InputError,
    NotFoundError,
    UnavailableError,
)

__all__ = ["CatalogTable", "PostgresSource", "SlotState"]

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_OLDEST: Final = 140_000  # pgoutput sends logical messages since 14
_TICK: Final = 0.1
_ROUND_TRIPS: Final = 3  # the shortest one is the truest
_PATIENCE: Final = 10.0  # for another process to let go of the slot
_LOOK: Final = 0.02


def _patient(_blocker: str) -> None: ...


@dataclass(frozen=True, slots=True)
class SlotState:
    """How far the slot is: ``lag_bytes`` of WAL are kept for it, all of it if it is ``lost``."""

    confirmed_flush_lsn: int
    active: bool
    lag_bytes: int
    lost: bool


class PostgresSource:
    """Tables of one database, captured through one slot and one publication.

    ``tables`` are ``schema.table``, or ``table`` in schema public. All errors are
    ``DataSpineError`` with a remedy; ``UnavailableError`` means that a retry may help. ``label``
    names the source in them, in place of the slot. One thread streams and confirms; ``heartbeat``,
    ``slot_state`` and ``relations`` may run in another.
    """

    def __init__(
        self, dsn: str, tables: Sequence[str], slot: str, publication: str, label: str = ""
    ) -> None:
        for name in (slot, publication):
            if not _NAME.fullmatch(name):
                raise InputError(
                    "a slot or publication has an unusable name",
                    where=name[:80],
                    remedy="Use at most 63 lower-case letters, digits and _.",
                )
        if not tables or len(set(map(_split, tables))) != len(tables):
            raise InputError(
                "the source needs tables, each named once",
                where=label or slot,
                remedy="List them as schema.table.",
            )
        self._where = label or slot
        self._session = Session(dsn, self._where)
        self._names = tuple(map(_split, tables))
        self._slot = slot
        self._publication = publication
        self._exporter: Connection | None = None
        self._snapshot = ""
        self._point = 0
        self._published: object = None
        self._stream: Connection | None = None
        self._cursor: ReplicationCursor | None = None

    def __repr__(self) -> str:
        return f"PostgresSource(slot={self._slot!r}, publication={self._publication!r})"

    def relations(self) -> tuple[Relation, ...]:
        """Describe the tables as the catalog has them, in the order they were named.

        Raises ``NotFoundError`` for a missing table and ``InputError`` for one without a key.
        """
        return tuple(table.relation for table in self._tables())

    def tables(self) -> tuple[CatalogTable, ...]:
        """Describe the tables as ``relations`` does, with the numbers of their columns."""
        return self._tables()

    def check(self) -> tuple[CatalogTable, ...]:
        """Describe the tables, or say why ``prepare`` could not capture them; create nothing."""
        tables = self._tables()
        self._require_server(tables)
        # Only the server knows who may replicate: some hosts grant it by a role of their own. A
        # slot that exists is proof, and its stream may have the last connection.
        if self.slot_state() is None:
            close(self._session.connect(replication=True))
        return tables

    def prepare(self, on_wait: OnWait = _patient) -> int:
        """Create publication and slot; return the consistent point, where the snapshot stands.

        Keeps the snapshot open until ``snapshot`` ended. A slot waits for every transaction that
        is open: ``on_wait`` hears of it ten times a second, and may raise. On failure neither is
        left behind. Raises ``ConflictError`` when either exists: a finished snapshot streams on
        without ``prepare``, an unfinished one starts over after ``destroy``.
        """
        # 1. Everything that can be known beforehand.
        tables = self._tables()
        self._require_server(tables)
        self._require_new()
        # 2. The publication first: the slot's history must know it.
        self._published = None
        self._create_publication(tables, on_wait)
        # 3. The slot, whose connection exports the snapshot as long as it does nothing else.
        try:
            self._create_slot(on_wait)
        except BaseException:
            self._drop_publication()
            raise
        return self._point

    def snapshot(self, on_wait: OnWait = _patient) -> Iterator[Batch]:
        """Yield every row as the tables were at the consistent point; the last batch commits it.

        ``on_wait`` is called while no row comes, and may raise. Sequence numbers run through all
        tables. Needs ``prepare`` before it, on this object.
        """
        if self._exporter is None:
            raise ConflictError(
                "there is no snapshot to read",
                where=self._where,
                remedy="Destroy the slot and prepare it again.",
                code="cdc.snapshot_missing",
            )
        try:
            yield from _numbered(self._snapshot_rows(on_wait), self._point)
        finally:
            close(self._exporter)
            self._exporter = None

    def stream(self, start_lsn: int, *, tick: float = _TICK) -> Iterator[Batch | None]:
        """Yield what was committed after ``start_lsn``, for ever; None when ``tick`` s are idle.

        ``start_lsn`` is the consistent point or the ``end_lsn`` of the last transaction that is
        safe. Nothing before what was confirmed comes again. Raises ``UnavailableError`` when the
        server goes away: call it again to reconnect. Raises ``NotFoundError``, ``ConflictError`` or
        ``InputError`` when slot or publication are gone, changed or given up: start over.
        """
        decoder = Decoder(self.relations())
        self._require_publication()
        replaces = self._stream is not None
        self.disconnect()
        if replaces:
            self._await_release()
        connection = self._session.connect(replication=True)
        self._stream = connection
        try:
            cursor = self._start(connection, start_lsn)
            yield from _read(cursor, decoder, tick)
        except psycopg2.Error as error:
            raise self._session.failure(error, "read the stream") from None
        except InputError as error:  # the decoder does not know whose stream it reads
            error.where = self._where
            raise
        finally:
            # A generator that was left behind must not silence the stream that replaced it.
            if self._stream is connection:
                self._stream = self._cursor = None
            close(connection)

    def confirm(self, lsn: int) -> None:
        """Tell the server that everything up to ``lsn`` is safe, so it may forget it.

        Without a running stream nothing happens: the next one starts from the sink's position.
        """
        if self._cursor is None:
            return
        try:
            self._cursor.send_feedback(flush_lsn=lsn, force=True)  # type: ignore[no-untyped-call] # its stubs give no types here
        except psycopg2.Error as error:
            raise self._session.failure(error, "confirm a position") from None

    def heartbeat(self) -> None:
        """Write a message into the WAL; it arrives as a batch without changes."""
        self._session.query("SELECT pg_logical_emit_message(true, %s, '')::text", (HEARTBEAT,))

    def slot_state(self) -> SlotState | None:
        """Return the slot's state, or None when there is no such slot."""
        rows = self._session.query(
            "SELECT coalesce(confirmed_flush_lsn, '0/0') - '0/0'::pg_lsn, active,"
            " coalesce(pg_current_wal_lsn() - coalesce(restart_lsn, confirmed_flush_lsn), 0),"
            " coalesce(wal_status = 'lost', false)"
            " FROM pg_replication_slots WHERE slot_name = %s AND database = current_database()",
            (self._slot,),
        )
        if not rows:
            return None
        confirmed, active, lag, lost = rows[0]
        return SlotState(int(str(confirmed)), bool(active), max(0, int(str(lag))), bool(lost))

    def probe(self) -> SlotState:
        """Return the slot's state; raise when changes are, or will be, missed.

        ``NotFoundError`` (``cdc.slot_missing``): slot or publication are gone. ``InputError``
        (``cdc.slot_lost``): the server gave the slot up. ``ConflictError``
        (``cdc.publication_changed``): the publication no longer sends what the route needs.
        """
        state = self.slot_state()
        if state is None:
            raise NotFoundError(
                "the slot does not exist",
                where=self._where,
                remedy="Run the route: it starts over with a new snapshot.",
                code="cdc.slot_missing",
            )
        if state.lost:
            raise InputError(
                "the server gave the slot up",
                where=self._where,
                remedy="Raise max_slot_wal_keep_size; the route starts over with a new snapshot.",
                code="cdc.slot_lost",
            )
        self._require_publication()
        return state

    def clock_skew(self) -> float:
        """Return by how many seconds the server's clock is ahead, within half a round trip."""
        return min(self._round_trip() for _ in range(_ROUND_TRIPS))[1]

    def _round_trip(self) -> tuple[float, float]:
        before = time.time()
        ((server,),) = self._session.query("SELECT extract(epoch FROM clock_timestamp())::text")
        after = time.time()
        return after - before, float(str(server)) - (before + after) / 2

    def destroy(self) -> None:
        """Drop slot and publication, ending whoever reads the slot; a second call does nothing."""
        self.disconnect()
        self._drop_slot()
        self._drop_publication()

    def disconnect(self) -> None:
        """Close the stream and the snapshot; slot and publication stay."""
        for connection in (self._stream, self._exporter):
            close(connection)
        self._stream = self._exporter = self._cursor = None

    def close(self) -> None:
        """Close every connection."""
        self.disconnect()
        self._session.close()

    # -- the steps ---------------------------------------------------------------------------

    def _tables(self) -> tuple[CatalogTable, ...]:
        connection = self._session.connect()
        try:
            return read_tables(connection, self._names, self._where)
        except psycopg2.Error as error:
            raise self._session.failure(error, "read the catalog") from None
        finally:
            close(connection)

    def _require_server(self, tables: Sequence[CatalogTable]) -> None:
        ((level, version, creates),) = self._session.query(
            "SELECT current_setting('wal_level'), current_setting('server_version_num')::int,"
            " has_database_privilege(current_database(), 'CREATE')"
        )
        if int(str(version)) < _OLDEST:
            raise InputError(
                "PostgreSQL is older than 14",
                where=self._where,
                remedy="Upgrade the source to 14 or newer.",
                code="cdc.server_version",
            )
        if level != "logical":
            raise InputError(
                f"wal_level is {level}, and logical replication needs logical",
                where=self._where,
                remedy="ALTER SYSTEM SET wal_level = 'logical', then restart the server.",
                code="cdc.wal_level",
            )
        for table in tables:
            self._require_rights(table)
        if not creates:
            raise InputError(
                "the role may not create a publication",
                where=self._where,
                remedy="GRANT CREATE ON DATABASE … TO the role.",
                code="cdc.privilege",
            )

    def _require_rights(self, table: CatalogTable) -> None:
        if not table.readable:
            raise InputError(
                "the role may not read the table",
                where=f"{self._where}, table {table.label}",
                remedy=f"GRANT SELECT ON {table.label} to it.",
                code="cdc.privilege",
            )
        if not table.owned:
            raise InputError(
                "the role does not own the table, so it may not publish it",
                where=f"{self._where}, table {table.label}",
                remedy=f"ALTER TABLE {table.label} OWNER TO a role that it is a member of.",
                code="cdc.privilege",
            )

    def _require_new(self) -> None:
        ((publication, slot),) = self._session.query(
            "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = %s),"
            " EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %s)",
            (self._publication, self._slot),
        )
        if publication or slot:
            raise ConflictError(
                f"the {'publication' if publication else 'slot'}"
                f" {self._publication if publication else self._slot} exists",
                where=self._where,
                remedy="Destroy the route, or give this one another name.",
                code="cdc.slot_exists",
            )

    def _require_publication(self) -> None:
        """Refuse a publication that no longer sends everything: a gap would go unseen."""
        rows = self._session.query(
            "SELECT p.oid, p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate"
            " AND p.pubviaroot, n.nspname, c.relname FROM pg_publication p"
            " LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid"
            " LEFT JOIN pg_class c ON c.oid = r.prrelid"
            " LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = %s",
            (self._publication,),
        )
        if not rows:
            raise NotFoundError(
                "the publication does not exist",
                where=self._where,
                remedy="Destroy the route and start it again with a new snapshot.",
                code="cdc.slot_missing",
            )
        oid, whole = rows[0][:2]
        self._published = self._published or oid
        # Another object of the same name: what changed in between, nobody sent.
        changed = not whole or oid != self._published
        if changed or {row[2:] for row in rows} != set(self._names):
            raise ConflictError(
                "the publication no longer sends every change of the route's tables",
                where=self._where,
                remedy="Destroy the route and start it again with a new snapshot.",
                code="cdc.publication_changed",
            )

    def _create_publication(self, tables: Sequence[CatalogTable], on_wait: OnWait) -> None:
        connection = self._session.connect()
        statement = sql.SQL(
            "CREATE PUBLICATION {} FOR TABLE {} WITH "
            "(publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"
        ).format(
            sql.Identifier(self._publication), sql.SQL(", ").join(table.clause for table in tables)
        )
        try:
            self._session.patiently(connection, statement, on_wait)
        except psycopg2.Error as error:
            raise self._session.failure(error, "create the publication") from None
        finally:
            close(connection)

    def _create_slot(self, on_wait: OnWait) -> None:
        connection = self._session.connect(replication=True)
        statement = f'CREATE_REPLICATION_SLOT "{self._slot}" LOGICAL pgoutput EXPORT_SNAPSHOT'
        try:
            ((_, point, snapshot, _),) = self._session.patiently(connection, statement, on_wait)
        except psycopg2.Error as error:
            close(connection)
            raise self._session.failure(error, "create the slot") from None
        except BaseException:
            close(connection)
            raise
        if not snapshot:
            close(connection)
            raise UnavailableError(
                "the server exported no snapshot",
                where=self._where,
                remedy="Run the route again; see the server's log.",
            )
        self._exporter = connection
        self._point = _lsn(point)
        self._snapshot = str(snapshot)

    def _snapshot_rows(self, on_wait: OnWait) -> Iterator[tuple[Relation, list[Row]]]:
        connection = self._session.connect()
        try:
            connection.autocommit = False
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION SNAPSHOT %s", (self._snapshot,))
            wait = self._session.watched(connection, on_wait)
            for table in read_tables(connection, self._names, self._where):
                width = len(table.relation.columns)
                for rows in copy_rows(connection, table.copy_statement, width):
                    if rows:
                        yield table.relation, rows
                    else:
                        wait()
            connection.rollback()
        except psycopg2.Error as error:
            raise self._session.failure(error, "read the snapshot") from None
        finally:
            close(connection)

    def _start(self, connection: Connection, start_lsn: int) -> ReplicationCursor:
        cursor = connection.cursor(cursor_factory=ReplicationCursor)
        cursor.start_replication(
            slot_name=self._slot,
            start_lsn=start_lsn,
            decode=False,
            status_interval=10,
            options={
                "proto_version": "1",
                "publication_names": self._publication,
                "messages": "true",
            },
        )
        self._cursor = cursor
        return cursor

    def _await_release(self) -> None:
        """Wait until the server has seen that our earlier stream is closed."""
        deadline = time.monotonic() + _PATIENCE
        while (state := self.slot_state()) and state.active and time.monotonic() < deadline:
            time.sleep(_LOOK)

    def _drop_slot(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            rows = self._session.query(
                "SELECT database = current_database() AND plugin = 'pgoutput', active_pid"
                " FROM pg_replication_slots WHERE slot_name = %s",
                (self._slot,),
            )
            if not rows:
                return
            ours, pid = rows[0]
            if not ours:
                raise ConflictError(
                    f"the slot {self._slot} belongs to another database or plugin",
                    where=self._where,
                    remedy="Give the route another name.",
                    code="cdc.slot_foreign",
                )
            if pid is not None:
                self._session.query("SELECT pg_terminate_backend(%s, 2000)", (pid,))
            try:
                self._session.query("SELECT pg_drop_replication_slot(%s)::text", (self._slot,))
            except NotFoundError:
                return
            except UnavailableError:  # somebody took it again in between
                if time.monotonic() > deadline:
                    raise

    def _drop_publication(self) -> None:
        self._session.execute(
            "drop the publication",
            sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(self._publication)),
        )


def _read(cursor: ReplicationCursor, decoder: Decoder, tick: float) -> Iterator[Batch | None]:
    """Decode for ever; the driver answers keepalives while it reads."""
    waiter = select.poll()  # select() refuses descriptors above 1023
    waiter.register(cursor, select.POLLIN)
    milliseconds = max(1, int(tick * 1000))
    read, feed = cursor.read_message, decoder.feed
    while True:
        message = read()
        if message is None:
            if not waiter.poll(milliseconds):
                yield None
            continue
        batch = feed(message.payload)
        if batch is not None:
            yield batch


def _numbered(pieces: Iterator[tuple[Relation, list[Row]]], point: int) -> Iterator[Batch]:
    sequence = 0
    held: list[Change] = []
    for relation, rows in pieces:
        if held:
            yield Batch(point, held, None, snapshot=True)
        held = [Change(Op.INSERT, relation, row, None, n) for n, row in enumerate(rows, sequence)]
        sequence += len(held)
    yield Batch(point, held, Commit(point, point, utc_now().timestamp()), snapshot=True)


def _split(table: str) -> tuple[str, str]:
    namespace, dot, name = table.partition(".")
    return (namespace, name) if dot else ("public", namespace)


def _lsn(text: object) -> int:
    high, _, low = str(text).partition("/")
    return (int(high, 16) << 32) + int(low, 16)
