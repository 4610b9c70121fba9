"""Ask one whole question: the use case of ``spine decide`` and ``POST /v1/decisions``."""

from __future__ import annotations

from dataspine.adapters.session import Session
from dataspine.decisions.decision import Decision, DecisionInput
from dataspine.decisions.engine import decide_now

__all__ = ["ask"]


def ask(session: Session, question: DecisionInput) -> Decision:
    """Decide as of now, whatever time the question names, and journal it as not acted on."""
    decision = decide_now(session, question, session.clock)
    name = str(question.facts.get("name", ""))
    session.journal.note(decision, name=name, actor=session.principal)
    return decision
