"""Whether a table's columns are the ones that were decided on, not others under their names."""

from __future__ import annotations

from collections.abc import Sequence

from dataspine.cdc.event import Relation
from dataspine.core.errors import ConflictError

__all__ = ["Attribute", "require_columns"]

# A column's name, its number in the catalog, and its type.
Attribute = tuple[str, int, str]


def require_columns(
    relation: Relation, applied: Sequence[Attribute], current: Sequence[Attribute], *, where: str
) -> None:
    """Raise ``ConflictError`` when a column has the name that another one had at ``apply``.

    The catalog alone is not enough: rows that are under way may be older than what it says now. In
    the stream columns stand by their numbers, so renamed ones stand elsewhere; and a column that
    was dropped to make room for a name is never in the catalog again.
    """
    for name in _moved(applied, current) or _misplaced(relation, applied, current):
        raise ConflictError(
            f"the column {name!r} is not the one that was decided on: columns were renamed",
            where=where,
            remedy="Destroy the route, apply it and run it again: it takes a new snapshot.",
            code="cdc.table_changed",
        )


def _moved(applied: Sequence[Attribute], current: Sequence[Attribute]) -> list[str]:
    """Return the names that the catalog gives to other columns, or that their columns lost."""
    numbers = {name: number for name, number, _ in current}
    kept = set(numbers.values())
    return [
        name
        for name, number, _ in applied
        if numbers.get(name, number) != number or (number in kept and name not in numbers)
    ]


def _misplaced(
    relation: Relation, applied: Sequence[Attribute], current: Sequence[Attribute]
) -> list[str]:
    """Return the names that stand where the stream would not send their columns."""
    names = [column.name for column in relation.columns]
    kept = {number for _, number, _ in current}
    position = 0
    for name, number, _ in applied:
        if names[position : position + 1] == [name]:
            position += 1
        elif number in kept and position < len(names):
            return [name]  # one that the rows end before was added after them
    # Added columns come last, and have names that were not decided on.
    return [name for name in names[position:] if name in {each[0] for each in applied}]
