"""Dead letters: rows that the gate parked, kept in the source's region, and tombstones.

What a flush wrote is invisible until the sink has the flush. A row that is parked is the newest
version of its key: as soon as a newer one comes, in whatever way, the older one is *superseded*. A
payload stands there as long as its row is parked and not a moment longer; what is given up loses it
in the same transaction. A tombstone is the position at which a key (or, with no key, a whole table)
went away or was dropped; with it no replay brings back an older row.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from dataspine.cdc._letter import (
    LETTER,
    WHOLE,
    WHOLE_TABLE,
    Key,
    Letter,
    Parked,
    Position,
    Tombstone,
    Version,
    letter_of,
    state_of,
)
from dataspine.cdc._letter_purge import Purged, purge
from dataspine.cdc._letter_schema import ERASE, is_hashed_with, prepare, vacuum
from dataspine.cdc.key_hash import KEYED, KeyHasher, unkeyed_hash
from dataspine.core.errors import InputError, NotFoundError, UnavailableError

__all__ = ["WHOLE_TABLE", "DeadLetterStore", "Letter", "Parked", "Purged", "Tombstone", "Version"]

_BUSY_SECONDS = 5.0
_PAGE = 500
_MAX_ID = 2**63 - 1
_TRUNCATE_SECONDS = 1.0
_SETTLED = "flush NOT IN (SELECT flush FROM unsettled)"
_OF_TABLE = "route = ? AND sink = ? AND tbl = ?"
# The planner takes the index with the most columns; the one of the key alone finds one row.
_AND_OF_TABLE = "AND +route = ? AND +sink = ? AND +tbl = ?"


class DeadLetterStore:
    """``.spine/dead-letter/<region>.db`` of one route.

    One connection; writes happen between ``begin`` and ``commit`` and are durable after it. Raises
    ``UnavailableError`` when the file is locked, full or unreadable. Whoever looks keys up needs
    ``hasher``; lists do without.
    """

    def __init__(self, path: Path, route: str, hasher: KeyHasher | None = None) -> None:
        self.path = path
        self.route = route
        self._hasher = hasher
        self._next_id = 0
        self._has_erased = True  # also what another process erased, and died
        self._truncated = float("-inf")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._translated():
            self._connection = sqlite3.connect(
                path, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False
            )
            # Statement journals and the copy of a VACUUM would be files elsewhere.
            for pragma in (
                *("journal_mode=WAL", "synchronous=FULL"),
                *("secure_delete=ON", "temp_store=MEMORY"),
            ):
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
            prepare(self._connection)
            is_known = hasher is None or is_hashed_with(self._connection, hasher.fingerprint)
            self._has_unkeyed = self._exists("hash_version < ?", KEYED)
        path.chmod(0o600)
        if not is_known:
            self.close()
            raise InputError(
                "the keys in the dead letters were hashed with another key than this one",
                where=str(path),
                remedy="Bring the former key back. If it is lost, destroy the routes that park "
                "here, remove this file, then apply and run them: a snapshot parks rows anew.",
                code="cdc.letter_key",
            )

    @classmethod
    def existing(cls, path: Path, route: str) -> Self | None:
        """Open the store when there is one: whoever only looks makes no file."""
        return cls(path, route) if path.exists() else None

    def close(self) -> None:
        """Close the file; an open transaction is lost."""
        self._connection.close()

    def begin(self) -> None:
        """Start a write transaction."""
        self._run("BEGIN IMMEDIATE")
        self._next_id = 0

    def commit(self) -> None:
        """Make it durable."""
        self._run("COMMIT")

    def rollback(self) -> None:
        """Forget it; without a transaction nothing happens."""
        if self._connection.in_transaction:
            self._run("ROLLBACK")

    # -- what a flush writes -----------------------------------------------------------------

    def key_hash(self, sink: str, table: str, key: Key) -> str:
        """Return what stands for a key."""
        if self._hasher is None:
            raise ValueError("the store was opened without a hasher")
        return self._hasher(sink, table, key)

    def park(self, rows: Sequence[Parked]) -> None:
        """Write pending rows; at a position that is there already, the new row stays."""
        if not rows:
            return
        self._open(rows[0].flush)
        numbered = list(enumerate(rows, self._next_id))
        self._next_id += len(numbered)
        with self._translated():
            added = self._connection.executemany(
                "INSERT OR IGNORE INTO dead_letter (id, route, hash_version, source, sink, tbl,"
                " key_hash, lsn, seq, home, codes, decision_id, flush, parked_at, detail, state)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (number, self.route, KEYED, *row[:9], *row[10:], state_of(row))
                    for number, row in numbered
                ),
            ).rowcount
            if added < len(numbered):
                self._replace(numbered)
            self._connection.executemany(
                "INSERT INTO payload (id, payload) VALUES (?, ?)",
                ((number, row.payload.encode()) for number, row in numbered if row.payload),
            )

    def _replace(self, numbered: Sequence[tuple[int, Parked]]) -> None:
        # A source that was built anew can come to a position that it had before.
        for number, row in numbered:
            at = (self.route, row.sink, row.table, row.lsn, row.seq)
            where = f"{_OF_TABLE} AND lsn = ? AND seq = ? AND id < ?"
            self._run(f"{ERASE} IN (SELECT id FROM dead_letter WHERE {where})", (*at, number))  # noqa: S608 - constants
            self._run(
                "UPDATE dead_letter SET id = ?, key_hash = ?, hash_version = ?, home = ?,"  # noqa: S608 - constants
                " codes = ?, decision_id = ?, flush = ?, superseded_by = NULL, state = ?,"
                f" attempt = 0, parked_at = ?, detail = ? WHERE {where}",
                (
                    *(number, row.key_hash, KEYED, row.home, row.codes, row.decision_id),
                    *(row.flush, state_of(row), row.parked_at, row.detail),
                    *(*at, number),
                ),
            )
            self._has_erased = True

    def bury(self, stones: Sequence[Tombstone]) -> None:
        """Write pending tombstones; whatever is parked of a whole table is superseded."""
        if not stones:
            return
        self._open(stones[0].flush)
        with self._translated():
            self._connection.executemany(
                "INSERT OR REPLACE INTO tombstone (route, hash_version, sink, tbl, key_hash, lsn,"
                " seq, flush, buried_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ((self.route, KEYED, *stone) for stone in stones),
            )
        for stone in stones:
            if stone.key_hash == WHOLE_TABLE:
                self._run(
                    "UPDATE dead_letter SET superseded_by = ?"  # noqa: S608 - constants
                    f" WHERE {_OF_TABLE} AND state = 'parked'",
                    (stone.flush, self.route, stone.sink, stone.table),
                )

    def supersede(
        self, sink: str, table: str, versions: Iterable[tuple[Key, Position]], flush: str
    ) -> None:
        """Give up, once the flush is settled, what is parked of keys that have a newer version."""
        if not self._run(
            f"SELECT 1 FROM dead_letter WHERE {_OF_TABLE} AND state = 'parked' LIMIT 1",  # noqa: S608 - constants
            (self.route, sink, table),
        ):
            return
        self._open(flush)
        with self._translated():
            self._connection.executemany(
                "UPDATE dead_letter SET superseded_by = ? WHERE key_hash IN (?, ?)"  # noqa: S608 - constants
                f" AND (lsn, seq) < (?, ?) {_AND_OF_TABLE} AND state = 'parked'",
                (
                    (flush, *self._hashes(sink, table, key), *at, self.route, sink, table)
                    for key, at in versions
                ),
            )

    def version(self, sink: str, table: str, key: Key) -> Version:
        """Return the newest version of a key, what the open transaction wrote included.

        Rows that were given up or replayed count: something newer than an old row stays newer.
        """
        hashes, of = self._hashes(sink, table, key), (self.route, sink, table)
        rows = self._run(
            "SELECT lsn, seq, flush IN (SELECT flush FROM unsettled), id,"  # noqa: S608 - constants
            " state = 'parked' AND superseded_by IS NULL"
            f" FROM dead_letter WHERE key_hash IN (?, ?) {_AND_OF_TABLE}"
            " UNION ALL SELECT lsn, seq, flush IN (SELECT flush FROM unsettled), 0, 0"
            f" FROM tombstone WHERE {_OF_TABLE} AND key_hash IN (?, ?, '')",
            (*hashes, *of, *of, *hashes),
        )
        if not rows:
            return Version((-1, -1), is_pending=False, payload=None)
        lsn, seq, _, letter_id, is_parked = max(rows)
        payload = self._payload(letter_id) if is_parked else None
        position = (int(str(lsn)), int(str(seq)))
        return Version(position, any(row[2] for row in rows), payload)

    def _payload(self, letter_id: object) -> dict[str, str | None]:
        rows = self._run("SELECT payload FROM payload WHERE id = ?", (letter_id,))
        found: dict[str, str | None] = json.loads(bytes(rows[0][0]))  # type: ignore[call-overload] # a blob
        return found

    def settle(self, flush: str) -> None:
        """Make a flush's rows visible: the sink has it.

        What it superseded loses its payload. After a snapshot, positions of an earlier life of the
        source mean nothing any more: its tombstones go, and what was given up has no key.
        """
        with self._transaction():
            superseded = "SELECT id FROM dead_letter WHERE superseded_by = ?"
            self._run(f"{ERASE} IN ({superseded})", (flush,))
            given_up = self._count(
                "UPDATE dead_letter SET superseded_by = NULL,"
                " state = iif(state = 'parked', 'superseded', state) WHERE superseded_by = ?",
                (flush,),
            )
            for sink, table in self._run(
                "SELECT sink, tbl FROM tombstone WHERE flush = ? AND key_hash = '' AND seq < 0"
                " AND flush IN (SELECT flush FROM unsettled)",
                (flush,),
            ):
                of = (self.route, sink, table, flush)
                self._run(f"DELETE FROM tombstone WHERE {_OF_TABLE} AND flush <> ?", of)  # noqa: S608 - constants
                self._run(
                    f"UPDATE dead_letter SET key_hash = '', hash_version = 2 WHERE {_OF_TABLE}"  # noqa: S608 - constants
                    " AND flush <> ? AND state <> 'parked'",
                    of,
                )
            self._run("DELETE FROM unsettled WHERE flush = ?", (flush,))
        self._has_erased |= given_up > 0

    def forget(self, flush: str) -> None:
        """Remove a flush's rows: the sink never had it."""
        with self._transaction():
            first = self._run("SELECT first FROM unsettled WHERE flush = ?", (flush,))
            if not first:
                return
            of = (first[0][0], flush)
            mine = "id >= ? AND flush = ?"
            self._run(f"{ERASE} IN (SELECT id FROM dead_letter WHERE {mine})", of)  # noqa: S608 - constants
            self._run(f"DELETE FROM dead_letter WHERE {mine}", of)  # noqa: S608 - constants
            self._run("DELETE FROM tombstone WHERE flush = ?", (flush,))
            self._run(
                "UPDATE dead_letter SET superseded_by = NULL WHERE superseded_by = ?", (flush,)
            )
            self._run("DELETE FROM unsettled WHERE flush = ?", (flush,))
        self._has_erased = True

    def pending(self) -> set[str]:
        """Return the flushes of this route that are neither settled nor forgotten."""
        rows = self._run("SELECT flush FROM unsettled WHERE route = ?", (self.route,))
        return {str(row[0]) for row in rows}

    def truncate_log(self, *, wait: bool = False) -> None:
        """Take what was erased out of the write-ahead log too, at most once a second.

        With ``wait`` it is done when this returns, or ``UnavailableError`` says that it is not.
        """
        now = time.monotonic()
        if not wait and (not self._has_erased or now - self._truncated < _TRUNCATE_SECONDS):
            return
        self._truncated = now
        self._run(f"PRAGMA busy_timeout = {round(_BUSY_SECONDS * 1000) if wait else 0}")
        try:
            is_busy = self._run("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]
        finally:
            self._run(f"PRAGMA busy_timeout = {round(_BUSY_SECONDS * 1000)}")
        self._has_erased = bool(is_busy)
        if wait and is_busy:
            raise UnavailableError(
                "what was erased still stands in the write-ahead log",
                where=f"{self.path}-wal",
                remedy="Another process reads the dead letters; do the same again.",
                code="cdc.erasure_unfinished",
            )

    def _open(self, flush: str) -> None:
        """Note that a flush has rows here; number them after everything that ever had a payload."""
        if not self._next_id:
            newest = self._run(
                "SELECT max(ifnull((SELECT max(id) FROM dead_letter), 0),"
                " ifnull((SELECT max(id) FROM payload), 0))"
            )
            self._next_id = int(str(newest[0][0])) + 1
        self._run(
            "INSERT OR IGNORE INTO unsettled VALUES (?, ?, ?)", (flush, self.route, self._next_id)
        )

    def _hashes(self, sink: str, table: str, key: Key) -> tuple[str, str]:
        keyed = self.key_hash(sink, table, key)
        return keyed, unkeyed_hash(key) if self._has_unkeyed else keyed

    # -- what replay and people need ---------------------------------------------------------

    def letters(
        self,
        *,
        state: str = "parked",
        sink: str | None = None,
        table: str | None = None,
        code: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> list[Letter]:
        """List at most 500 rows of a state, oldest first, without payloads; None means any.

        ``after`` continues a list: only rows with a greater id.
        """
        rows = self._run(
            f"SELECT {LETTER} FROM dead_letter WHERE {_SETTLED} AND route = ?"  # noqa: S608 - constants
            " AND state = ? AND id > ?"
            " AND (? IS NULL OR sink = ?) AND (? IS NULL OR tbl = ?) AND (? IS NULL OR EXISTS"
            " (SELECT 1 FROM json_each(dead_letter.codes) WHERE json_each.value = ?))"
            " ORDER BY id LIMIT ?",
            (
                *(self.route, state, after, sink, sink, table, table, code, code),
                max(1, min(limit, _PAGE)),
            ),
        )
        return [letter_of(row) for row in rows]

    def show(self, letter_id: int) -> Letter:
        """Return one row, with its payload while it is parked; raise ``NotFoundError``."""
        rows = self._run(
            f"SELECT {WHOLE} FROM dead_letter d WHERE route = ? AND id = ? AND {_SETTLED}",  # noqa: S608 - constants
            (self.route, letter_id),
        )
        if not rows:
            raise NotFoundError(
                f"no dead letter {letter_id}",
                where=self.route,
                remedy="List them with `spine cdc dlq list`.",
            )
        return letter_of(rows[0])

    def discard(self, letter_id: int) -> None:
        """Give a parked row up for good: its payload is gone, from the log too, when this returns.

        Raises ``InputError`` when it is not parked.
        """
        if self.show(letter_id).state != "parked":
            raise InputError(
                f"dead letter {letter_id} is not parked",
                where=self.route,
                remedy="List them again.",
            )
        with self._transaction():
            self._run(f"{ERASE} = ?", (letter_id,))
            self._run(
                "UPDATE dead_letter SET state = 'discarded' WHERE id = ? AND state = 'parked'",
                (letter_id,),
            )
        self.truncate_log(wait=True)

    def purge(self, before: int, *, parked: bool = False, dry_run: bool = False) -> Purged:
        """Remove what was settled, and with ``parked`` also what was parked, before a time.

        What still keeps an older row away stays. The file is written anew; nothing is changed when
        ``dry_run``.
        """
        self.begin()
        try:
            with self._translated():
                purged = purge(self._connection, self.route, before, parked=parked)
        except BaseException:
            self.rollback()
            raise
        if dry_run:
            self.rollback()
            return purged
        self.commit()
        with self._translated():
            vacuum(self._connection)
        self.truncate_log(wait=True)
        self._has_unkeyed = self._exists("hash_version < ?", KEYED)
        return purged

    def counts(self) -> dict[str, int]:
        """Return how many rows each visible state has."""
        rows = self._run(
            f"SELECT state, count(*) FROM dead_letter WHERE route = ? AND {_SETTLED}"  # noqa: S608 - constants
            " GROUP BY state",
            (self.route,),
        )
        return {str(state): int(str(count)) for state, count in rows}

    def parked_by_sink(self) -> dict[str, tuple[int, int]]:
        """Return per sink how many rows are parked, and since when the oldest one is (seconds)."""
        rows = self._run(
            "SELECT p.sink, p.number, d.parked_at FROM (SELECT sink, count(*) number, min(id) first"  # noqa: S608 - constants
            f" FROM dead_letter WHERE route = ? AND state = 'parked' AND {_SETTLED}"
            " GROUP BY sink) p JOIN dead_letter d ON d.id = p.first",
            (self.route,),
        )
        return {str(sink): (int(str(number)), int(str(at))) for sink, number, at in rows}

    def keys(self, sink: str, table: str) -> list[str]:
        """Return the hashes of keys that have a parked row."""
        rows = self._run(
            f"SELECT DISTINCT key_hash FROM dead_letter WHERE {_OF_TABLE} AND state = 'parked'"  # noqa: S608 - constants
            f" AND {_SETTLED}",
            (self.route, sink, table),
        )
        return [str(row[0]) for row in rows]

    def parked_tables(self) -> list[tuple[str, str, str]]:
        """Return (source, sink, table) of everything parked."""
        rows = self._run(
            "SELECT DISTINCT source, sink, tbl FROM dead_letter"  # noqa: S608 - constants
            f" WHERE route = ? AND state = 'parked' AND {_SETTLED} ORDER BY 1, 2, 3",
            (self.route,),
        )
        return [(str(a), str(b), str(c)) for a, b, c in rows]

    def newest_id(self) -> int:
        """Return the greatest id that there is, 0 without one."""
        return int(str(self._run("SELECT ifnull(max(id), 0) FROM dead_letter")[0][0]))

    def parked(
        self, sink: str, table: str, *, after: int = 0, until: int = _MAX_ID, limit: int = _PAGE
    ) -> list[Letter]:
        """Return parked rows with payloads, oldest first; ``until`` is the last id that counts."""
        rows = self._run(
            f"SELECT {WHOLE} FROM dead_letter d WHERE {_OF_TABLE} AND state = 'parked'"  # noqa: S608 - constants
            f" AND {_SETTLED} AND id > ? AND id <= ? ORDER BY id LIMIT ?",
            (self.route, sink, table, after, until, limit),
        )
        return [letter_of(row) for row in rows]

    def mark(self, ids: Iterable[int], state: str) -> None:
        """Set the state of parked rows; what is not parked any more has no payload any more."""
        marked = list(ids)
        with self._translated():
            if state != "parked":
                self._connection.executemany(f"{ERASE} = ?", ((each,) for each in marked))
                self._has_erased |= bool(marked)
            self._connection.executemany(
                "UPDATE dead_letter SET state = ?, attempt = attempt + 1"
                " WHERE id = ? AND state = 'parked'",
                ((state, letter_id) for letter_id in marked),
            )

    def _exists(self, where: str, *values: object) -> bool:
        tables = ("dead_letter", "tombstone")
        return any(
            self._run(f"SELECT 1 FROM {table} WHERE {where} LIMIT 1", values)  # noqa: S608 - constants
            for table in tables
        )

    def _count(self, statement: str, values: tuple[object, ...]) -> int:
        with self._translated():
            return self._connection.execute(statement, values).rowcount

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self.begin()
        try:
            yield
        except BaseException:
            self.rollback()
            raise
        self.commit()

    def _run(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        with self._translated():
            return self._connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise UnavailableError(
                f"the dead-letter store: {error}",
                where=str(self.path),
                remedy="Nothing was lost; free the file or the disk and try again.",
                code="cdc.dead_letter_unavailable",
            ) from None
