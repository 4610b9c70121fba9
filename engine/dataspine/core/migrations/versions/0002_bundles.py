"""The bundles of every channel."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "bundles",
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("sequence", sa.Integer, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("revision", sa.Text),
        sa.Column("actor", sa.Text),
        sa.Column("published_at", sa.Text),
        sa.UniqueConstraint("channel", "digest", "sequence"),
    )
