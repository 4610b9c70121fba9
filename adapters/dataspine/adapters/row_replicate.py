"""Points ``row.replicate`` and ``dead_letter.replay``: a route's rows through the gate."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dataspine.adapters import access, route_deploy
from dataspine.adapters.session import Session
from dataspine.cdc.dead_letter import DeadLetterStore
from dataspine.cdc.duckdb_sink import DuckDbSink
from dataspine.cdc.event import Relation
from dataspine.cdc.flush import FlushRecord, FlushTarget
from dataspine.cdc.key import load_key
from dataspine.cdc.mask import Masker
from dataspine.cdc.replay import ReplayReport, replay
from dataspine.cdc.route import Route, Sink, Table, load_route
from dataspine.cdc.runner import REPORT_SECONDS, STARTING_OVER, Runner, Status
from dataspine.cdc.state import RouteStore, StoredRoute
from dataspine.core.clock import rfc3339
from dataspine.core.errors import ConflictError, DataSpineError, UnavailableError
from dataspine.decisions.decision import Decision, DecisionInput, Policy
from dataspine.decisions.engine import FilterError
from dataspine.lineage import events

__all__ = [
    "Replayed",
    "dead_letters",
    "destroy",
    "discard",
    "open_target",
    "replay_dead_letters",
    "run",
]

_logger = logging.getLogger(__name__)

POINT = "row.replicate"
REPLAY = "dead_letter.replay"
# A status is written several times in this; one that is older was left behind by a dead process.
FRESH_SECONDS = 3 * REPORT_SECONDS


def run(
    session: Session,
    path: Path,
    stop: threading.Event,
    *,
    told: Callable[[dict[str, Any]], None] = lambda _: None,
) -> None:
    """Run an applied route until ``stop`` is set; snapshot first, then what is committed.

    The route is decided again at each new revision and before its decision ends; a denial ends the
    run with an error. START, RUNNING (it started over) and COMPLETE, or FAIL, are lineage events.
    Raises ``ConflictError`` while another process of this workspace runs the route.
    """
    route = load_route(path)
    stored = RouteStore(session.database).get(route.name)
    with _alone(session, route.name):
        _run(session, route, stored, stop, told)


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
    asker = _Asker(session)
    teller = _Teller(session, stored, asker, emit, told)
    emit("START")
    try:
        teller(Status())
        with open_target(session, route, stored, asker) as target:
            sources = {
                s.name: route_deploy.open_source(session, route, s.name) for s in route.sources
            }
            try:
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
        asker: _Asker,
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
        self._write({**self._last, "state": "failed", "problem": str(error)})

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


@dataclass(frozen=True, slots=True)
class Replayed:
    """Whether the parked rows may be replayed, and what became of them; nothing when denied."""

    route: str
    decision: Decision
    report: ReplayReport

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**self.report.document(), "decision": self.decision.document()}


def replay_dead_letters(session: Session, path: Path, *, dry_run: bool = False) -> Replayed:
    """Put the route's parked rows through the current gate, when its actor may do that.

    Nothing is changed, but for the journal, when ``dry_run`` or when it is denied.
    """
    route = load_route(path)
    stored = RouteStore(session.database).get(route.name)
    decision = session.decide(_replay_question(session, path, stored))
    with session.database.begin() as connection:
        session.journal.record(
            connection,
            decision,
            name=route.name,
            actor=session.actor,
            acted=decision.allow and not dry_run,
        )
    if not decision.allow:
        return Replayed(route.name, decision, ReplayReport(dry_run))
    relations: dict[str, Relation] = {}
    for source in route.sources:
        with contextlib.closing(route_deploy.open_source(session, route, source.name)) as opened:
            relations |= {relation.name: relation for relation in opened.relations()}
    with open_target(session, route, stored) as target:
        report = replay(target, relations, dry_run=dry_run)
    if not dry_run:
        event = events.dead_letters_replayed(
            workspace=session.workspace.name,
            route=route.name,
            facts=stored.facts,
            counts=dict(report.outcomes),
            at=session.clock(),
            decision=decision,
            origins=route_deploy.origins(session, route),
        )
        with session.database.begin() as connection:
            session.outbox.write(connection, event)
    return Replayed(route.name, decision, report)


def _replay_question(session: Session, path: Path, stored: StoredRoute) -> DecisionInput:
    with dead_letters(session, path) as letters:
        parked = {sink: rows for sink, (rows, _) in letters.parked_by_sink().items()}
    facts = {
        **route_deploy.question_again(session, stored).facts,
        "counts": {"rows": sum(parked.values()), "sinks": parked},
        "actor": session.principal.facts(),
    }
    return DecisionInput(REPLAY, session.clock(), facts)


@contextlib.contextmanager
def dead_letters(session: Session, path: Path) -> Iterator[DeadLetterStore]:
    """Open the route's dead letters, which lie in the source system's region."""
    route = load_route(path)
    store = _dead_letter_store(session, route)
    try:
        yield store
    finally:
        store.close()


def discard(session: Session, path: Path, letter: int) -> None:
    """Give one of the route's parked rows up for good."""
    access.require(session, access.ERASE, load_route(path).name)
    with dead_letters(session, path) as store:
        store.discard(letter)


def destroy(session: Session, path: Path) -> Route:
    """Drop what the route made at its sources, and forget that it is desired."""
    route = load_route(path)
    access.require(session, access.DEPLOY, route.name)
    for source in route.sources:
        with contextlib.closing(route_deploy.open_source(session, route, source.name)) as opened:
            opened.destroy()
    RouteStore(session.database).remove(route.name)
    return route


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A filter as the gate asks for it."""

    kind: str
    ucast: dict[str, Any] | None


class _Asker:
    """Asks the session's engine, and remembers what it said until a flush with it is applied."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._fresh: dict[str, Decision] = {}
        self.asks_per_class = route_deploy.unfiltered_rules(session)

    def decide(self, point: str, facts: Mapping[str, Any], row: Mapping[str, Any]) -> Decision:
        question = DecisionInput(point, self._session.clock(), facts, row)
        decision = self._session.decide(question)
        self._fresh[decision.decision_id] = decision
        return decision

    def compile_filter(self, facts: Mapping[str, Any], at: datetime) -> _Compiled | None:
        # The filter knows the product's row rules alone: beside a custom one, OPA is asked.
        self.asks_per_class = route_deploy.unfiltered_rules(self._session)
        if self.asks_per_class:
            return None
        try:
            compiled = self._session.engine.compile_filter(facts, at)
        except FilterError:
            return None
        return _Compiled(compiled.kind, dict(compiled.ucast) if compiled.ucast else None)

    def policy(self) -> Policy | None:
        # Rows of a known class are not asked about again, so a stale policy must stop them here.
        self._session.require_fresh_policy()
        return self._session.engine.policy()

    def fresh(self, decision_id: str) -> Decision | None:
        """Return a decision that no applied flush has; one of a discarded flush still counts."""
        return self._fresh.get(decision_id)

    def settle(self) -> None:
        """Forget everything: what a flush used is recorded, and the rest was the gate's proof."""
        self._fresh.clear()


class _Recorder:
    """Writes a flush's lineage event and the decisions that it used first."""

    def __init__(
        self,
        session: Session,
        stored: StoredRoute,
        asker: _Asker,
        watch: _Watch,
        origins: Mapping[str, events.Origin],
    ) -> None:
        self._session = session
        self._stored = stored
        self._asker = asker
        self._watch = watch
        self._origins = origins

    def __call__(self, connection: sa.Connection, record: FlushRecord) -> None:
        session = self._session
        for decision_id in record.classes:
            decision = self._asker.fresh(decision_id)
            if decision is not None:
                session.journal.record_class(
                    connection,
                    decision,
                    name=record.route,
                    actor=session.actor,
                    flush_id=record.id,
                )
        event = events.flush_applied(
            workspace=session.workspace.name,
            route=record.route,
            facts=self._stored.facts,
            counts={**record.counts, "sink": record.sink, "endLsn": record.end_lsn},
            at=session.clock(),
            decision=self._watch.decision,
            origins=self._origins,
        )
        session.outbox.write(connection, event, flush_id=record.id)


class _Watch:
    """Decides the route again when a new revision is active or its decision is about to end."""

    def __init__(self, session: Session, stored: StoredRoute, asker: _Asker) -> None:
        self._session = session
        self._stored = stored
        self._asker = asker
        self.decision: Decision | None = None

    def __call__(self, point: str) -> None:
        if point == "applied":
            self._asker.settle()
        if point != "planned" or self._holds():
            return
        session = self._session
        question = DecisionInput(route_deploy.POINT, session.clock(), self._stored.facts)
        decision = session.decide(question)
        with session.database.begin() as connection:
            session.journal.record(
                connection,
                decision,
                name=self._stored.name,
                actor=session.actor,
                acted=decision.allow,
            )
        if not decision.allow:
            error = DataSpineError(
                f"the route is denied now: {', '.join(decision.codes)}",
                where=self._stored.name,
                remedy="Correct the route or the matrix, then apply and run it again.",
                code="cdc.halted",
            )
            error.retry = decision.policy is None
            raise error
        self.decision = decision

    def _holds(self) -> bool:
        decision = self.decision
        self._session.require_fresh_policy()
        if decision is None or self._session.engine.policy() != decision.policy:
            return False
        return decision.valid_until is None or self._session.clock() < decision.valid_until


@contextlib.contextmanager
def open_target(
    session: Session, route: Route, stored: StoredRoute, asker: _Asker | None = None
) -> Iterator[FlushTarget]:
    """Open what flushes and replays of a route write to, behind its gates."""
    key = load_key(session.workspace.state / "keys" / "mask.key")
    sinks = [
        DuckDbSink(
            sink.name,
            session.workspace.root / sink.path,
            {t.short_name: sink.table_masks(t.short_name) for s in route.sources for t in s.tables},
            Masker(key, sink.purpose),
        )
        for sink in route.sinks
    ]
    asker = asker or _Asker(session)
    watch = _Watch(session, stored, asker)
    recorder = _Recorder(session, stored, asker, watch, route_deploy.origins(session, route))
    store = _dead_letter_store(session, route)
    try:
        yield FlushTarget(
            route,
            sinks,
            store,
            session.database,
            asker,
            functools.partial(_row_facts, route, stored),
            recorder,
            clock=session.clock,
            hook=watch,
        )
    finally:
        store.close()


def _row_facts(
    route: Route, stored: StoredRoute, table: Table, relation: Relation, sink: str
) -> dict[str, Any]:
    decided = next(t for t in stored.facts["tables"] if t["name"] == table.short_name)
    known = {column["path"]: column["classifications"] for column in decided["columns"]}
    into: Sink = next(s for s in route.sinks if s.name == sink)
    return {
        "name": route.name,
        "table": table.short_name,
        "homes": decided["homes"],
        "home": decided["home"],
        "columns": [
            {
                "path": column.name,
                "classifications": known.get(column.name, list(route_deploy.UNCLASSIFIED)),
            }
            for column in relation.columns
        ],
        "guard_columns": list(table.guard_columns),
        "sink": {"name": into.name, "region": into.region, "masks": dict(into.masks)},
    }


def _dead_letter_store(session: Session, route: Route) -> DeadLetterStore:
    region = f"{route.dead_letter_region}.db"
    return DeadLetterStore(session.workspace.state / "dead-letter" / region, route.name)


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


def _status(status: Status) -> dict[str, Any]:
    return {
        "state": status.state,
        "problem": status.problem,
        "outcomes": {sink: dict(counts) for sink, counts in status.outcomes.items()},
        "lag": {sink: lag.document() for sink, lag in status.lag.items()},
        "positions": {name: dict(held) for name, held in status.positions.items()},
        "clock_skew": {name: round(skew, 6) for name, skew in status.clock_skew.items()},
        "slot_lag_bytes": dict(status.slot_lag_bytes),
        "started_over": dict(status.started_over),
        "fresh_seconds": FRESH_SECONDS,
    }
