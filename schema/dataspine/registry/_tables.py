"""The registry's tables."""

from __future__ import annotations

import sqlalchemy as sa

from dataspine.core.database import metadata

__all__ = ["schema_versions", "schemas"]

schemas = sa.Table(
    "schemas",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("identity", sa.Text, nullable=False, unique=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sqlite_autoincrement=True,  # an id is never given to another schema
)

schema_versions = sa.Table(
    "schema_versions",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("schema_id", sa.Integer, sa.ForeignKey("schemas.id"), nullable=False),
    sa.Column("semver", sa.Text, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("references", sa.JSON, nullable=False),
    sa.Column("fields", sa.JSON, nullable=False),
    sa.Column("provenance", sa.JSON, nullable=False),
    sa.Column("decision_id", sa.Text),
    sa.Column("published_at", sa.Text, nullable=False),
    sa.Index("schema_versions_schema_id", "schema_id"),
)
