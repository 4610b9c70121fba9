"""The registry's tables."""

from __future__ import annotations

import sqlalchemy as sa

from dataspine.core.database import metadata

__all__ = ["schema_references", "schema_removals", "schema_settings", "schema_versions", "schemas"]

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
    sa.Column("tags", sa.JSON(none_as_null=True)),
    sa.Column("sensitive", sa.JSON(none_as_null=True)),
    sa.Column("rule_set", sa.JSON(none_as_null=True)),
    sa.Column("deleted_at", sa.Text),
    sa.Index("schema_versions_schema_id", "schema_id"),
    sa.Index("schema_versions_kept", "subject", "deleted_at"),
)

# Who refers to what, so that nothing that is referred to is deleted.
schema_references = sa.Table(
    "schema_references",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("to_subject", sa.Text, primary_key=True),
    sa.Column("to_number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Index("schema_references_to", "to_subject", "to_number"),
)

# The row of the subject "" holds for all that have no own.
schema_settings = sa.Table(
    "schema_settings",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("level", sa.Text),
    sa.Column("mode", sa.Text),
    sa.Column("changed_at", sa.Text, nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
)

# What was removed for good, so that every replica forgets it: a schema of one id never changes.
schema_removals = sa.Table(
    "schema_removals",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("schema_id", sa.Integer, nullable=False),
    sqlite_autoincrement=True,
)
