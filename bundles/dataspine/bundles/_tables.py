"""The tables of bundles."""

import sqlalchemy as sa

from dataspine.core.database import metadata

bundles = sa.Table(
    "bundles",
    metadata,
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("revision", sa.Text),
    sa.Column("actor", sa.Text),
    sa.Column("published_at", sa.Text),
    sa.UniqueConstraint("channel", "digest", "sequence"),
)
