"""The tables of this package; the migrations create the same ones."""

from __future__ import annotations

import sqlalchemy as sa

from dataspine.core.database import metadata

__all__ = [
    "decision_chunks",
    "decision_log",
    "discovery",
    "fleet_failures",
    "fleet_holds",
    "fleet_instances",
    "fleet_tokens",
    "flushes",
    "journal",
]

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
    sa.Column("verified", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("journal_point", "point", "id"),
    sa.Index("journal_name", "name", "id"),
    sa.Index("journal_flush", "flush_id"),
    sa.Index("journal_opa", "opa_decision_id"),
    sqlite_autoincrement=True,
)

# What OPA uploaded, as it came: a gzipped JSON array of events.
decision_chunks = sa.Table(
    "decision_chunks",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("instance", sa.Text, nullable=False),
    sa.Column("received_at", sa.Text, nullable=False),
    sa.Column("events", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)

# Where each decision stands in its chunk (and in its batch), and what it is looked up by.
decision_log = sa.Table(
    "decision_log",
    metadata,
    sa.Column("decision_id", sa.Text, primary_key=True),
    sa.Column("chunk", sa.Integer, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("item", sa.Integer),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("allow", sa.Boolean),
    sa.Column("codes", sa.Text),
    sa.Column("revision", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("clock", sa.Integer),
    sa.Index("decision_log_at", "at"),
    sa.Index("decision_log_name", "name", "at"),
)

fleet_tokens = sa.Table(
    "fleet_tokens",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("instance", sa.Text, nullable=False, unique=True),
    sa.Column("issued_at", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
)

fleet_instances = sa.Table(
    "fleet_instances",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("authenticated", sa.Boolean, primary_key=True),
    sa.Column("channel", sa.Text),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("version", sa.Text),
    sa.Column("process", sa.Text),
    sa.Column("served_etag", sa.Text),
    sa.Column("active_etag", sa.Text),
    sa.Column("revision", sa.Text),
    sa.Column("sequence", sa.Integer),
    sa.Column("activated_at", sa.Text),
    sa.Column("failed_etag", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("alarm", sa.Text),
    sa.Column("clock", sa.Integer),
    sa.Column("seen_at", sa.Text, nullable=False),
    sa.Column("reported_at", sa.Text),
    sa.Index("fleet_instances_seen", "authenticated", "seen_at"),
)

fleet_failures = sa.Table(
    "fleet_failures",
    metadata,
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("etag", sa.Text, primary_key=True),
    sa.Column("instance", sa.Text, primary_key=True),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
)

fleet_holds = sa.Table(
    "fleet_holds",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("etag", sa.Text, nullable=False),
    sa.Column("revision", sa.Text, nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("held_at", sa.Text, nullable=False),
    sa.Column("released_at", sa.Text),
    sa.Column("released_by", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Index("fleet_holds_channel", "channel", "etag"),
    sqlite_autoincrement=True,
)

discovery = sa.Table(
    "discovery",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("published_at", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("bundle", sa.LargeBinary, nullable=False),
    sa.Index("discovery_published", "published_at"),
)

# Owned by the change-data-capture package, a higher layer: only what visibility needs.
flushes = sa.table("cdc_flushes", sa.column("id", sa.Integer), sa.column("state", sa.Text))
