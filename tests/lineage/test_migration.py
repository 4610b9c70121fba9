"""The migration and the declared tables agree."""

import importlib
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from tests.lineage.conftest import TABLES

from dataspine.core.database import metadata


def test_migration_makes_the_declared_tables(tmp_path: Path) -> None:
    migration = importlib.import_module("dataspine.core.migrations.versions.0003_lineage")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'spine.db'}")
    names = {table.name for table in TABLES}
    with engine.begin() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": lambda name, kind, _: kind != "table" or name in names},
        )
        with Operations.context(context):
            migration.upgrade()
        own = sa.MetaData()
        for name in names:
            metadata.tables[name].to_metadata(own)
        assert compare_metadata(context, own) == []
        with Operations.context(context):
            migration.downgrade()
        # SQLite keeps its own table of given numbers.
        assert sa.inspect(connection).get_table_names() == []
    engine.dispose()
