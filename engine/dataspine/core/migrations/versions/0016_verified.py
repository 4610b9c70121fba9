"""Record whether a token proved who acted: of what is there already, nobody knows."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_TABLES = ("journal", "bundle_approvals")


def upgrade() -> None:
    """Add the columns."""
    for table in _TABLES:
        verified = sa.Column("verified", sa.Boolean, nullable=False, server_default=sa.false())
        op.add_column(table, verified)


def downgrade() -> None:
    """Drop them."""
    for table in _TABLES:
        op.drop_column(table, "verified")
