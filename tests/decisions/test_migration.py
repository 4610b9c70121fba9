"""The migration and the declared tables are the same tables."""

import runpy
from pathlib import Path

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

from dataspine.core import __file__ as core
from dataspine.decisions._tables import decision_log, journal

MIGRATION = Path(core).parent / "migrations" / "versions" / "0001_decisions.py"


def _shape(engine: sa.Engine) -> list[object]:
    inspector = sa.inspect(engine)
    return [
        (
            table,
            [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)],
            inspector.get_pk_constraint(table)["constrained_columns"],
            sorted(str(i["column_names"]) for i in inspector.get_unique_constraints(table)),
            sorted((str(i["name"]), str(i["column_names"])) for i in inspector.get_indexes(table)),
        )
        for table in ("decision_log", "journal")
    ]


def test_the_migration_creates_what_the_package_declares() -> None:
    declared, migrated = (sa.create_engine("sqlite://") for _ in range(2))
    for table in (journal, decision_log):
        table.create(declared)
    with migrated.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        runpy.run_path(str(MIGRATION))["upgrade"]()
    assert _shape(migrated) == _shape(declared)
    declared.dispose()
    migrated.dispose()
