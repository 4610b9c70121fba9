"""The journal of asked decisions, and what OPA logged."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables of ``dataspine.decisions``."""
    op.create_table(
        "journal",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("decision_id", sa.Text, nullable=False, unique=True),
        sa.Column("point", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("input_digest", sa.Text, nullable=False),
        sa.Column("result_digest", sa.Text, nullable=False),
        sa.Column("allow", sa.Boolean, nullable=False),
        sa.Column("codes", sa.JSON, nullable=False),
        sa.Column("revision", sa.Text),
        sa.Column("sequence", sa.Integer),
        sa.Column("acted", sa.Boolean, nullable=False),
        sa.Column("opa_decision_id", sa.Text),
        sa.Column("class_count", sa.Integer, nullable=False),
        sa.Column("flush_id", sa.Integer),
        sa.Column("document", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("journal_point", "journal", ["point", "id"])
    op.create_index("journal_name", "journal", ["name", "id"])
    op.create_index("journal_flush", "journal", ["flush_id"])
    op.create_index("journal_opa", "journal", ["opa_decision_id"])
    op.create_table(
        "decision_log",
        sa.Column("decision_id", sa.Text, primary_key=True),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("revision", sa.Text),
        sa.Column("input_digest", sa.Text),
        sa.Column("received_at", sa.Text, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
    )
    op.create_index("decision_log_at", "decision_log", ["at"])
