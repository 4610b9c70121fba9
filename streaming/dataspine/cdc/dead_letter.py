"""Dead letters: rows that the gate parked, kept in the source's region, and tombstones.

Rows of a flush are *pending*, and invisible, until the sink has the flush. A tombstone is the
position at which a key (or, with no key, a whole table) went away; with it no replay brings back an
older row.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

from dataspine.core.clock import rfc3339
from dataspine.core.errors import InputError, NotFoundError, UnavailableError

__all__ = ["WHOLE_TABLE", "DeadLetterStore", "Letter", "Parked", "Tombstone"]

WHOLE_TABLE = ""
_BUSY_SECONDS = 5.0
_PAGE = 500

_SCHEMA = """
CREATE TABLE IF NOT EXISTS dead_letter (
  id INTEGER PRIMARY KEY, route TEXT NOT NULL, source TEXT NOT NULL, sink TEXT NOT NULL,
  tbl TEXT NOT NULL, key_hash TEXT NOT NULL, lsn INTEGER NOT NULL, seq INTEGER NOT NULL, home TEXT,
  codes TEXT NOT NULL, decision_id TEXT NOT NULL, payload TEXT NOT NULL, flush TEXT NOT NULL,
  state TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, parked_at INTEGER NOT NULL,
  detail TEXT NOT NULL DEFAULT '',
  UNIQUE (route, sink, tbl, lsn, seq));
CREATE INDEX IF NOT EXISTS dead_letter_key ON dead_letter (route, sink, tbl, key_hash, lsn, seq);
CREATE INDEX IF NOT EXISTS dead_letter_flush ON dead_letter (flush) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS dead_letter_parked ON dead_letter (route, sink, tbl)
  WHERE state = 'parked';
CREATE TABLE IF NOT EXISTS tombstone (
  route TEXT NOT NULL, sink TEXT NOT NULL, tbl TEXT NOT NULL, key_hash TEXT NOT NULL,
  lsn INTEGER NOT NULL, seq INTEGER NOT NULL, flush TEXT NOT NULL, state TEXT NOT NULL,
  PRIMARY KEY (route, sink, tbl, key_hash, lsn, seq)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tombstone_flush ON tombstone (flush) WHERE state = 'pending';
"""

_LETTER = (
    "id, route, source, sink, tbl, lsn, seq, home, codes, decision_id, state, attempt, parked_at,"
    " detail"
)
_COLUMNS = _LETTER.count(",") + 1


class Parked(NamedTuple):
    """A row to park; ``payload`` is JSON text, ``parked_at`` seconds since the epoch.

    ``detail`` says what the codes leave open, such as the column, and never a value.
    """

    source: str
    sink: str
    table: str
    key_hash: str
    lsn: int
    seq: int
    home: str | None
    codes: str
    decision_id: str
    payload: str
    flush: str
    parked_at: int
    detail: str = ""


class Tombstone(NamedTuple):
    """A key that went away; ``key_hash`` is ``WHOLE_TABLE`` for all of them."""

    sink: str
    table: str
    key_hash: str
    lsn: int
    seq: int
    flush: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A parked row as it is listed; ``payload`` is set by ``show`` and by replay alone."""

    id: int
    route: str
    source: str
    sink: str
    table: str
    lsn: int
    seq: int
    home: str | None
    codes: tuple[str, ...]
    decision_id: str
    state: str
    attempt: int
    parked_at: int
    detail: str = ""
    key_hash: str = ""
    payload: str = ""

    def document(self) -> dict[str, object]:
        """Return it as JSON, without the payload."""
        return {
            "id": self.id,
            "route": self.route,
            "source": self.source,
            "sink": self.sink,
            "table": self.table,
            "lsn": self.lsn,
            "seq": self.seq,
            "home": self.home,
            "codes": list(self.codes),
            "decision_id": self.decision_id,
            "state": self.state,
            "attempt": self.attempt,
            "parked_at": rfc3339(datetime.fromtimestamp(self.parked_at, UTC)),
            "detail": self.detail,
        }


class DeadLetterStore:
    """``.spine/dead-letter/<region>.db`` of one route.

    One connection; writes happen between ``begin`` and ``commit`` and are durable after it. Raises
    ``UnavailableError`` when the file is locked, full or unreadable.
    """

    def __init__(self, path: Path, route: str) -> None:
        self.path = path
        self.route = route
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._translated():
            self._connection = sqlite3.connect(
                path, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False
            )
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
            self._connection.executescript(_SCHEMA)
            self._extend()
        path.chmod(0o600)

    @classmethod
    def existing(cls, path: Path, route: str) -> Self | None:
        """Open the store when there is one: whoever only looks makes no file."""
        return cls(path, route) if path.exists() else None

    def _extend(self) -> None:
        # A store from before rows were dated counts their age from its first opening.
        added = (
            f"parked_at INTEGER NOT NULL DEFAULT {int(time.time())}",
            "detail TEXT NOT NULL DEFAULT ''",
        )
        names = {
            str(row[0]) for row in self._run("SELECT name FROM pragma_table_info('dead_letter')")
        }
        for column in added:
            if column.partition(" ")[0] not in names:
                self._run(f"ALTER TABLE dead_letter ADD COLUMN {column}")

    def close(self) -> None:
        """Close the file; an open transaction is lost."""
        self._connection.close()

    def begin(self) -> None:
        """Start a write transaction."""
        self._run("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make it durable."""
        self._run("COMMIT")

    def rollback(self) -> None:
        """Forget it; without a transaction nothing happens."""
        if self._connection.in_transaction:
            self._run("ROLLBACK")

    # -- what a flush writes -----------------------------------------------------------------

    def park(self, rows: Iterable[Parked]) -> None:
        """Write pending rows; a row that is there already stays as it is."""
        with self._translated():
            self._connection.executemany(
                "INSERT OR IGNORE INTO dead_letter (route, source, sink, tbl, key_hash, lsn, seq,"
                " home, codes, decision_id, payload, flush, parked_at, detail, state)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending')",
                ((self.route, *row) for row in rows),
            )

    def bury(self, stones: Iterable[Tombstone]) -> None:
        """Write pending tombstones."""
        with self._translated():
            self._connection.executemany(
                "INSERT OR IGNORE INTO tombstone (route, sink, tbl, key_hash, lsn, seq, flush,"
                " state) VALUES (?, ?, ?, ?, ?, ?, ?, 'pending')",
                ((self.route, *stone) for stone in stones),
            )

    def latest(self, sink: str, table: str, key_hash: str) -> dict[str, str | None] | None:
        """Return the newest parked row of a key, rows of the open transaction included."""
        rows = self._run(
            "SELECT payload FROM dead_letter WHERE route = ? AND sink = ? AND tbl = ?"
            " AND key_hash = ? AND state IN ('parked', 'pending')"
            " ORDER BY lsn DESC, seq DESC LIMIT 1",
            (self.route, sink, table, key_hash),
        )
        if not rows:
            return None
        payload: dict[str, str | None] = json.loads(str(rows[0][0]))
        return payload

    def settle(self, flush: str) -> None:
        """Make a flush's rows visible: the sink has it.

        Rows parked before it emptied their table (TRUNCATE, a new snapshot) are given up: they are
        gone at the source, or are in the flush again.
        """
        with self._transaction():
            self._run(
                "UPDATE dead_letter SET state = 'discarded' WHERE state = 'parked' AND route = ?"
                " AND EXISTS (SELECT 1 FROM tombstone t WHERE t.flush = ? AND t.state = 'pending'"
                " AND t.key_hash = '' AND t.route = dead_letter.route"
                " AND t.sink = dead_letter.sink AND t.tbl = dead_letter.tbl"
                " AND (t.lsn, t.seq) > (dead_letter.lsn, dead_letter.seq))",
                (self.route, flush),
            )
            self._run(
                "UPDATE dead_letter SET state = 'parked' WHERE flush = ? AND state = 'pending'",
                (flush,),
            )
            self._run(
                "UPDATE tombstone SET state = 'applied' WHERE flush = ? AND state = 'pending'",
                (flush,),
            )

    def forget(self, flush: str) -> None:
        """Remove a flush's rows: the sink never had it."""
        with self._transaction():
            self._run("DELETE FROM dead_letter WHERE flush = ? AND state = 'pending'", (flush,))
            self._run("DELETE FROM tombstone WHERE flush = ? AND state = 'pending'", (flush,))

    def pending(self) -> set[str]:
        """Return the flushes of this route that are neither settled nor forgotten."""
        rows = self._run(
            "SELECT flush FROM dead_letter WHERE state = 'pending' AND route = ?"
            " UNION SELECT flush FROM tombstone WHERE state = 'pending' AND route = ?",
            (self.route, self.route),
        )
        return {str(row[0]) for row in rows}

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
            f"SELECT {_LETTER} FROM dead_letter WHERE route = ? AND state = ? AND id > ?"  # noqa: S608 - constants
            " AND (? IS NULL OR sink = ?) AND (? IS NULL OR tbl = ?) AND (? IS NULL OR EXISTS"
            " (SELECT 1 FROM json_each(dead_letter.codes) WHERE json_each.value = ?))"
            " ORDER BY id LIMIT ?",
            (
                *(self.route, state, after, sink, sink, table, table, code, code),
                max(1, min(limit, _PAGE)),
            ),
        )
        return [_letter(row) for row in rows]

    def show(self, letter_id: int) -> Letter:
        """Return one row with its payload; raise ``NotFoundError``."""
        rows = self._run(
            f"SELECT {_LETTER}, key_hash, payload FROM dead_letter WHERE route = ? AND id = ?"  # noqa: S608 - constants
            " AND state <> 'pending'",
            (self.route, letter_id),
        )
        if not rows:
            raise NotFoundError(
                f"no dead letter {letter_id}",
                where=self.route,
                remedy="List them with `spine cdc dlq list`.",
            )
        return _letter(rows[0])

    def discard(self, letter_id: int) -> None:
        """Give a parked row up for good; raise ``InputError`` when it is not parked."""
        if self.show(letter_id).state != "parked":
            raise InputError(
                f"dead letter {letter_id} is not parked",
                where=self.route,
                remedy="List them again.",
            )
        self._run("UPDATE dead_letter SET state = 'discarded' WHERE id = ?", (letter_id,))

    def counts(self) -> dict[str, int]:
        """Return how many rows each visible state has."""
        rows = self._run(
            "SELECT state, count(*) FROM dead_letter WHERE route = ? AND state <> 'pending'"
            " GROUP BY state",
            (self.route,),
        )
        return {str(state): int(str(count)) for state, count in rows}

    def parked_by_sink(self) -> dict[str, tuple[int, int]]:
        """Return per sink how many rows are parked, and since when the oldest one is (seconds)."""
        rows = self._run(
            "SELECT p.sink, p.number, d.parked_at FROM (SELECT sink, count(*) number, min(id) first"
            " FROM dead_letter WHERE route = ? AND state = 'parked' GROUP BY sink) p"
            " JOIN dead_letter d ON d.id = p.first",
            (self.route,),
        )
        return {str(sink): (int(str(number)), int(str(at))) for sink, number, at in rows}

    def keys(self, sink: str, table: str) -> list[str]:
        """Return the hashes of keys that have a parked row."""
        rows = self._run(
            "SELECT DISTINCT key_hash FROM dead_letter WHERE route = ? AND sink = ? AND tbl = ?"
            " AND state = 'parked'",
            (self.route, sink, table),
        )
        return [str(row[0]) for row in rows]

    def parked_tables(self) -> list[tuple[str, str, str]]:
        """Return (source, sink, table) of everything parked."""
        rows = self._run(
            "SELECT DISTINCT source, sink, tbl FROM dead_letter"
            " WHERE route = ? AND state = 'parked' ORDER BY 1, 2, 3",
            (self.route,),
        )
        return [(str(a), str(b), str(c)) for a, b, c in rows]

    def parked(self, sink: str, table: str, *, after: int = 0, limit: int = _PAGE) -> list[Letter]:
        """Return parked rows with payloads, oldest first."""
        rows = self._run(
            f"SELECT {_LETTER}, key_hash, payload FROM dead_letter WHERE route = ? AND sink = ?"  # noqa: S608 - constants
            " AND tbl = ? AND state = 'parked' AND id > ? ORDER BY id LIMIT ?",
            (self.route, sink, table, after, limit),
        )
        return [_letter(row) for row in rows]

    def newest(self, sink: str, table: str, key_hash: str) -> tuple[tuple[int, int], bool]:
        """Return a key's newest position here, and whether anything of it is still pending.

        Rows that were given up or replayed count: something newer than an old row stays newer.
        """
        where = "route = ? AND sink = ? AND tbl = ?"
        rows = self._run(
            f"SELECT lsn, seq, state = 'pending' FROM dead_letter WHERE {where} AND key_hash = ?"  # noqa: S608 - constants
            f" UNION ALL SELECT lsn, seq, state = 'pending' FROM tombstone WHERE {where}"
            " AND key_hash IN (?, '')",
            (self.route, sink, table, key_hash, self.route, sink, table, key_hash),
        )
        positions = [(int(str(lsn)), int(str(seq))) for lsn, seq, _ in rows]
        return max(positions, default=(-1, -1)), any(row[2] for row in rows)

    def mark(self, ids: Iterable[int], state: str) -> None:
        """Set the state of parked rows."""
        with self._translated():
            self._connection.executemany(
                "UPDATE dead_letter SET state = ?, attempt = attempt + 1"
                " WHERE id = ? AND state = 'parked'",
                ((state, letter_id) for letter_id in ids),
            )

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


def _letter(row: tuple[object, ...]) -> Letter:
    number, route, source, sink, table, lsn, seq, home, codes, decision, state, attempt, at = row[
        : _COLUMNS - 1
    ]
    detail = row[_COLUMNS - 1]
    key_hash, payload = row[_COLUMNS:] if len(row) > _COLUMNS else ("", "")
    return Letter(
        int(str(number)),
        str(route),
        str(source),
        str(sink),
        str(table),
        int(str(lsn)),
        int(str(seq)),
        None if home is None else str(home),
        tuple(json.loads(str(codes))),
        str(decision),
        str(state),
        int(str(attempt)),
        int(str(at)),
        str(detail),
        str(key_hash),
        str(payload),
    )
