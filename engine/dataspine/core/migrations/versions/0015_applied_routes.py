"""What a route's file said when it was applied, and how its source numbered the columns then."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the columns; a route that was applied before has neither, and is applied again."""
    op.add_column("cdc_routes", sa.Column("document", sa.JSON))
    op.add_column("cdc_routes", sa.Column("columns", sa.JSON))
