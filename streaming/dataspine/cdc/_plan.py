"""From captured changes to what one table of one sink gets, in columns where that is possible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from dataspine.cdc.duckdb_sink import Key
from dataspine.cdc.event import UNCHANGED, Batch, Change, Op, Relation, Row

__all__ = ["Entries", "Segment", "entries", "fill", "key_of", "segments"]

_RELATION = 1


@dataclass(slots=True)
class Segment:
    """Consecutive changes of one table under one description; a TRUNCATE stands alone."""

    relation: Relation
    changes: list[Change] = field(default_factory=list)
    lsns: list[int] = field(default_factory=list)
    truncate: bool = False


@dataclass(slots=True)
class Entries:
    """A segment as a list of puts and removals in order, both by key.

    ``rows`` holds None for a removal; ``events`` says which change an entry comes from. A key
    change is a removal and a put. ``origins`` names, for a row with unchanged columns, the key
    under which the sink has them.
    """

    keys: list[Key] = field(default_factory=list)
    rows: list[Row | None] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    origins: dict[int, Key] = field(default_factory=dict)


def segments(batches: Iterable[Batch]) -> list[Segment]:
    """Group changes by table, in order; tables do not depend on each other."""
    by_table: dict[str, list[Segment]] = {}
    for batch in batches:
        for relation, run in groupby(batch.changes, itemgetter(_RELATION)):
            _append(by_table.setdefault(relation.name, []), relation, list(run), batch.begin_lsn)
    return [segment for table in by_table.values() for segment in table]


def _append(found: list[Segment], relation: Relation, run: list[Change], lsn: int) -> None:
    for is_truncate, part in groupby(run, lambda change: change.op is Op.TRUNCATE):
        last = found[-1] if found else None
        if last is None or is_truncate or last.truncate or last.relation is not relation:
            last = Segment(relation, truncate=is_truncate)
            found.append(last)
        changes = list(part)
        last.changes += changes
        last.lsns += [lsn] * len(changes)


def key_of(relation: Relation, row: Row) -> Key:
    """Return a row's key."""
    return tuple(str(row[i]) for i in relation.key_indexes)


def fill(row: Row, other: Row) -> Row:
    """Return the row with its unchanged columns taken from another version of it."""
    return tuple(b if a is UNCHANGED else a for a, b in zip(row, other, strict=True))


def entries(segment: Segment) -> Entries:
    """Turn a segment into puts and removals; fill unchanged columns where this flush knows them."""
    changes, relation = segment.changes, segment.relation
    if all(change.op is Op.INSERT for change in changes):
        rows: list[Row | None] = [change.row for change in changes]
        columns = [[str(row[i]) for row in rows if row] for i in relation.key_indexes]
        keys: list[Key] = list(zip(*columns, strict=True))
        return Entries(keys, rows, list(range(len(rows))))
    result = Entries()
    for event, change in enumerate(changes):
        _enter(result, event, change, relation)
    if any(row is not None and UNCHANGED in row for row in result.rows):
        _resolve(result, changes)
    return result


def _enter(result: Entries, event: int, change: Change, relation: Relation) -> None:
    if change.row is None:
        if change.old is not None:
            _add(result, key_of(relation, change.old), None, event)
        return
    row = change.row
    if change.old is not None and change.op is Op.UPDATE:
        if relation.identity == "full":
            row = fill(row, change.old)
        old_key = key_of(relation, change.old)
        row = _with_key(relation, row, change.old)
        if old_key != key_of(relation, row):
            _add(result, old_key, None, event)
    _add(result, key_of(relation, row), row, event)


def _with_key(relation: Relation, row: Row, old: Row) -> Row:
    # A key column can itself be out of line; the old key has its value.
    if not any(row[i] is UNCHANGED for i in relation.key_indexes):
        return row
    keys = set(relation.key_indexes)
    return tuple(
        old[i] if i in keys and value is UNCHANGED else value for i, value in enumerate(row)
    )


def _add(result: Entries, key: Key, row: Row | None, event: int) -> None:
    result.keys.append(key)
    result.rows.append(row)
    result.events.append(event)


def _resolve(result: Entries, changes: Sequence[Change]) -> None:
    """Fill unchanged columns from earlier versions in this flush; note where the rest is."""
    known: dict[Key, tuple[Row, Key]] = {}
    moved: tuple[int, tuple[Row, Key] | None, Key] | None = None
    for index, (key, given, event) in enumerate(
        zip(result.keys, result.rows, result.events, strict=True)
    ):
        row = given
        if row is None:
            before = known.pop(key, None)
            moved = (event, before, key) if changes[event].op is Op.UPDATE else None
            continue
        source, origin = known.get(key), key
        if moved is not None and moved[0] == event:
            source, origin = moved[1], moved[2]
        if UNCHANGED in row:
            if source is not None:
                row = result.rows[index] = fill(row, source[0])
                origin = source[1]
            if UNCHANGED in row:
                result.origins[index] = origin
        known[key] = (row, origin)
