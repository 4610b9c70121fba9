"""What was decided: the journal's entry, and beside it what OPA says that it decided."""

from __future__ import annotations

from typing import Any

from dataspine.adapters.session import Session
from dataspine.core.errors import NotFoundError

__all__ = ["recorded"]


def recorded(session: Session, decision_id: str) -> dict[str, Any]:
    """Return a decision's journal entry with OPA's event under ``logged``.

    ``logged`` is None while OPA's log has not arrived, or when OPA did not answer. Raises
    ``NotFoundError`` for an id that the journal does not have.
    """
    entry = session.journal.get(decision_id).document()
    try:
        logged = session.decision_log.get(decision_id)
    except NotFoundError:
        return {**entry, "logged": None}
    return {**entry, "logged": dict(logged)}
