"""Point ``dead_letter.replay``: may the parked rows of a route go through its gate again?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataspine.adapters import access, applied_route, route_deploy
from dataspine.adapters.applied_route import RouteCheck, open_applied
from dataspine.adapters.route_target import Asker, dead_letter_store, open_target, turn
from dataspine.adapters.routes import letters_path
from dataspine.adapters.session import Session
from dataspine.cdc.dead_letter import DeadLetterStore, Letter
from dataspine.cdc.event import Relation
from dataspine.cdc.replay import ReplayReport
from dataspine.cdc.replay import replay as replay_rows
from dataspine.cdc.route import load_route
from dataspine.cdc.state import RouteStore, StoredRoute
from dataspine.decisions.decision import Decision, DecisionInput
from dataspine.lineage import events

__all__ = ["Replayed", "dead_letters", "discard", "replay", "show"]

POINT = "dead_letter.replay"


@dataclass(frozen=True, slots=True)
class Replayed:
    """Whether the parked rows may be replayed, and what became of them; nothing when denied."""

    route: str
    decision: Decision
    report: ReplayReport

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**self.report.document(), "decision": self.decision.document()}


def replay(session: Session, path: Path, *, dry_run: bool = False) -> Replayed:
    """Put the route's parked rows through the current gate, when its actor may do that.

    Nothing is changed, but for the journal, when ``dry_run`` or when it is denied.
    """
    route, stored = open_applied(session, path)
    decision = session.decide(_replay_question(session, stored))
    with session.database.begin() as connection:
        session.journal.record(
            connection,
            decision,
            name=route.name,
            actor=session.principal,
            acted=decision.allow and not dry_run,
        )
    if not decision.allow:
        return Replayed(route.name, decision, ReplayReport(dry_run))
    relations: dict[str, Relation] = {}
    for source in route.sources:
        with contextlib.closing(route_deploy.open_source(session, route, source.name)) as opened:
            relations |= {relation.name: relation for relation in opened.relations()}
    asker = Asker(session, RouteCheck(session, stored))
    with open_target(session, route, stored, asker) as target:
        report = replay_rows(target, relations, dry_run=dry_run)
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


def _replay_question(session: Session, stored: StoredRoute) -> DecisionInput:
    with contextlib.closing(dead_letter_store(session, stored)) as letters:
        parked = {sink: rows for sink, (rows, _) in letters.parked_by_sink().items()}
    facts = {
        **route_deploy.question_again(session, stored).facts,
        "counts": {"rows": sum(parked.values()), "sinks": parked},
        "actor": session.principal.facts(),
    }
    return DecisionInput(POINT, session.clock(), facts)


@contextlib.contextmanager
def dead_letters(session: Session, path: Path) -> Iterator[DeadLetterStore]:
    """Open the route's dead letters, which lie where the applied route has them.

    Only the route's name is taken from its file, but for a route that is applied no more: what it
    left lies where its file says.
    """
    route = load_route(path)
    stored = RouteStore(session.database).find(route.name)
    place = letters_path(session, route.dead_letter_region)
    left = None if stored else DeadLetterStore.existing(place, route.name)
    if left is not None and not left.counts():
        left.close()
        left = None
    store = left or dead_letter_store(session, applied_route.stored(session, path))
    with contextlib.closing(store):
        yield store


def show(session: Session, path: Path, letter: int, *, payload: bool) -> Letter:
    """Return one of the route's rows; whoever reads its ``payload`` needs ``read`` on the route."""
    if payload:
        access.require(session, access.READ, load_route(path).name)
    with dead_letters(session, path) as store:
        return store.show(letter)


def discard(session: Session, path: Path, letter: int) -> None:
    """Give one of the route's parked rows up for good."""
    access.require(session, access.ERASE, load_route(path).name)
    with dead_letters(session, path) as store, turn(session, store.route)():
        store.discard(letter)
