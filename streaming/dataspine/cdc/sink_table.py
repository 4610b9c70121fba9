"""What DuckDB makes of a source's table: names, types, and casts that never raise."""

from __future__ import annotations

import re

from dataspine.cdc.event import Relation
from dataspine.core.errors import InputError

__all__ = [
    "MAX_DIGITS",
    "RESERVED",
    "SINK_TYPES",
    "fold",
    "quoted",
    "require_names",
    "sink_type",
    "tried",
]

RESERVED = "_spine"
SINK_TYPES = {
    "int2": "SMALLINT",
    "int4": "INTEGER",
    "int8": "BIGINT",
    "bool": "BOOLEAN",
    "float4": "REAL",
    "float8": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
    "uuid": "UUID",
    "bytea": "BLOB",
}
MAX_DIGITS = 38
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)\Z")


def sink_type(kind: str) -> str:
    """Return DuckDB's type for PostgreSQL's; what has no equal there keeps its text."""
    numeric = _NUMERIC.match(kind)
    if numeric and int(numeric[2]) <= int(numeric[1]) <= MAX_DIGITS:
        return f"DECIMAL({numeric[1]},{numeric[2]})"
    return SINK_TYPES.get(kind.partition("(")[0], "VARCHAR")


def tried(text: str, kind: str) -> str:
    """Return the expression of a staged text as a value of the type; NULL when it cannot be one."""
    if kind == "VARCHAR":
        return text
    if kind == "BLOB":
        return f"CASE WHEN starts_with({text}, '\\x') THEN TRY(unhex(substring({text}, 3))) END"
    if kind == "TIMESTAMP":
        # DuckDB takes the BC of PostgreSQL's text for a time zone, and the year for one AD.
        return f"CASE WHEN NOT suffix({text}, 'BC') THEN TRY_CAST({text} AS {kind}) END"
    return f"TRY_CAST({text} AS {kind})"


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def fold(name: str) -> str:
    """Return what DuckDB compares names by: it ignores the case of ASCII letters alone."""
    return "".join(c.lower() if c.isascii() else c for c in name)


def require_names(relation: Relation, where: str) -> None:
    """Raise ``InputError`` for names of a table that a sink cannot have."""
    seen: dict[str, str] = {}
    for name in (relation.name, *(column.name for column in relation.columns)):
        if fold(name).startswith(RESERVED):
            raise InputError(
                f"the name {name!r} in the table {relation.namespace}.{relation.name} is reserved",
                where=where,
                remedy=f"Rename it at the source: a sink's own names begin with {RESERVED}.",
                code="cdc.name_reserved",
            )
    for column in relation.columns:
        other = seen.setdefault(fold(column.name), column.name)
        if other != column.name:
            raise InputError(
                f"the columns {other!r} and {column.name!r} of the table"
                f" {relation.namespace}.{relation.name} differ in case alone",
                where=where,
                remedy="Rename one at the source: names in a sink are equal whatever their case.",
                code="cdc.names_equal",
            )
