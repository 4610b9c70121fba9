"""``types.md``: what each PostgreSQL type becomes in a DuckDB sink, from the tables that do it."""

from collections.abc import Iterator

from docs.generate.text import table

from dataspine.cdc.pgoutput import TYPES
from dataspine.cdc.sink_table import MAX_DIGITS, sink_type

__all__ = ["page"]

INTRODUCTION = """\
# Types

Generated from the sources by `make docs`: what a column of a PostgreSQL source becomes in a DuckDB
sink.

Values travel as PostgreSQL's text, and the sink casts them. A value that its type cannot hold parks
the row under `cdc.sink_rejected`, whose `detail` names the column; nothing is rounded, cut or left
out. A masked column is `VARCHAR`, whatever it was.
"""
NOTES = {
    "numeric": "",
    "date": "infinity and years after 9999 too; a date BC parks",
    "timestamp": "infinity too; BC, and what is after January 294247, parks",
    "timestamptz": "as `timestamp`; the sink keeps UTC",
    "time": "24:00:00 too",
    "float4": "NaN, infinities and -0 too",
    "float8": "NaN, infinities and -0 too",
    "bytea": "every byte",
    "bpchar": "with its padding",
    "json": "character for character",
    "jsonb": "as PostgreSQL writes it",
}
REST = """\
Every other type is `VARCHAR` with PostgreSQL's text, character for character: arrays, enums,
ranges, composites, `interval`, `timetz`, `money`, `oid`, `inet`, `cidr`, `macaddr`, `bit`,
`tsvector`, geometric types, and **domains**, also a domain over a type of the table above.

Not in the sink: stored generated columns, which the source does not send.

A column whose type changes at the source is changed at the sink too. Where the rows there cannot
take the new type, and from or to `bytea`, the route ends with `cdc.sink_type_changed`. What
PostgreSQL computes anew in old rows (`ALTER TYPE … USING`) it does not send.

Each table has `_spine_lsn` and `_spine_seq` besides, where in the source's log a row comes from,
and each file has `_spine`, how far the route is. Names that begin with `_spine` are refused, and so
are names in one table, or tables in one route, that differ in case alone.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([INTRODUCTION, *table(("PostgreSQL", "DuckDB", ""), _rows()), REST])


def _rows() -> Iterator[tuple[str, str, str]]:
    for name in sorted(TYPES.values()):
        if name != "numeric":
            yield f"`{name}`", f"`{sink_type(name)}`", NOTES.get(name, "")
            continue
        yield (
            "`numeric(p,s)`",
            f"`{sink_type('numeric(12,2)').replace('12,2', 'p,s')}`",
            f"p up to {MAX_DIGITS} and s from 0 to p; NaN parks",
        )
        yield "`numeric`", f"`{sink_type(name)}`", "without a scale, or with another one: as text"
