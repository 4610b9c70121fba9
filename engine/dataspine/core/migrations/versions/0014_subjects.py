"""List subjects from an index: their versions are large, and are not looked at."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Create the index."""
    op.create_index("schema_versions_kept", "schema_versions", ["subject", "deleted_at"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index("schema_versions_kept", "schema_versions")
