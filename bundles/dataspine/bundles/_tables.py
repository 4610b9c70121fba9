"""The tables of bundles."""

import sqlalchemy as sa

from dataspine.core.database import metadata

# A row without a revision is a reservation; `base` is what the channel served when it was made.
bundles = sa.Table(
    "bundles",
    metadata,
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("revision", sa.Text),
    sa.Column("actor", sa.Text),
    sa.Column("published_at", sa.Text),
    sa.Column("base", sa.Integer),
    sa.Column("key_id", sa.Text),
    sa.Column("origin", sa.JSON(none_as_null=True)),
    sa.Column("rollback", sa.JSON(none_as_null=True)),
    sa.UniqueConstraint("channel", "digest", "sequence"),
)

# What is served, byte by byte; written with the row that says so.
archives = sa.Table(
    "bundle_archives",
    metadata,
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

# An approval is of one step: from what the channel served (`base`, 0 for nothing) to a content.
approvals = sa.Table(
    "bundle_approvals",
    metadata,
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("base", sa.Integer, primary_key=True),
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("actor", sa.Text, primary_key=True),
    sa.Column("approved_at", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("verified", sa.Boolean, nullable=False, server_default=sa.false()),
)
