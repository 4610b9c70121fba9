"""What stock clients keep in a registry: contracts, deleted versions, references, settings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and tables, and index the references that are there."""
    for column in ("tags", "sensitive", "rule_set"):
        op.add_column("schema_versions", sa.Column(column, sa.JSON))
    op.add_column("schema_versions", sa.Column("deleted_at", sa.Text))
    references = op.create_table(
        "schema_references",
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("to_subject", sa.Text, primary_key=True),
        sa.Column("to_number", sa.Integer, primary_key=True, autoincrement=False),
    )
    op.create_index("schema_references_to", "schema_references", ["to_subject", "to_number"])
    op.create_table(
        "schema_settings",
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("level", sa.Text),
        sa.Column("mode", sa.Text),
        sa.Column("changed_at", sa.Text, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
    )
    op.create_table(
        "schema_removals",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("schema_id", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    versions = sa.table(
        "schema_versions",
        *map(sa.column, ("subject", "number")),
        sa.column("references", sa.JSON),
    )
    found = {
        (row.subject, row.number, each["subject"], each["version"])
        for row in op.get_bind().execute(sa.select(versions))
        for each in row.references
    }
    names = ("subject", "number", "to_subject", "to_number")
    op.bulk_insert(references, [dict(zip(names, each, strict=True)) for each in sorted(found)])


def downgrade() -> None:
    """Remove them."""
    op.drop_table("schema_removals")
    op.drop_table("schema_settings")
    op.drop_table("schema_references")
    for column in ("deleted_at", "rule_set", "sensitive", "tags"):
        op.drop_column("schema_versions", column)
