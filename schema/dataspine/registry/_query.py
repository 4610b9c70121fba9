"""How versions are read from their tables."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from dataspine.registry._tables import schema_references, schema_versions, schemas
from dataspine.registry.contract import Contract
from dataspine.registry.version import Deleted, Version

__all__ = ["KEPT", "OF_SUBJECT", "ONE", "referring", "select_versions", "shown", "version_of"]


def select_versions() -> sa.Select[Any]:
    """Return the statement for the rows that ``version_of`` reads."""
    columns = schemas.c
    content = (columns.id, columns.type, columns.text, columns.digest, columns.identity)
    return sa.select(schema_versions, *content).join(
        schemas, schemas.c.id == schema_versions.c.schema_id
    )


# Made once: to build a statement takes longer than to run it.
OF_SUBJECT = schema_versions.c.subject == sa.bindparam("subject")
KEPT = schema_versions.c.deleted_at.is_(None)
ONE = select_versions().where(OF_SUBJECT, schema_versions.c.number == sa.bindparam("number"))


def shown(deleted: Deleted) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions of the versions that are shown."""
    return {"hidden": (KEPT,), "shown": (), "only": (~KEPT,)}[deleted]


def version_of(row: sa.RowMapping) -> Version:
    """Return the version that a row holds."""
    return Version(
        row["id"],
        row["subject"],
        row["number"],
        row["semver"],
        row["type"],
        row["text"],
        row["digest"],
        tuple(row["references"]),
        row["owner"],
        Contract(
            row["metadata"],
            {path: tuple(names) for path, names in (row["tags"] or {}).items()},
            tuple(row["sensitive"] or ()),
            row["rule_set"],
        ),
        tuple(row["fields"]),
        row["provenance"],
        row["decision_id"],
        row["published_at"],
        str(UUID(hex=row["identity"].removeprefix("sha256:")[:32])),
        row["deleted_at"] is not None,
    )


def referring(connection: sa.Connection, subject: str, number: int) -> list[Version]:
    """Return the versions, deleted ones left out, that refer to a version."""
    query = select_versions().join(
        schema_references,
        (schema_references.c.subject == schema_versions.c.subject)
        & (schema_references.c.number == schema_versions.c.number),
    )
    query = query.where(
        schema_references.c.to_subject == subject,
        schema_references.c.to_number == number,
        *shown("hidden"),
    ).order_by(schema_versions.c.subject, schema_versions.c.number)
    return [version_of(row) for row in connection.execute(query).mappings()]
