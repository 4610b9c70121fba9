"""The lineage outbox, its deliveries, and the lineage kept here."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables."""
    _outbox()
    _store()


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("partition", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("flush_id", sa.Integer, nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_flush_id", "outbox", ["flush_id"])
    op.create_table(
        "outbox_receivers",
        sa.Column("receiver", sa.Text, primary_key=True),
        sa.Column("settled_seq", sa.Integer, nullable=False),
    )
    op.create_table(
        "outbox_deliveries",
        sa.Column("receiver", sa.Text, primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
    )


def _store() -> None:
    op.create_table(
        "lineage_events",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("event_time", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=True),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("ix_lineage_events_run_id", "lineage_events", ["run_id"])
    op.create_index("ix_lineage_events_node", "lineage_events", ["node"])
    for name in ("lineage_jobs", "lineage_datasets"):
        op.create_table(
            name,
            sa.Column("node", sa.Text, primary_key=True),
            sa.Column("namespace", sa.Text, nullable=False),
            sa.Column("name", sa.Text, nullable=False),
            sa.Column("facets", sa.Text, nullable=False),
            sa.Column("updated_at", sa.Text, nullable=False),
        )
        op.create_index(f"ix_{name}_updated_at", name, ["updated_at"])
    op.create_table(
        "lineage_runs",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("started_at", sa.Text, nullable=True),
        sa.Column("ended_at", sa.Text, nullable=True),
        sa.Column("updated_at", sa.Text, nullable=False),
        sa.Column("facets", sa.Text, nullable=False),
    )
    op.create_index("ix_lineage_runs_node", "lineage_runs", ["node", "updated_at"])
    op.create_table(
        "lineage_aliases",
        sa.Column("alias", sa.Text, primary_key=True),
        sa.Column("node", sa.Text, nullable=False),
    )
    op.create_table(
        "lineage_edges",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("masked", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Text, nullable=False),
    )
    op.create_index("ix_lineage_edges_target", "lineage_edges", ["target"])


def downgrade() -> None:
    """Drop the tables."""
    for name in (
        "lineage_edges",
        "lineage_aliases",
        "lineage_runs",
        "lineage_datasets",
        "lineage_jobs",
        "lineage_events",
        "outbox_deliveries",
        "outbox_receivers",
        "outbox",
    ):
        op.drop_table(name)
