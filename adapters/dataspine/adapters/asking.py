"""Ask one whole question: the use case of ``spine decide`` and ``POST /v1/decisions``."""

from __future__ import annotations

from dataspine.adapters.session import Session
from dataspine.core.canonical import canonical
from dataspine.core.errors import InputError
from dataspine.decisions.decision import Decision, DecisionInput
from dataspine.decisions.engine import decide_now
from dataspine.decisions.journal import require_short_name

__all__ = ["ask"]

MAX_ANSWER = 262_144


def ask(session: Session, question: DecisionInput) -> Decision:
    """Decide as of now, whatever time the question names, and journal it as not acted on.

    Raises ``InputError`` for a name, or an answer, that is too long to be journalled: anybody may
    ask.
    """
    named = question.facts.get("name")
    name = require_short_name(named if isinstance(named, str) else "", where="/facts/name")
    decision = decide_now(session, question, session.clock)
    if len(canonical(decision.document())) > MAX_ANSWER:
        raise InputError(
            f"the answer is over the limit of {MAX_ANSWER} bytes",
            where="/facts",
            remedy="Ask about less at once.",
            code="input.answer_too_long",
        )
    session.journal.note(decision, name=name, actor=session.principal)
    return decision
