"""The migrations and the declared tables are the same tables."""

import json
from pathlib import Path

import sqlalchemy as sa

from dataspine.core.database import Database, metadata, upgrade
from dataspine.decisions import _tables
from dataspine.decisions.decision_log import DecisionLog

TABLES = sorted(set(_tables.__all__) - {"flushes"})


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
        for table in TABLES
    ]


def test_the_migrations_create_what_the_package_declares(tmp_path: Path) -> None:
    declared, migrated = (
        sa.create_engine(f"sqlite:///{tmp_path / name}") for name in ("declared", "migrated")
    )
    metadata.create_all(declared, tables=[metadata.tables[name] for name in TABLES])
    database = Database(tmp_path / "migrated")
    database.migrate()
    assert _shape(migrated) == _shape(declared)
    declared.dispose()
    migrated.dispose()
    database.close()


def test_what_was_logged_before_is_still_found(tmp_path: Path) -> None:
    event = {
        "decision_id": "d1",
        "timestamp": "2026-11-23T09:00:00.5Z",
        "path": "dataspine/main/schema_publish",
        "input": {"facts": {"name": "orders"}},
        "result": {"allow": False, "violations": [{"code": "pii.untagged_field"}]},
    }
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'spine.db'}")
    with engine.begin() as connection:
        upgrade(connection, "0006")
        connection.exec_driver_sql(
            "INSERT INTO decision_log (decision_id, at, path, revision, received_at, document)"
            " VALUES (?, ?, ?, 'r1', '2026-11-23T09:00:01Z', ?)",
            ("d1", event["timestamp"], event["path"], json.dumps(event)),
        )
    engine.dispose()
    database = Database(tmp_path / "spine.db")
    database.migrate()
    log = DecisionLog(database)
    (found,) = log.search()
    assert log.get("d1") == event
    assert (found.at, found.allow, found.codes, found.revision, found.name) == (
        "2026-11-23T09:00:00.500000000Z",
        False,
        ("pii.untagged_field",),
        "r1",
        "orders",
    )
    database.close()
