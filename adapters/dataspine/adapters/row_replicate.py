"""Point ``row.replicate``: a route's rows through the gate, as long as it runs."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataspine.adapters import route_deploy
from dataspine.adapters.applied_route import RouteCheck, open_applied
from dataspine.adapters.route_target import Asker, open_target
from dataspine.adapters.session import Session
from dataspine.cdc.route import Route, load_route
from dataspine.cdc.runner import REPORT_SECONDS, STARTING_OVER, Runner, Status
from dataspine.cdc.state import RouteStore, StoredRoute
from dataspine.core.clock import rfc3339
from dataspine.core.errors import ConflictError, DataSpineError, UnavailableError
from dataspine.lineage import events

__all__ = ["run"]

_logger = logging.getLogger(__name__)

POINT = "row.replicate"
# A status is written several times in this; one that is older was left behind by a dead process.
FRESH_SECONDS = 3 * REPORT_SECONDS


def run(
    session: Session,
    path: Path,
    stop: threading.Event,
    *,
    told: Callable[[dict[str, Any]], None] = lambda _: None,
) -> str:
    """Run an applied route until ``stop`` is set; snapshot first, then live; return its name.

    The route is decided again at each new revision and before its decision ends; a denial ends the
    run with an error, and so does a route that is no longer what was applied. START, RUNNING (it
    started over) and COMPLETE, or FAIL, are lineage events. Raises ``ConflictError`` while another
    process of this workspace runs the route.
    """
    name = load_route(path).name
    with _alone(session, name):
        opened = _permitted(session, path, stop, told)
        if opened is not None:
            _run(session, *opened, stop, told)
    return name


def _permitted(
    session: Session, path: Path, stop: threading.Event, told: Callable[[dict[str, Any]], None]
) -> tuple[Route, StoredRoute] | None:
    """Return the applied route once somebody says that it may run; None when told to stop."""
    since = rfc3339(session.clock())
    while True:
        try:
            return open_applied(session, path)
        except UnavailableError as error:
            # As a running route waits for its engine, so does one that starts.
            if not error.code.startswith("engine."):
                raise
            status = _status(Status("waiting", f"{error.code}: {error.problem}"))
        at = rfc3339(session.clock())
        status |= {"asks_per_class": [], "policy_age": None, "at": at, "since": since}
        RouteStore(session.database).set_status(load_route(path).name, status)
        told(status)
        if stop.wait(REPORT_SECONDS):
            return None


@contextlib.contextmanager
def _alone(session: Session, name: str) -> Iterator[None]:
    # Two runs would take the slot from each other for ever; the kernel frees a dead one's lock.
    with (session.workspace.state / f"run-{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                "the route runs already",
                where=name,
                remedy="See `spine cdc status`; end the other `spine cdc run` first.",
                code="cdc.already_running",
            ) from None
        yield


def _run(
    session: Session,
    route: Route,
    stored: StoredRoute,
    stop: threading.Event,
    told: Callable[[dict[str, Any]], None],
) -> None:
    emit = functools.partial(_emit, session, route, stored, events.new_run_id(session.clock()))
    check = RouteCheck(session, stored)
    asker = Asker(session, check)
    teller = _Teller(session, stored, asker, emit, told)
    emit("START")
    try:
        teller(Status())
        with open_target(session, route, stored, asker) as target:
            sources = {
                s.name: route_deploy.open_source(session, route, s.name) for s in route.sources
            }
            try:
                with check.watch(stop):
                    Runner(target, sources, on_status=teller).run(stop)
            finally:
                for source in sources.values():
                    source.close()
    except DataSpineError as error:
        teller.failed(error)
        with contextlib.suppress(UnavailableError):  # what ended the run is what is told
            emit("FAIL", error=error.problem)
        raise
    emit("COMPLETE")


class _Teller:
    """Writes the route's status, and tells lineage when the route starts over."""

    def __init__(
        self,
        session: Session,
        stored: StoredRoute,
        asker: Asker,
        emit: Callable[..., None],
        told: Callable[[dict[str, Any]], None],
    ) -> None:
        self._session = session
        self._name = stored.name
        self._asker = asker
        self._emit = emit
        self._told = told
        self._last: dict[str, Any] = {}

    def __call__(self, status: Status) -> None:
        known = {
            "asks_per_class": list(self._asker.asks_per_class),
            "policy_age": self._session.policy_age.seconds() if self._session.decides else None,
        }
        self._write(_status(status) | known)
        if status.state == STARTING_OVER:
            self._emit("RUNNING", error=status.problem)

    def failed(self, error: DataSpineError) -> None:
        fault = {"problem": str(error), "where": error.where, "remedy": error.remedy}
        self._write({**self._last, "state": "failed", **fault})

    def _write(self, document: dict[str, Any]) -> None:
        at = rfc3339(self._session.clock())
        same = self._last.get("state") == document["state"]
        self._last = {**document, "at": at, "since": self._last["since"] if same else at}
        try:
            RouteStore(self._session.database).set_status(self._name, self._last)
        except UnavailableError as error:
            # What is written late makes the route look late, which is what it is.
            _logger.warning("the status of %s is not written: %s", self._name, error)
        self._told(self._last)


def _emit(
    session: Session,
    route: Route,
    stored: StoredRoute,
    run_id: str,
    event_type: str,
    *,
    error: str | None = None,
) -> None:
    event = events.route_ran(
        event_type,
        workspace=session.workspace.name,
        route=stored.name,
        run_id=run_id,
        facts=stored.facts,
        at=session.clock(),
        decision=session.journal.get(stored.decision_id).decision,
        error=error,
        origins=route_deploy.origins(session, route),
    )
    with session.database.begin() as connection:
        session.outbox.write(connection, event)


def _time(seconds: float | None) -> str:
    return "" if seconds is None else rfc3339(datetime.fromtimestamp(seconds, UTC))


def _status(status: Status) -> dict[str, Any]:
    return {
        "state": status.state,
        "problem": status.problem,
        "where": status.where,
        "remedy": status.remedy,
        "failing_since": _time(status.failing_since),
        "outcomes": {sink: dict(counts) for sink, counts in status.outcomes.items()},
        "lag": {sink: lag.document() for sink, lag in status.lag.items()},
        "positions": {name: dict(held) for name, held in status.positions.items()},
        "clock_skew": {name: round(skew, 6) for name, skew in status.clock_skew.items()},
        "slot_lag_bytes": dict(status.slot_lag_bytes),
        "started_over": dict(status.started_over),
        "fresh_seconds": FRESH_SECONDS,
    }
