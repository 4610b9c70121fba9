"""What a route did, added up, and the rows of each decision in a flush."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, create the table, and fill it from what was applied."""
    op.add_column("cdc_flushes", sa.Column("classes", sa.JSON, nullable=False, server_default="{}"))
    op.create_table(
        "cdc_outcomes",
        sa.Column("route", sa.String(64), primary_key=True),
        sa.Column("sink", sa.String(64), primary_key=True),
        sa.Column("outcome", sa.String(16), primary_key=True),
        sa.Column("records", sa.BigInteger, nullable=False),
    )
    op.execute(
        "INSERT INTO cdc_outcomes SELECT f.route, f.sink, c.key, sum(c.value)"
        " FROM cdc_flushes f, json_each(f.counts) c WHERE f.state = 'applied'"
        " GROUP BY f.route, f.sink, c.key"
    )


def downgrade() -> None:
    """Drop both."""
    op.drop_table("cdc_outcomes")
    op.drop_column("cdc_flushes", "classes")
