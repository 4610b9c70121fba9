"""Who approved that a channel goes from one bundle to another."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "bundle_approvals",
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("base", sa.Integer, primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("actor", sa.Text, primary_key=True),
        sa.Column("approved_at", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
    )
