"""The tables of the outbox, its deliveries, and the lineage kept here."""

from __future__ import annotations

import sqlalchemy as sa

from dataspine.core.database import metadata

__all__ = [
    "aliases",
    "datasets",
    "deliveries",
    "edges",
    "events",
    "flushes",
    "jobs",
    "outbox",
    "receivers",
    "runs",
]

# Autoincrement: a discarded row's number must never be given again, because receivers keep marks.
outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("partition", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("flush_id", sa.Integer, nullable=True, index=True),
    sqlite_autoincrement=True,
)

# Everything up to ``settled_seq`` is delivered, dead or discarded at this receiver.
receivers = sa.Table(
    "outbox_receivers",
    metadata,
    sa.Column("receiver", sa.Text, primary_key=True),
    sa.Column("settled_seq", sa.Integer, nullable=False),
)

# What differs from the mark: settled above it, dead, or to be sent once more below it.
deliveries = sa.Table(
    "outbox_deliveries",
    metadata,
    sa.Column("receiver", sa.Text, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
)

# Owned by the CDC runner; only read here.
flushes = sa.table("cdc_flushes", sa.column("id", sa.Integer), sa.column("state", sa.Text))

events = sa.Table(
    "lineage_events",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("event_time", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=True, index=True),
    sa.Column("node", sa.Text, nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False),
)

jobs = sa.Table(
    "lineage_jobs",
    metadata,
    sa.Column("node", sa.Text, primary_key=True),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("facets", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Text, nullable=False, index=True),
)

datasets = sa.Table(
    "lineage_datasets",
    metadata,
    sa.Column("node", sa.Text, primary_key=True),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("facets", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Text, nullable=False, index=True),
)

runs = sa.Table(
    "lineage_runs",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("node", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("started_at", sa.Text, nullable=True),
    sa.Column("ended_at", sa.Text, nullable=True),
    sa.Column("updated_at", sa.Text, nullable=False),
    sa.Column("facets", sa.Text, nullable=False),
    sa.Index("ix_lineage_runs_node", "node", "updated_at"),
)

aliases = sa.Table(
    "lineage_aliases",
    metadata,
    sa.Column("alias", sa.Text, primary_key=True),
    sa.Column("node", sa.Text, nullable=False),
)

edges = sa.Table(
    "lineage_edges",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("masked", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Text, nullable=False),
    sa.Index("ix_lineage_edges_target", "target"),
)
