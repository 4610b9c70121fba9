"""Who made a bundle and from what, by which key and on which order it was published."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the columns; what was published before keeps them empty."""
    op.add_column("bundles", sa.Column("base", sa.Integer))
    op.add_column("bundles", sa.Column("key_id", sa.Text))
    op.add_column("bundles", sa.Column("origin", sa.JSON))
    op.add_column("bundles", sa.Column("rollback", sa.JSON))
