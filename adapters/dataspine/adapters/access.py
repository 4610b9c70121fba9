"""Point ``api.access``: may whoever acts do this?

Asked before every change that has no point of its own to say who may make it. What a trusted
signature authorises, publications and rollbacks of bundles, is not asked: a bundle that denies
everything could not be left. What has to work before a bundle is there asks about those who logged
in alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import sqlalchemy as sa

from dataspine.adapters.session import Session
from dataspine.core.errors import DataSpineError, UnavailableError
from dataspine.core.identity import Principal
from dataspine.decisions.decision import Decision, DecisionInput

__all__ = [
    "APPROVE",
    "CONFIGURE",
    "DEPLOY",
    "ERASE",
    "EVERYTHING",
    "IMPORT",
    "LINEAGE",
    "PROMOTE",
    "PUBLISH",
    "READ",
    "ROLLBACK",
    "DeniedError",
    "Permit",
    "ask",
    "channel",
    "obtain",
    "require",
    "require_unless_local",
]

POINT = "api.access"
PUBLISH, IMPORT, CONFIGURE, ERASE, READ = "publish", "import", "configure", "erase", "read"
DEPLOY, APPROVE, PROMOTE, ROLLBACK = "deploy", "approve", "promote", "rollback"
LINEAGE = "lineage"
# Resource of what concerns every subject.
EVERYTHING = "*"


class DeniedError(DataSpineError):
    """Policy does not let whoever acts do this; ``decision`` says why."""

    code = "access.denied"
    exit_code: ClassVar[int] = 1

    def __init__(self, decision: Decision, where: str) -> None:
        first = next(each for each in decision.violations if each.denies)
        super().__init__(f"{first.code}: {first.message}", where=where, remedy=first.remediation)
        self.decision = decision


@dataclass(frozen=True, slots=True)
class Permit:
    """That whoever acts may do this; ``decision`` is None when it was journalled before."""

    session: Session
    resource: str
    decision: Decision | None = None

    def record(self, connection: sa.Connection) -> None:
        """Journal it in the transaction of what it permits."""
        if self.decision is not None:
            self.session.journal.record(
                connection,
                self.decision,
                name=self.resource,
                actor=self.session.principal,
                acted=True,
            )

    def keep(self) -> None:
        """Keep what was journalled, as long as it holds."""
        if self.decision is not None:
            self.session.permits.put(self.decision.input_digest, self.decision)


def require(session: Session, permission: str, resource: str) -> None:
    """Return when whoever acts has the permission on a subject, a route or a channel.

    Raises ``DeniedError``, and ``UnavailableError`` when nobody answered. An answer is journalled,
    and kept as long as it holds: until it ends or another revision decides.
    """
    permit = obtain(session, permission, resource)
    if permit.decision is not None:
        session.journal.note(permit.decision, name=resource, actor=session.principal, acted=True)
        permit.keep()


def require_unless_local(session: Session, permission: str, resource: str) -> None:
    """As ``require``, without a question about the local user, whom nothing denies anything."""
    if not session.principal.local:
        require(session, permission, resource)


def obtain(session: Session, permission: str, resource: str) -> Permit:
    """Return the permit of ``require``, or raise as it does; the caller records and keeps it."""
    question = _question(session, session.principal, permission, resource)
    known = session.permits.get(question.digest)
    if known is not None and _holds(session, known):
        return Permit(session, resource)
    decision = session.decide(question)
    if decision.allow and decision.policy is not None:
        return Permit(session, resource, decision)
    session.journal.note(decision, name=resource, actor=session.principal, acted=False)
    if decision.policy is None:
        why = decision.violations[0]
        raise UnavailableError(why.message, where=resource, remedy=why.remediation, code=why.code)
    raise DeniedError(decision, resource)


def ask(session: Session, principal: Principal, permission: str, resource: str) -> Decision:
    """Return whether somebody has the permission; whoever acts asked, and nothing is done."""
    decision = session.decide(_question(session, principal, permission, resource))
    session.journal.note(decision, name=resource, actor=session.principal)
    return decision


def channel(name: str) -> str:
    """Return a channel's name as a resource; subjects and routes are called by their own."""
    return f"channel:{name}"


def _question(
    session: Session, principal: Principal, permission: str, resource: str
) -> DecisionInput:
    facts = {**principal.facts(), "permission": permission, "resource": resource}
    return DecisionInput(POINT, session.clock(), facts)


def _holds(session: Session, decision: Decision) -> bool:
    newest = session.revision
    current = decision.policy is not None and decision.policy.revision == newest
    return current and (decision.valid_until is None or session.clock() < decision.valid_until)
