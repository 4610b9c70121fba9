"""What a route did, added up, and the rows of each decision in a flush."""

from collections import Counter

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, create the table, and fill it from what was applied."""
    op.add_column("cdc_flushes", sa.Column("classes", sa.JSON, nullable=False, server_default="{}"))
    outcomes = op.create_table(
        "cdc_outcomes",
        sa.Column("route", sa.String(64), primary_key=True),
        sa.Column("sink", sa.String(64), primary_key=True),
        sa.Column("outcome", sa.String(16), primary_key=True),
        sa.Column("records", sa.BigInteger, nullable=False),
    )
    flushes = sa.table(
        "cdc_flushes", *map(sa.column, ("route", "sink", "state")), sa.column("counts", sa.JSON)
    )
    applied = sa.select(flushes).where(flushes.c.state == "applied")
    added: Counter[tuple[str, str, str]] = Counter()
    for flush in op.get_bind().execute(applied):
        added.update({(flush.route, flush.sink, word): n for word, n in flush.counts.items()})
    names = ("route", "sink", "outcome", "records")
    rows = [dict(zip(names, (*key, n), strict=True)) for key, n in sorted(added.items())]
    op.bulk_insert(outcomes, rows)


def downgrade() -> None:
    """Drop both."""
    op.drop_table("cdc_outcomes")
    op.drop_column("cdc_flushes", "classes")
