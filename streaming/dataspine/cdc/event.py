"""What a source hands to the gate: relations, changes and transactions.

Values travel as PostgreSQL's text form, as pgoutput and ``COPY`` send them; the sink casts whole
columns at once, which is faster than casting each value here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, NamedTuple

__all__ = [
    "HEARTBEAT",
    "UNCHANGED",
    "Batch",
    "Change",
    "Column",
    "Commit",
    "Op",
    "Relation",
    "Row",
    "Unchanged",
]

HEARTBEAT: Final = "spine.heartbeat"  # the prefix of the logical message that a route sends itself


class Op(StrEnum):
    """What happened to a row, or to all rows of a table."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"


class Unchanged(Enum):
    """The value was not sent because it did not change (a TOASTed column of an update)."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED

Row = tuple[str | Unchanged | None, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: ``type`` is PostgreSQL's name with its modifier (``int8``, ``numeric(12,2)``)."""

    name: str
    type: str
    key: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the stream describes it; a new description is a new object.

    ``identity`` is the replica identity: ``default``, ``full``, ``index`` or ``nothing``.
    """

    oid: int
    namespace: str
    name: str
    columns: tuple[Column, ...]
    identity: str

    @property
    def key_indexes(self) -> tuple[int, ...]:
        """Where the key columns stand in a row, in the table's order."""
        return tuple(i for i, column in enumerate(self.columns) if column.key)


class Change(NamedTuple):
    """One captured event.

    ``row`` is the new row (all columns, None for delete and truncate). ``old`` is what the stream
    sent of the old row: the whole row (identity full) or a row in which only key columns are set
    (key change, delete), else None. ``sequence`` counts the changes of its transaction from 0;
    snapshot rows share the snapshot's position.
    """

    op: Op
    relation: Relation
    row: Row | None
    old: Row | None
    sequence: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The end of a source transaction: positions as integers, time in seconds since the epoch."""

    lsn: int
    end_lsn: int
    committed_at: float


class Batch(NamedTuple):
    """A piece of one transaction, a few thousand changes; ``commit`` is set on its last piece.

    ``snapshot`` is true for rows of the initial snapshot, which carry no commit time worth
    measuring. ``begin_lsn`` is the transaction's final position as its Begin announced it: the
    position of every change in it. ``heartbeat`` is true for a transaction that a route sent itself
    to see that it still arrives.
    """

    begin_lsn: int
    changes: list[Change]
    commit: Commit | None
    snapshot: bool = False
    heartbeat: bool = False
