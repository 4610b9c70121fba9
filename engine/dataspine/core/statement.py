"""The few statements that SQLite and PostgreSQL say differently, each said here once."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

__all__ = ["add_new", "continue_after", "offset_of", "upsert"]

_PAGE = 1_000


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    rows: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    key: tuple[str, ...],
    change: Iterable[str] = (),
    add: Iterable[str] = (),
) -> None:
    """Insert rows; of one whose ``key`` is there, set the columns ``change`` and raise ``add``.

    Without either, what is there stays as it is. No two rows of one call have the same key, unless
    nothing is changed.
    """
    kind = connection.dialect.name
    connection.execute(_upsert(kind, table, key, tuple(change), tuple(add)), rows)


# Made once: to build a statement takes longer than to run it.
@functools.lru_cache(maxsize=256)
def _upsert(
    kind: str, table: sa.Table, key: tuple[str, ...], change: tuple[str, ...], add: tuple[str, ...]
) -> sa.Insert:
    adding = import_module(f"sqlalchemy.dialects.{kind}").insert(table)
    if not change and not add:
        return adding.on_conflict_do_nothing(index_elements=key)  # type: ignore[no-any-return] # the dialect's own, found by name
    told = {name: adding.excluded[name] for name in change}
    told |= {name: table.c[name] + adding.excluded[name] for name in add}
    return adding.on_conflict_do_update(  # type: ignore[no-any-return] # the dialect's own, found by name
        index_elements=key, set_=told
    )


def add_new(
    connection: sa.Connection,
    table: sa.Table,
    columns: tuple[str, ...],
    rows: Iterable[tuple[Any, ...]],
) -> int:
    """Insert rows that are not there yet, as the driver takes them; return how many.

    They are taken some at a time, as they come.
    """
    names = ", ".join(columns)
    added, coming = 0, iter(rows)
    is_sqlite = connection.dialect.name == "sqlite"
    begin = "INSERT OR IGNORE" if is_sqlite else "INSERT"
    marks = f"({', '.join(['?' if is_sqlite else '%s'] * len(columns))})"
    statement = f"{begin} INTO {table.name} ({names}) VALUES {{}}"
    while part := list(itertools.islice(coming, _PAGE)):
        if is_sqlite:
            added += connection.exec_driver_sql(statement.format(marks), part).rowcount
            continue
        several = statement.format(", ".join([marks] * len(part))) + " ON CONFLICT DO NOTHING"
        values = tuple(value for row in part for value in row)
        added += connection.exec_driver_sql(several, values).rowcount
    return added


def continue_after(connection: sa.Connection, table: sa.Table, column: str) -> None:
    """Let given numbers go on after the greatest one, which the caller has chosen."""
    if connection.dialect.name == "postgresql":
        sequence = sa.func.pg_get_serial_sequence(table.name, column)
        greatest = sa.select(sa.func.max(table.c[column])).scalar_subquery()
        connection.execute(sa.select(sa.func.setval(sequence, greatest)))


class offset_of(FunctionElement[int]):  # noqa: N801 - it reads as a function of SQL
    """``offset_of(text, part)``: where a part of a text begins, 0 when it is not there."""

    type = sa.Integer()
    inherit_cache = True


@compiles(offset_of, "sqlite")
def _in_sqlite(element: offset_of, compiler: sa.Compiled, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)})"


@compiles(offset_of, "postgresql")
def _in_postgresql(element: offset_of, compiler: sa.Compiled, **options: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **options)})"
