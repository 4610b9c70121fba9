"""What desired routes do now, and their dead letters: read by the command line and the web alike.

A running route is another process. It writes its status beside its desired state; one that is not
written any more is no status: its age then counts into the lag.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataspine.adapters.session import Session
from dataspine.cdc.dead_letter import DeadLetterStore, Letter
from dataspine.cdc.state import RouteStore, StoredRoute
from dataspine.core.clock import parse_rfc3339
from dataspine.core.errors import DataSpineError, InputError

__all__ = [
    "LetterPage",
    "LetterSearch",
    "RouteView",
    "letter_page",
    "letters",
    "letters_path",
    "open_letters",
    "show",
    "view",
    "views",
]

_AT_REST = frozenset({"applied", "stopped", "failed"})
SILENT = "silent"


@dataclass(frozen=True, slots=True)
class RouteView:
    """A desired route as it is at one moment.

    ``age`` is how old its status is (seconds). ``parked`` is rows and age of the oldest (seconds)
    per sink, or None when the dead letters cannot be read.
    """

    stored: StoredRoute
    age: float
    outcomes: Mapping[str, Mapping[str, int]]
    parked: Mapping[str, tuple[int, float]] | None

    @property
    def is_running(self) -> bool:
        """Whether a process runs the route and still says so."""
        status = self.stored.status
        return status["state"] not in _AT_REST and self.age <= status.get("fresh_seconds", 0)

    @property
    def state(self) -> str:
        """The route's own word, or ``silent`` when it stopped talking without a word."""
        state = str(self.stored.status["state"])
        return state if self.is_running or state in _AT_REST else SILENT

    @property
    def since(self) -> str:
        """Since when it is in that state (RFC 3339); a silent one since it last spoke."""
        status = self.stored.status
        last = str(status.get("at", self.stored.applied_at))
        return last if self.state == SILENT else str(status.get("since", last))

    @property
    def regions(self) -> dict[str, str]:
        """The region of each sink."""
        return {sink["name"]: sink["region"] for sink in self.stored.facts["sinks"]}

    @property
    def lag(self) -> dict[str, dict[str, float]]:
        """Seconds per sink; without a running route, nothing reached a sink since the status."""
        said = self.stored.status.get("lag", {})
        late = 0.0 if self.is_running else self.age
        found = {}
        for sink in self.regions:
            lag = {"p50": 0.0, "p95": 0.0, "records": 0, "skewed": False, **said.get(sink, {})}
            found[sink] = lag | {"p95": max(lag["p95"], late) if late else lag["p95"]}
        return found

    def sampled(self, what: str) -> dict[str, float]:
        """Return what was measured at each source; nothing when that is long ago."""
        return dict(self.stored.status.get(what, {})) if self.is_running else {}

    @property
    def policy_age(self) -> float | None:
        """How old the route's policy was, and the status since; None when nobody knows."""
        told = self.stored.status.get("policy_age")
        return told + self.age if told is not None and self.is_running else None

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        status = self.stored.status
        parked = None
        if self.parked is not None:
            parked = {
                sink: {"rows": rows, "oldest_age": round(age, 3)}
                for sink, (rows, age) in self.parked.items()
            }
        return {
            "name": self.stored.name,
            "applied_at": self.stored.applied_at,
            "decision_id": self.stored.decision_id,
            "state": self.state,
            "since": self.since,
            "running": self.is_running,
            "problem": status.get("problem", ""),
            "where": status.get("where", ""),
            "remedy": status.get("remedy", ""),
            "failing_since": status.get("failing_since", ""),
            "status_age": round(self.age, 3),
            "outcomes": self.outcomes,
            "lag": self.lag,
            "parked": parked,
            "positions": status.get("positions", {}),
            "clock_skew": self.sampled("clock_skew"),
            "slot_lag_bytes": self.sampled("slot_lag_bytes"),
            "started_over": status.get("started_over", {}),
            "policy_age": self.policy_age,
            "asks_per_class": status.get("asks_per_class", []),
        }


def views(session: Session) -> list[RouteView]:
    """Return every desired route by name."""
    return [_view(session, stored) for stored in RouteStore(session.database).all()]


def view(session: Session, name: str) -> RouteView:
    """Return one desired route; raises ``NotFoundError``."""
    return _view(session, RouteStore(session.database).get(name))


def show(session: Session, name: str) -> dict[str, Any]:
    """Return one route with what was desired and the decision that allowed it."""
    found = view(session, name)
    decision = session.journal.get(found.stored.decision_id).decision
    facts = dict(found.stored.facts)
    return {**found.document(), "facts": facts, "decision": decision.document()}


def _view(session: Session, stored: StoredRoute) -> RouteView:
    now = session.clock()
    at = parse_rfc3339(stored.status.get("at", stored.applied_at), where=stored.name)
    parked: dict[str, tuple[int, float]] | None
    try:
        parked = _parked(session, stored, now.timestamp())
    except DataSpineError:
        parked = None
    return RouteView(
        stored=stored,
        age=max(0.0, (now - at).total_seconds()),
        outcomes=RouteStore(session.database).outcomes(stored.name),
        parked=parked,
    )


def _parked(session: Session, stored: StoredRoute, now: float) -> dict[str, tuple[int, float]]:
    found = {sink["name"]: (0, 0.0) for sink in stored.facts["sinks"]}
    with open_letters(session, stored) as store:
        for sink, (rows, since) in (store.parked_by_sink() if store else {}).items():
            found[sink] = (rows, max(0.0, now - since))
    return found


# -- dead letters --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Parked rows without payloads; ``after`` continues the list, None ends it."""

    route: str
    letters: tuple[Letter, ...]
    counts: Mapping[str, int]
    after: int | None

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "route": self.route,
            "counts": dict(self.counts),
            "letters": [letter.document() for letter in self.letters],
            "after": self.after,
        }


@dataclass(frozen=True, slots=True)
class LetterSearch:
    """Which parked rows; None means any. ``after`` continues a list."""

    sink: str | None = None
    table: str | None = None
    code: str | None = None
    limit: int = 100
    after: int = 0


def letters(session: Session, route: str | None, search: LetterSearch) -> LetterPage:
    """List a desired route's parked rows; ``route`` may be None when there is only one.

    Payloads are never part of it: they stay in the source's region.
    """
    stored = _only(session, route)
    with open_letters(session, stored) as store:
        return letter_page(store, search) if store else LetterPage(stored.name, (), {}, None)


def letter_page(store: DeadLetterStore, search: LetterSearch) -> LetterPage:
    """List the parked rows of an open store, oldest first, without payloads."""
    found = store.letters(
        sink=search.sink,
        table=search.table,
        code=search.code,
        limit=search.limit,
        after=search.after,
    )
    more = found[-1].id if len(found) == search.limit else None
    return LetterPage(store.route, tuple(found), store.counts(), more)


def letters_path(session: Session, region: str) -> Path:
    """Return the file of a region's dead letters, of every route that parks them there."""
    return session.workspace.state / "dead-letter" / f"{region}.db"


@contextlib.contextmanager
def open_letters(session: Session, stored: StoredRoute) -> Iterator[DeadLetterStore | None]:
    """Open a route's dead letters, or yield None when it never parked anything."""
    place = letters_path(session, stored.facts["dead_letter"]["region"])
    store = DeadLetterStore.existing(place, stored.name)
    try:
        yield store
    finally:
        if store is not None:
            store.close()


def _only(session: Session, route: str | None) -> StoredRoute:
    routes = RouteStore(session.database)
    if route is not None:
        return routes.get(route)
    found = routes.all()
    if len(found) != 1:
        raise InputError(
            f"the workspace has {len(found)} routes",
            where="route",
            remedy=f"Name one: {', '.join(stored.name for stored in found)}.",
        )
    return found[0]
