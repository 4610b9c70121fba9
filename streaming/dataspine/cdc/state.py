"""The desired routes of a workspace, and what each of them does now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dataspine.cdc._tables import outcomes
from dataspine.cdc.route import Route
from dataspine.core.clock import rfc3339
from dataspine.core.database import Database, metadata
from dataspine.core.errors import NotFoundError
from dataspine.core.statement import upsert

__all__ = ["RouteStore", "StoredRoute", "applied"]

routes = sa.Table(
    "cdc_routes",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("decision_id", sa.String(64), nullable=False),
    sa.Column("applied_at", sa.String(40), nullable=False),
    sa.Column("status", sa.JSON, nullable=False),
    sa.Column("document", sa.JSON(none_as_null=True)),
    sa.Column("columns", sa.JSON(none_as_null=True)),
)


@dataclass(frozen=True, slots=True)
class StoredRoute:
    """A route that was allowed: its file, the facts that were decided on, its last status.

    ``document`` is what the file said, ``columns`` how the source numbered and typed each table's
    columns, in its order: ``{table: [[name, attnum, type], …]}``. Both are None when an older
    version applied the route.
    """

    name: str
    path: Path
    facts: Mapping[str, Any]
    decision_id: str
    applied_at: str
    status: Mapping[str, Any]
    document: Mapping[str, Any] | None = None
    columns: Mapping[str, Any] | None = None


class RouteStore:
    """Reads and writes desired routes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, connection: sa.Connection, route: StoredRoute) -> None:
        """Write a route in the caller's transaction; the one of that name before is replaced.

        The status stays: what runs under that name goes on.
        """
        row = {
            "path": str(route.path),
            "facts": dict(route.facts),
            "decision_id": route.decision_id,
            "applied_at": route.applied_at,
            "document": route.document,
            "columns": route.columns,
        }
        values = {"name": route.name, "status": dict(route.status), **row}
        upsert(connection, routes, values, key=("name",), change=row)

    def get(self, name: str) -> StoredRoute:
        """Return a route; raise ``NotFoundError`` when it was not applied."""
        found = self.find(name)
        if found is None:
            raise NotFoundError(
                "the route was not applied",
                where=name,
                remedy="Run `spine cdc apply ROUTE.yaml`.",
                code="cdc.not_applied",
            )
        return found

    def find(self, name: str) -> StoredRoute | None:
        """Return a route, or None when it was not applied."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(routes).where(routes.c.name == name)).one_or_none()
        return None if row is None else _stored(row)

    def all(self) -> list[StoredRoute]:
        """Return every route by name."""
        with self._database.read() as connection:
            found = connection.execute(sa.select(routes).order_by(routes.c.name)).all()
        return [_stored(row) for row in found]

    def set_status(self, name: str, status: Mapping[str, Any]) -> None:
        """Write what a running route does now."""
        with self._database.begin() as connection:
            connection.execute(
                routes.update().where(routes.c.name == name).values(status=dict(status))
            )

    def remove(self, name: str) -> None:
        """Forget a route; its flushes stay as history."""
        with self._database.begin() as connection:
            connection.execute(routes.delete().where(routes.c.name == name))

    def outcomes(self, name: str) -> dict[str, dict[str, int]]:
        """Return how many records each sink of a route has per outcome."""
        query = sa.select(outcomes.c.sink, outcomes.c.outcome, outcomes.c.records).where(
            outcomes.c.route == name
        )
        added: dict[str, dict[str, int]] = {}
        with self._database.read() as connection:
            for sink, word, records in connection.execute(query):
                added.setdefault(sink, {})[word] = records
        return added


def applied(
    route: Route,
    columns: Mapping[str, Any],
    facts: Mapping[str, Any],
    decision_id: str,
    at: datetime,
) -> StoredRoute:
    """Return a route as it is when it was just allowed."""
    return StoredRoute(
        route.name,
        route.path.resolve(),
        facts,
        decision_id,
        rfc3339(at),
        {"state": "applied"},
        route.document,
        columns,
    )


def _stored(row: sa.Row[Any]) -> StoredRoute:
    return StoredRoute(
        row.name,
        Path(row.path),
        row.facts,
        row.decision_id,
        row.applied_at,
        row.status,
        row.document,
        row.columns,
    )
