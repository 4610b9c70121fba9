"""Keep the bytes of bundles in the database, where every replica finds them."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create the table, and take over the files that lie beside SQLite's own."""
    archives = op.create_table(
        "bundle_archives",
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return  # it never had files
    database = connection.exec_driver_sql("PRAGMA database_list").first()
    folder = Path(database.file).parent / "bundles" if database is not None else Path()
    bundles = sa.table("bundles", *map(sa.column, ("channel", "sequence", "revision")))
    published = sa.select(bundles).where(bundles.c.revision.is_not(None))
    for channel, sequence, _ in connection.execute(published).all():
        path = folder / f"{channel}-{sequence}.tar.gz"
        if path.is_file():  # else it was lost before
            row = {"channel": channel, "sequence": sequence, "data": path.read_bytes()}
            connection.execute(archives.insert(), row)
