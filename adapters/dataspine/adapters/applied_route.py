"""A route as it was applied, held against its file and the registry before any row is moved.

What was decided is what runs: a file that says something else, and columns that are classified
otherwise by now, are a new question, which only ``apply`` asks.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dataspine.adapters import access
from dataspine.adapters.schema_publish import field_facts
from dataspine.adapters.session import Session
from dataspine.cdc.route import Route, differences, load_route
from dataspine.cdc.state import RouteStore, StoredRoute
from dataspine.core.errors import ConflictError, DataSpineError, UnavailableError
from dataspine.registry import Version, classifications_of

__all__ = [
    "LOOK_SECONDS",
    "UNCLASSIFIED",
    "RouteCheck",
    "classified_now",
    "column_classifications",
    "open_applied",
    "stored",
]

UNCLASSIFIED = ("Unclassified",)
# How old the last look at registry and database may be when rows are judged.
LOOK_SECONDS = 1.0
_NAMED = 5


def stored(session: Session, path: Path) -> StoredRoute:
    """Return what was applied under the name that a route file has; raise ``NotFoundError``."""
    return RouteStore(session.database).get(load_route(path).name)


def open_applied(session: Session, path: Path) -> tuple[Route, StoredRoute]:
    """Return the route of a file and what was applied, once whoever acts may deploy it.

    Raises ``ConflictError`` when the file says anything else than what was applied, and when a
    column is classified otherwise since.
    """
    route = load_route(path)
    access.require(session, access.DEPLOY, route.name)
    found = RouteStore(session.database).get(route.name)
    _require_unchanged(route, found)
    RouteCheck(session, found).require_current()
    return route, found


def classified_now(session: Session, route: StoredRoute) -> list[dict[str, Any]]:
    """Return the tables of an applied route's facts with their columns as classified by now."""
    tables = []
    for table in route.facts["tables"]:
        classifications = column_classifications(session, table["subject"])
        columns = [
            {**column, "classifications": classifications(column["path"])}
            for column in table["columns"]
        ]
        tables.append({**table, "columns": columns})
    return tables


def column_classifications(session: Session, subject: str | None) -> Callable[[str], list[str]]:
    """Return what gives a column's classifications by the latest version of its table's subject.

    A column without a field, or of no registered subject, is ``UNCLASSIFIED``.
    """
    version = session.registry.latest(subject) if subject else None
    fields = field_facts(session, version) if version else ()
    return lambda path: list(classifications_of(fields, path) or UNCLASSIFIED)


class RouteCheck:
    """Says whether a route that runs is still the one that was applied.

    ``look`` costs nothing when the last one is younger than ``LOOK_SECONDS``.
    """

    def __init__(
        self, session: Session, route: StoredRoute, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._session = session
        self._route = route
        self._now = now
        self._due = 0.0
        self._versions: list[Version | None] | None = None
        self._error: DataSpineError | None = None

    def look(self) -> None:
        """Look when it is time, and raise as ``require_current`` does; once raised, for ever."""
        if self._error is not None:
            raise self._error
        if self._now() >= self._due:
            self.require_current()

    def require_current(self) -> None:
        """Raise ``ConflictError`` when the route was applied anew or a classification changed."""
        try:
            self._require_applied()
            self._require_classifications()
        except UnavailableError:
            raise
        except DataSpineError as error:
            self._error = error
            raise
        self._due = self._now() + LOOK_SECONDS

    @contextlib.contextmanager
    def watch(self, stop: threading.Event) -> Iterator[None]:
        """Look all the time, and set ``stop`` for a difference, which is raised at the end.

        An idle or waiting route judges no rows, so nothing else would look.
        """
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(LOOK_SECONDS):
                try:
                    self.look()
                except UnavailableError:
                    continue  # rows are not judged meanwhile either
                except DataSpineError:
                    stop.set()
                    return

        thread = threading.Thread(target=look, name="route-check", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        if self._error is not None:
            raise self._error

    def _require_applied(self) -> None:
        route = self._route
        newest = RouteStore(self._session.database).get(route.name)
        if newest.document == route.document and newest.columns == route.columns:
            return
        named = _named(differences(route.document or {}, newest.document or {}))
        raise ConflictError(
            f"the route was applied again while it ran: {named or 'its columns'} changed",
            where=route.name,
            remedy="Run it again: `spine cdc run`.",
            code="cdc.route_changed",
        )

    def _require_classifications(self) -> None:
        tables = self._route.facts["tables"]
        latest = self._session.registry.latest
        versions = [latest(t["subject"]) if t["subject"] else None for t in tables]
        # The registry answers an unchanged subject with the same object.
        known = self._versions
        if known is not None and all(a is b for a, b in zip(known, versions, strict=True)):
            return
        for before, now, version in zip(
            tables, classified_now(self._session, self._route), versions, strict=True
        ):
            _require_same(self._route.name, before, now, version)
        self._versions = versions


def _require_unchanged(route: Route, applied: StoredRoute) -> None:
    if applied.document is None or applied.columns is None:
        problem = "the route was applied by a version that did not keep what the file said"
    elif named := _named(differences(applied.document, route.document)):
        problem = f"the route file is not what was applied: {named} changed"
    else:
        return
    raise ConflictError(
        problem,
        where=str(route.path),
        remedy=f"Apply it again: `spine cdc apply {route.path}`.",
        code="cdc.route_changed",
    )


def _require_same(
    route: str, before: dict[str, Any], now: dict[str, Any], version: Version | None
) -> None:
    for old, new in zip(before["columns"], now["columns"], strict=True):
        was, is_now = old["classifications"], new["classifications"]
        if set(was) == set(is_now):
            continue
        subject = before["subject"]
        place = f"version {version.number} of {subject}" if version else f"{subject}: no version"
        column = f"{before['name']}.{old['path']}"
        raise ConflictError(
            f"{column} was applied as {', '.join(was)} and is {', '.join(is_now)} now ({place})",
            where=route,
            remedy="Apply the route again, so that policy decides on it: `spine cdc apply`.",
            code="cdc.classification_changed",
        )


def _named(keys: list[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more
