"""Flushes of CDC routes."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the flush log."""
    op.create_table(
        "cdc_flushes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("uid", sa.String(32), nullable=False, unique=True),
        sa.Column("route", sa.String(64), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("sink", sa.String(64), nullable=False),
        sa.Column("end_lsn", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.String(200), nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.String(40), nullable=False),
    )
    op.create_index("ix_cdc_flushes_route", "cdc_flushes", ["route", "source", "sink", "state"])


def downgrade() -> None:
    """Drop the flush log."""
    op.drop_table("cdc_flushes")
