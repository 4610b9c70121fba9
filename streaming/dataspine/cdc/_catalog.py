"""PostgreSQL's catalog: what the named tables are, and which of their columns are the key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from dataspine.cdc.column_identity import Attribute
from dataspine.cdc.event import Column, Relation
from dataspine.cdc.pgoutput import type_name
from dataspine.core.errors import InputError, NotFoundError

__all__ = ["CatalogTable", "read_tables"]

_IDENTITIES = {"d": "default", "f": "full", "i": "index", "n": "nothing"}
_TABLE = """
SELECT c.oid, c.relkind::text, c.relpersistence::text, c.relreplident::text,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),
       pg_has_role(c.relowner, 'USAGE')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""
# Columns that an index merely includes are not part of the key.
_COLUMNS = """
SELECT a.attname, a.atttypid, a.atttypmod,
       coalesce(a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]), false),
       a.attnum, format_type(a.atttypid, a.atttypmod), a.attgenerated <> ''
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_index i ON i.indrelid = a.attrelid
     AND CASE WHEN c.relreplident = 'i' THEN i.indisreplident ELSE i.indisprimary END
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
# Since 18 a publication may send generated columns (`publish_generated_columns`). Ours does not,
# and such a server then refuses each UPDATE and DELETE whose replica identity has one. Before 18
# the identity simply arrives without it.
_STRICT: Final = 180_000


@dataclass(frozen=True, slots=True)
class CatalogTable:
    """A table that can be captured; ``partitioned`` ones are read and published by their root.

    ``attributes`` are name, number and type of each column: a rename keeps the number, and no
    number is ever given again.
    """

    relation: Relation
    partitioned: bool
    readable: bool
    owned: bool
    attributes: tuple[Attribute, ...]

    @property
    def label(self) -> str:
        """The name as a person writes it."""
        return f"{self.relation.namespace}.{self.relation.name}"

    @property
    def clause(self) -> sql.Composed:
        """The table in SQL: without the tables that inherit from it, as they are others' rows."""
        name = sql.Identifier(self.relation.namespace, self.relation.name)
        return sql.SQL("{}" if self.partitioned else "ONLY {}").format(name)

    @property
    def copy_statement(self) -> sql.Composed:
        """The statement that reads all rows as text."""
        columns = sql.SQL(", ").join(sql.Identifier(c.name) for c in self.relation.columns)
        return sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(columns, self.clause)


def read_tables(
    connection: Connection, names: Sequence[tuple[str, str]], source: str
) -> tuple[CatalogTable, ...]:
    """Describe the tables in the given order, or raise for the first that cannot be captured.

    ``source`` is whose tables they are, for errors.
    """
    return tuple(_read(connection, *name, source) for name in names)


def _read(connection: Connection, namespace: str, name: str, source: str) -> CatalogTable:
    label = f"{namespace}.{name}"
    where = f"{source}, table {label}"
    with connection.cursor() as cursor:
        cursor.execute(_TABLE, (namespace, name))
        found = cursor.fetchone()
        if found is None:
            raise NotFoundError(
                "the table does not exist",
                where=where,
                remedy="Check schema and name; they are case-sensitive.",
                code="cdc.table_missing",
            )
        oid, kind, persistence, identity, readable, owned = found
        if kind not in ("r", "p") or persistence != "p":
            raise InputError(
                "only permanent tables can be captured",
                where=where,
                remedy="Name a table that is neither a view nor foreign, unlogged or temporary.",
                code="cdc.table_unusable",
            )
        cursor.execute(_COLUMNS, (oid,))
        described = cursor.fetchall()
    generated = [(column[0], column[3]) for column in described if column[-1]]
    strict = identity == "f" and connection.server_version >= _STRICT
    _require_plain_identity(label, where, generated, strict=strict)
    plain = [column[:-1] for column in described if not column[-1]]
    columns = tuple(Column(n, type_name(t, m), key) for n, t, m, key, _, _ in plain)
    if identity == "n" or not any(column.key for column in columns):
        raise InputError(
            "the table has no primary key or no replica identity",
            where=where,
            remedy=f"Add a primary key; if need be, ALTER TABLE {label} REPLICA IDENTITY DEFAULT.",
            code="cdc.no_key",
        )
    relation = Relation(oid, namespace, name, columns, _IDENTITIES[identity])
    attributes = tuple((name, number, kind) for name, _, _, _, number, kind in plain)
    return CatalogTable(relation, kind == "p", bool(readable), bool(owned), attributes)


def _require_plain_identity(
    label: str, where: str, generated: Sequence[tuple[str, bool]], *, strict: bool
) -> None:
    """Refuse generated columns in the key, and, if ``strict``, anywhere in the table."""
    for name, key in sorted(generated, key=lambda column: not column[1]):
        if key:
            raise InputError(
                f"the generated column {name} is part of the key,"
                " and generated columns are not replicated",
                where=where,
                remedy=f"Name another key: ALTER TABLE {label} REPLICA IDENTITY USING INDEX one"
                " that is unique, not partial, and of NOT NULL columns that are not generated.",
                code="cdc.generated_identity",
            )
        if strict:
            raise InputError(
                "once published, each UPDATE and DELETE of the table would fail: its replica"
                f" identity FULL contains the generated column {name}",
                where=where,
                remedy=f"ALTER TABLE {label} REPLICA IDENTITY DEFAULT.",
                code="cdc.generated_identity",
            )
