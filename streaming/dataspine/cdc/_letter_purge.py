"""Old rows of the dead-letter store go for good, except what still keeps an older row away."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass

from dataspine.cdc._letter_schema import ERASE, require_vacuum

__all__ = ["Purged", "purge"]

# By now nothing older is parked where something newer is. Should it be after all, the newer stays,
# and where rows of both kinds of hashes meet, nobody can say.
_SETTLED = "flush NOT IN (SELECT flush FROM unsettled)"
_NEEDED = """
  EXISTS (SELECT 1 FROM dead_letter p WHERE p.key_hash = o.key_hash AND p.state = 'parked'
    AND +p.route = o.route AND +p.sink = o.sink AND +p.tbl = o.tbl
    AND (p.lsn, p.seq) < (o.lsn, o.seq))
  OR (o.hash_version > 1 AND (o.route, o.sink, o.tbl) IN
    (SELECT route, sink, tbl FROM dead_letter WHERE state = 'parked' AND hash_version = 1))
"""
_NEEDED_STONE = f"""{_NEEDED}
  OR o.key_hash = '' AND EXISTS (SELECT 1 FROM dead_letter p WHERE p.route = o.route
    AND p.sink = o.sink AND p.tbl = o.tbl AND p.state = 'parked'
    AND (p.lsn, p.seq) < (o.lsn, o.seq))
"""  # noqa: S608 - constants
_LETTERS = f"""
  SELECT id FROM dead_letter o WHERE route = ? AND parked_at < ? AND superseded_by IS NULL
    AND {_SETTLED} AND (CASE WHEN state = 'parked' THEN ? ELSE NOT ({_NEEDED}) END)
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Purged:
    """How many rows went, or would go: letters by state, and tombstones."""

    letters: dict[str, int]
    tombstones: int


def purge(connection: sqlite3.Connection, route: str, before: int, *, parked: bool) -> Purged:
    """Remove what is older than a time, in the caller's transaction; the file needs a VACUUM then.

    ``parked`` takes what is still parked too.
    """
    old = (route, before, parked)
    states = connection.execute(
        f"SELECT state FROM dead_letter WHERE id IN ({_LETTERS})",  # noqa: S608 - constants
        old,
    )
    counts = dict(sorted(Counter(str(row[0]) for row in states).items()))
    # The newest number stays taken: nobody may meet another row under a number that he noted.
    connection.execute(
        "INSERT OR IGNORE INTO payload SELECT max(id), x'' FROM dead_letter HAVING max(id) > 0"
    )
    connection.execute(f"{ERASE} IN ({_LETTERS})", old)
    connection.execute(f"DELETE FROM dead_letter WHERE id IN ({_LETTERS})", old)  # noqa: S608 - constants
    stones = connection.execute(
        f"DELETE FROM tombstone AS o WHERE route = ? AND buried_at < ? AND {_SETTLED}"  # noqa: S608 - constants
        f" AND NOT ({_NEEDED_STONE})",
        (route, before),
    ).rowcount
    connection.execute(
        "DELETE FROM payload WHERE id < (SELECT max(id) FROM payload)"
        " AND id NOT IN (SELECT id FROM dead_letter WHERE state = 'parked')"
    )
    require_vacuum(connection)
    return Purged(counts, stones)
