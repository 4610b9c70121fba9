"""The tables of this package; migration 0001 creates the same ones."""

from __future__ import annotations

import sqlalchemy as sa

from dataspine.core.database import metadata

__all__ = ["decision_log", "flushes", "journal"]

journal = sa.Table(
    "journal",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("decision_id", sa.Text, nullable=False, unique=True),
    sa.Column("point", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("input_digest", sa.Text, nullable=False),
    sa.Column("result_digest", sa.Text, nullable=False),
    sa.Column("allow", sa.Boolean, nullable=False),
    sa.Column("codes", sa.JSON, nullable=False),
    sa.Column("revision", sa.Text),
    sa.Column("sequence", sa.Integer),
    sa.Column("acted", sa.Boolean, nullable=False),
    sa.Column("opa_decision_id", sa.Text),
    sa.Column("class_count", sa.Integer, nullable=False),
    sa.Column("flush_id", sa.Integer),
    sa.Column("document", sa.JSON, nullable=False),
    sa.Index("journal_point", "point", "id"),
    sa.Index("journal_name", "name", "id"),
    sa.Index("journal_flush", "flush_id"),
    sa.Index("journal_opa", "opa_decision_id"),
    sqlite_autoincrement=True,
)

decision_log = sa.Table(
    "decision_log",
    metadata,
    sa.Column("decision_id", sa.Text, primary_key=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("revision", sa.Text),
    sa.Column("input_digest", sa.Text),
    sa.Column("received_at", sa.Text, nullable=False),
    sa.Column("document", sa.JSON, nullable=False),
    sa.Index("decision_log_at", "at"),
)

# Owned by the change-data-capture package, a higher layer: only what visibility needs.
flushes = sa.table("cdc_flushes", sa.column("id", sa.Integer), sa.column("state", sa.Text))
