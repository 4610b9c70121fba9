"""The tables of the dead-letter store, and how a file from before them becomes one.

Payloads stand in a table of their own that only grows: a row that is moved leaves its bytes behind
in the page, where no later deletion reaches them. So nothing there changes its size or goes away
before a purge, which writes the whole file anew.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time

__all__ = ["ERASE", "is_hashed_with", "prepare", "require_vacuum", "vacuum"]

_MIGRATED, _CURRENT = 2, 3

# In place, byte for byte: SQLite overwrites a value of the same length where it stands.
ERASE = "UPDATE payload SET payload = zeroblob(length(payload)) WHERE id"

_TABLES = """
CREATE TABLE dead_letter (
  id INTEGER PRIMARY KEY, route TEXT NOT NULL, source TEXT NOT NULL, sink TEXT NOT NULL,
  tbl TEXT NOT NULL, key_hash TEXT NOT NULL, hash_version INTEGER NOT NULL, lsn INTEGER NOT NULL,
  seq INTEGER NOT NULL, home TEXT, codes TEXT NOT NULL, decision_id TEXT NOT NULL,
  flush TEXT NOT NULL, superseded_by TEXT, state TEXT NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0, parked_at INTEGER NOT NULL,
  detail TEXT NOT NULL DEFAULT '',
  UNIQUE (route, sink, tbl, lsn, seq))
CREATE INDEX letter_of_key ON dead_letter (key_hash)
CREATE INDEX letter_parked ON dead_letter (route, sink, tbl) WHERE state = 'parked'
CREATE INDEX letter_superseded ON dead_letter (superseded_by) WHERE superseded_by IS NOT NULL
CREATE TABLE payload (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)
CREATE TABLE tombstone (
  route TEXT NOT NULL, sink TEXT NOT NULL, tbl TEXT NOT NULL, key_hash TEXT NOT NULL,
  hash_version INTEGER NOT NULL, lsn INTEGER NOT NULL, seq INTEGER NOT NULL, flush TEXT NOT NULL,
  buried_at INTEGER NOT NULL,
  PRIMARY KEY (route, sink, tbl, key_hash, lsn, seq)) WITHOUT ROWID
CREATE TABLE unsettled (flush TEXT PRIMARY KEY, route TEXT NOT NULL, first INTEGER NOT NULL)
  WITHOUT ROWID
"""

_NEWER = """
  SELECT 1 FROM old_letter n WHERE n.route = o.route AND n.sink = o.sink AND n.tbl = o.tbl
    AND n.key_hash = o.key_hash AND n.state <> 'pending' AND (n.lsn, n.seq) > (o.lsn, o.seq)
  UNION ALL
  SELECT 1 FROM old_tombstone t WHERE t.route = o.route AND t.sink = o.sink AND t.tbl = o.tbl
    AND t.key_hash IN (o.key_hash, '') AND t.state <> 'pending'
    AND (t.lsn, t.seq) > (o.lsn, o.seq)
"""
_MOVE = (
    "INSERT INTO unsettled SELECT flush, route, 0 FROM old_letter WHERE state = 'pending'"
    " UNION SELECT flush, route, 0 FROM old_tombstone WHERE state = 'pending'",
    "INSERT INTO dead_letter SELECT id, route, source, sink, tbl, key_hash, 1, lsn, seq, home,"  # noqa: S608 - constants
    " codes, decision_id, flush, NULL, CASE WHEN state = 'pending' THEN 'parked'"
    f" WHEN state = 'parked' AND EXISTS ({_NEWER}) THEN 'superseded' ELSE state END,"
    " attempt, parked_at, detail FROM old_letter o",
    "INSERT INTO payload SELECT o.id, CAST(o.payload AS BLOB) FROM old_letter o"
    " JOIN dead_letter d ON d.id = o.id WHERE d.state = 'parked' ORDER BY o.id",
    "INSERT INTO tombstone SELECT route, sink, tbl, key_hash, 1, lsn, seq, flush, ?"
    " FROM old_tombstone",
)


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables, or bring an older file to them: what was given up loses its payload."""
    if _version(connection) < _MIGRATED:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _version(connection) < _MIGRATED:
                _migrate(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    if _version(connection) == _MIGRATED:
        # Pages that were freed before still have their bytes. Whoever opens it next tries again.
        with contextlib.suppress(sqlite3.OperationalError):
            vacuum(connection)
    connection.execute("CREATE TABLE IF NOT EXISTS hash_key (fingerprint TEXT NOT NULL)")


def is_hashed_with(connection: sqlite3.Connection, fingerprint: str) -> bool:
    """Say whether the keys in the file are hashed with this key; the first one stays."""
    chosen = "SELECT fingerprint FROM hash_key"
    if not connection.execute(chosen).fetchone():
        connection.execute(
            f"INSERT INTO hash_key SELECT ? WHERE NOT EXISTS ({chosen})",
            (fingerprint,),
        )
    return bool(connection.execute(chosen).fetchone() == (fingerprint,))


def require_vacuum(connection: sqlite3.Connection) -> None:
    """Note, in the transaction that moves rows, that their old places are still to be wiped."""
    connection.execute(f"PRAGMA user_version = {_MIGRATED}")


def vacuum(connection: sqlite3.Connection) -> None:
    """Write the whole file anew, without what stood where no row is any more."""
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.execute(f"PRAGMA user_version = {_CURRENT}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _migrate(connection: sqlite3.Connection) -> None:
    now, version = int(time.time()), _CURRENT
    old = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'dead_letter'").fetchall()
    if old:
        version = _MIGRATED
        _extend(connection, now)
        for name in ("dead_letter", "tombstone"):
            connection.execute(f"ALTER TABLE {name} RENAME TO old_{name.removeprefix('dead_')}")
    for statement in _TABLES.strip().replace("\nCREATE", "\0CREATE").split("\0"):
        connection.execute(statement)
    if old:
        for statement in _MOVE:
            connection.execute(statement, (now,) if "?" in statement else ())
        connection.execute("DROP TABLE old_letter")
        connection.execute("DROP TABLE old_tombstone")
    connection.execute(f"PRAGMA user_version = {version}")


def _extend(connection: sqlite3.Connection, now: int) -> None:
    # Rows from before they were dated count their age from now.
    added = (f"parked_at INTEGER NOT NULL DEFAULT {now}", "detail TEXT NOT NULL DEFAULT ''")
    found = connection.execute("SELECT name FROM pragma_table_info('dead_letter')").fetchall()
    for column in added:
        if (column.partition(" ")[0],) not in found:
            connection.execute(f"ALTER TABLE dead_letter ADD COLUMN {column}")
