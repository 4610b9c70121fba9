"""The decision log in chunks as OPA sends them, the fleet of sidecars, and discovery."""

import gzip
import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

CHUNK = 1_000


def upgrade() -> None:
    """Create the tables, and move what was logged into chunks."""
    op.drop_index("decision_log_at", "decision_log")
    op.create_table(
        "decision_chunks",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("received_at", sa.Text, nullable=False),
        sa.Column("events", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "decision_log_index",
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
        sqlite_with_rowid=False,
    )
    _move(op.get_bind())
    op.drop_table("decision_log")
    op.rename_table("decision_log_index", "decision_log")
    op.create_index("decision_log_at", "decision_log", ["at"])
    op.create_index("decision_log_name", "decision_log", ["name", "at"])
    op.create_table(
        "fleet_tokens",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("instance", sa.Text, nullable=False, unique=True),
        sa.Column("issued_at", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
    )
    op.create_table(
        "fleet_instances",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("authenticated", sa.Boolean, primary_key=True),
        sa.Column("channel", sa.Text),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("version", sa.Text),
        sa.Column("process", sa.Text),
        sa.Column("served_etag", sa.Text),
        sa.Column("active_etag", sa.Text),
        sa.Column("revision", sa.Text),
        sa.Column("sequence", sa.Integer),
        sa.Column("activated_at", sa.Text),
        sa.Column("failed_etag", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("alarm", sa.Text),
        sa.Column("clock", sa.Integer),
        sa.Column("seen_at", sa.Text, nullable=False),
        sa.Column("reported_at", sa.Text),
    )
    op.create_index("fleet_instances_seen", "fleet_instances", ["authenticated", "seen_at"])
    op.create_table(
        "fleet_failures",
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("etag", sa.Text, primary_key=True),
        sa.Column("instance", sa.Text, primary_key=True),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
    )
    op.create_table(
        "fleet_holds",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("held_at", sa.Text, nullable=False),
        sa.Column("released_at", sa.Text),
        sa.Column("released_by", sa.Text),
        sa.Column("reason", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("fleet_holds_channel", "fleet_holds", ["channel", "etag"])
    op.create_table(
        "discovery",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("published_at", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("bundle", sa.LargeBinary, nullable=False),
    )
    op.create_index("discovery_published", "discovery", ["published_at"])


def _move(connection: sa.Connection) -> None:
    rows = connection.exec_driver_sql(
        "SELECT decision_id, at, path, revision, received_at, document FROM decision_log"
        " ORDER BY at"
    ).fetchall()
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        events = "[" + ",".join(row[5] for row in part) + "]"
        chunk = connection.exec_driver_sql(
            "INSERT INTO decision_chunks (instance, received_at, events) VALUES (?, ?, ?)",
            ("", part[-1][4], gzip.compress(events.encode(), mtime=0)),
        ).lastrowid
        for position, row in enumerate(part):
            _index(connection, chunk, position, row)


def _index(connection: sa.Connection, chunk: int | None, position: int, row: Any) -> None:
    decision_id, at, path, revision_, _, document = row
    event = json.loads(document)
    result = event.get("result")
    result = result if isinstance(result, dict) else {}
    found = result.get("violations")
    codes = [v["code"] for v in found or () if isinstance(v, dict) and "code" in v]
    asked = event.get("input")
    facts = asked.get("facts") if isinstance(asked, dict) else None
    name = facts.get("name") if isinstance(facts, dict) else None
    second, _, fraction = at.removesuffix("Z").partition(".")
    connection.exec_driver_sql(
        "INSERT INTO decision_log_index (decision_id, chunk, position, at, path, allow, codes,"
        " revision, name) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            decision_id,
            chunk,
            position,
            f"{second}.{fraction:0<9.9}Z",
            path,
            result.get("allow") if isinstance(result.get("allow"), bool) else None,
            f" {' '.join(map(str, codes))} " if codes else None,
            revision_,
            name if isinstance(name, str) else None,
        ),
    )
