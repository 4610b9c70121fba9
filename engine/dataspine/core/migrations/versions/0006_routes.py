"""Desired routes."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "cdc_routes",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("decision_id", sa.String(64), nullable=False),
        sa.Column("applied_at", sa.String(40), nullable=False),
        sa.Column("status", sa.JSON, nullable=False),
    )
