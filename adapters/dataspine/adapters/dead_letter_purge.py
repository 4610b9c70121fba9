"""Remove old dead letters of a route for good, when whoever acts may erase there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dataspine.adapters import access
from dataspine.adapters.dead_letter_replay import dead_letters
from dataspine.adapters.route_target import turn
from dataspine.adapters.session import Session
from dataspine.cdc.dead_letter import Purged
from dataspine.cdc.route import load_route
from dataspine.core.clock import rfc3339

__all__ = ["Purge", "purge"]


@dataclass(frozen=True, slots=True)
class Purge:
    """What was purged, or would be when ``dry_run``: everything from before a time."""

    route: str
    before: datetime
    purged: Purged
    dry_run: bool

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "route": self.route,
            "before": rfc3339(self.before),
            "dry_run": self.dry_run,
            "letters": self.purged.letters,
            "tombstones": self.purged.tombstones,
        }


def purge(
    session: Session, path: Path, before: datetime, *, parked: bool = False, dry_run: bool = False
) -> Purge:
    """Purge what was settled, and with ``parked`` also what was parked, before a time.

    The decision is journalled, as acted on unless ``dry_run``. Raises ``DeniedError`` and
    ``UnavailableError``.
    """
    route = load_route(path).name
    decision = access.obtain(session, access.ERASE, route).decision
    if decision is not None:
        session.journal.note(decision, name=route, actor=session.principal, acted=not dry_run)
    with dead_letters(session, path) as store, turn(session, store.route)():
        purged = store.purge(int(before.timestamp()), parked=parked, dry_run=dry_run)
    return Purge(store.route, before, purged, dry_run)
