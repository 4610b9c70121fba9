"""What the rows of a route go through: its gate, its sinks, its dead letters, its records."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dataspine.adapters import route_deploy, route_sinks
from dataspine.adapters.applied_route import RouteCheck
from dataspine.adapters.at_rest import row_facts
from dataspine.adapters.own_state import own_key, require_untracked
from dataspine.adapters.routes import letters_path
from dataspine.adapters.session import Session
from dataspine.cdc.column_identity import require_columns
from dataspine.cdc.dead_letter import DeadLetterStore
from dataspine.cdc.event import Relation
from dataspine.cdc.flush import FlushRecord, FlushTarget
from dataspine.cdc.key_hash import KeyHasher
from dataspine.cdc.route import Route, Table
from dataspine.cdc.state import StoredRoute
from dataspine.cdc.turn import Turn
from dataspine.core import secret
from dataspine.core.errors import DataSpineError, InputError
from dataspine.decisions.decision import Decision, DecisionInput, Policy
from dataspine.decisions.engine import FilterError
from dataspine.decisions.fault import Fault
from dataspine.lineage import events

__all__ = ["Asker", "dead_letter_store", "key_hasher", "open_target", "turn"]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A filter as the gate asks for it."""

    kind: str
    ucast: dict[str, Any] | None


class Asker:
    """Asks the session's engine, and remembers what it said until a flush with it is applied.

    ``check`` looks first: nothing is judged for a route that is no longer what was applied.
    """

    def __init__(self, session: Session, check: RouteCheck) -> None:
        self._session = session
        self._check = check
        self._fresh: dict[str, Decision] = {}
        self.asks_per_class = route_deploy.unfiltered_rules(session)

    def decide(self, point: str, facts: Mapping[str, Any], row: Mapping[str, Any]) -> Decision:
        """Ask OPA, and keep the decision until it is recorded."""
        question = DecisionInput(point, self._session.clock(), facts, row)
        decision = self._session.decide(question)
        self._fresh[decision.decision_id] = decision
        return decision

    def refuse(self, point: str, facts: Mapping[str, Any], code: str, words: Fault) -> Decision:
        """Return the denial of rows about which OPA is not asked, and keep it like an answer."""
        at = self._session.clock()
        question = DecisionInput(point, at, facts)
        decision = Decision.refused(question, code, words.title, words.remedy, at)
        self._fresh[decision.decision_id] = decision
        return decision

    def compile_filter(self, facts: Mapping[str, Any], at: datetime) -> _Compiled | None:
        """Return the row rules as a filter, or None when OPA has to be asked per class."""
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
        """Return the active policy; raise when it is too stale, or the route another by now."""
        self._check.look()
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
        asker: Asker,
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
                    actor=session.principal,
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

    def __init__(self, session: Session, stored: StoredRoute, asker: Asker) -> None:
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
                actor=session.principal,
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
    session: Session, route: Route, stored: StoredRoute, asker: Asker
) -> Iterator[FlushTarget]:
    """Open what flushes and replays of a route write to, behind its gates."""
    watch = _Watch(session, stored, asker)
    recorder = _Recorder(session, stored, asker, watch, route_deploy.origins(session, route))
    store = dead_letter_store(session, stored, key_hasher(session))
    try:
        yield FlushTarget(
            route,
            route_sinks.sinks(session, route),
            store,
            session.database,
            asker,
            functools.partial(_row_facts, session, route, stored),
            recorder,
            clock=session.clock,
            hook=watch,
            turn=turn(session, route.name),
        )
    finally:
        store.close()


def _row_facts(
    session: Session,
    route: Route,
    stored: StoredRoute,
    table: Table,
    relation: Relation,
    sink: str,
) -> dict[str, Any]:
    """Return the facts of a table's rows as they were decided on, for columns that still are."""
    decided = next(t for t in stored.facts["tables"] if t["name"] == table.short_name)
    _require_columns(session, route, stored, decided["source"], relation)
    return row_facts(route, decided, [column.name for column in relation.columns], sink)


def _require_columns(
    session: Session, route: Route, stored: StoredRoute, source: str, relation: Relation
) -> None:
    applied = (stored.columns or {})[relation.name]
    with contextlib.closing(route_deploy.open_source(session, route, source)) as opened:
        (current,) = (t.attributes for t in opened.tables() if t.relation.name == relation.name)
    table = f"{relation.namespace}.{relation.name}"
    where = f"route {route.name}, source {source}, table {table}"
    require_columns(relation, applied, current, where=where)


def dead_letter_store(
    session: Session, stored: StoredRoute, hasher: KeyHasher | None = None
) -> DeadLetterStore:
    """Open the dead letters of an applied route, where it was decided that they lie; close them."""
    region = stored.facts["dead_letter"]["region"]
    return DeadLetterStore(letters_path(session, region), stored.name, hasher)


def turn(session: Session, route: str) -> Turn:
    """Return the turns of a route's flushes, replays and erasures."""
    return Turn(session.workspace.state, route)


def key_hasher(session: Session) -> KeyHasher:
    """Return what hashes keys in the dead letters; raise ``InputError`` when nothing names its key.

    Another key finds no older row, so machines that share a workspace's state share this one.
    ``IntegrityError`` says that git tracks the file of it.
    """
    workspace = session.workspace
    reference = workspace.settings.letter_key
    if reference is not None:
        kind, name = secret.require_reference(reference)
        if kind == "file":
            require_untracked(workspace.root / name)
        return KeyHasher(secret.resolve(reference, root=workspace.root).encode())
    if workspace.settings.database is not None:
        raise InputError(
            "nothing names the key of the dead letters, which every machine needs",
            where="spine.yaml/cdc",
            remedy="Make 64 random characters once (`openssl rand -hex 32`), give them to every "
            "machine, and write `cdc: {letter-key: env:SPINE_LETTER_KEY}`.",
            code="cdc.letter_key",
        )
    return KeyHasher(own_key(workspace.state, "letter.key"))
