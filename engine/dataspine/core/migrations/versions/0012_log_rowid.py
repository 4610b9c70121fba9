"""Keep the logged decisions in the order in which they came.

Their ids are random: a table sorted by them is written all over with every chunk.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_COLUMNS = "decision_id, chunk, position, item, at, path, allow, codes, revision, name, clock"


def upgrade() -> None:
    """Copy the table into one that is sorted by its rows' numbers."""
    op.drop_index("decision_log_at", "decision_log")
    op.drop_index("decision_log_name", "decision_log")
    op.create_table(
        "decision_log_by_row",
        sa.Column("decision_id", sa.Text, primary_key=True),
        sa.Column("chunk", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("item", sa.Integer),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("allow", sa.Boolean),
        sa.Column("codes", sa.Text),
        sa.Column("revision", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("clock", sa.Integer),
    )
    op.execute(
        f"INSERT INTO decision_log_by_row ({_COLUMNS})"  # noqa: S608 - names of columns
        f" SELECT {_COLUMNS} FROM decision_log ORDER BY chunk, position, item"
    )
    op.drop_table("decision_log")
    op.rename_table("decision_log_by_row", "decision_log")
    op.create_index("decision_log_at", "decision_log", ["at"])
    op.create_index("decision_log_name", "decision_log", ["name", "at"])
