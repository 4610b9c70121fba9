"""Point ``bundle.promote``: may this bundle become what this channel serves?

What decides here now judges, never the candidate. The step is decided on facts: what the candidate
would change, who wrote and tested it, who approved that this channel goes from here to there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dataspine.adapters import access, bundle_publish
from dataspine.adapters.bundle_keys import signer
from dataspine.adapters.opened_bundle import Opened, active_of, locate, read
from dataspine.adapters.policy import trust_of
from dataspine.adapters.policy_impact import Impact, Told, impact
from dataspine.adapters.session import Session
from dataspine.bundles import (
    Active,
    Approval,
    Bundle,
    Origin,
    Publication,
    Publisher,
    Step,
    signed_by,
    unpack,
)
from dataspine.core.errors import ConflictError, InputError, NotFoundError
from dataspine.decisions.decision import Decision, DecisionInput
from dataspine.lineage import events

__all__ = [
    "CHANNELS",
    "Candidate",
    "Promotion",
    "approve",
    "candidate",
    "promote",
    "published_candidate",
]

CHANNELS = ("canary", "stable")
POINT = "bundle.promote"
# Where a candidate is looked for: the nearest step below first.
_SOURCES = ("canary", "candidate", "dev", "stable")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A bundle that may be promoted; ``channel`` and ``key_id`` are None when it is unsigned.

    ``author`` is who wrote it: whoever brings it, where nobody said.
    """

    opened: Opened
    channel: str | None
    key_id: str | None
    origin: Origin
    author: str

    @property
    def digest(self) -> str:
        """The content's digest."""
        return self.opened.bundle.digest

    def facts(self, sequence: int) -> dict[str, Any]:
        """Return how the rules see it, with the sequence that is reserved for it."""
        tests = self.origin.document()["tests"]
        return {
            "revision": self.opened.bundle.revision,
            "sequence": sequence,
            "channel": self.channel,
            "author": self.author,
            "key_id": self.key_id,
            "tests": None if tests is None else {**tests, "coverage": self.origin.coverage},
        }


@dataclass(frozen=True, slots=True)
class Promotion:
    """What came of it.

    ``decision`` and ``impact`` are None when nothing was asked: the channel was empty, or served
    this content already. ``publication`` is None when it was denied.
    """

    channel: str
    revision: str
    decision: Decision | None = None
    impact: Impact | None = None
    approvals: Sequence[Approval] = ()
    publication: Publication | None = None
    changed: bool = False

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "channel": self.channel,
            "revision": self.revision,
            "changed": self.changed,
            "decision": self.decision.document() if self.decision else None,
            "impact": self.impact.document() if self.impact else None,
            "approvals": [each.document() for each in self.approvals],
            "publication": self.publication.document() if self.publication else None,
        }


def candidate(session: Session, name: str) -> Candidate:
    """Return the bundle that a user names: a published revision or digest, or a bundle file."""
    if locate(session, name, _SOURCES) is not None:
        return published_candidate(session, name)
    data = read(Path(name))
    if signed_by(data) is None:
        opened = Opened.unsigned(unpack(data), session.opa_path)
        return Candidate(opened, None, None, Origin(), session.actor)
    opened = Opened.verified(data, trust_of(session.workspace), session.opa_path)
    bundle = opened.bundle
    author = bundle.origin.author or session.actor
    return Candidate(opened, bundle.channel, bundle.key_id, bundle.origin, author)


def published_candidate(session: Session, name: str) -> Candidate:
    """Return a bundle that was published here, by its revision or digest."""
    found = locate(session, name, _SOURCES)
    if found is None:
        raise NotFoundError(
            "no such bundle was published",
            where=name[:80],
            remedy="See `spine bundle status`.",
            code="bundle.unknown",
        )
    channel, publication = found
    data = session.bundles.bytes_of(channel, publication.sequence)
    opened = Opened.verified(data, trust_of(session.workspace), session.opa_path)
    bundle = opened.bundle
    author = bundle.origin.author or publication.actor
    return Candidate(opened, channel, bundle.key_id, bundle.origin, author)


def approve(
    session: Session, proposed: Candidate, channel: str, *, reason: str | None = None
) -> Approval:
    """Record that the session's actor approves the step from what a channel serves now."""
    _require_target(channel)
    access.require(session, access.APPROVE, access.channel(channel))
    step = _step(channel, session.bundles.active(channel), proposed)
    return session.approvals.add(step, actor=session.principal, reason=reason)


def promote(
    session: Session,
    proposed: Candidate,
    channel: str,
    *,
    key: str | None,
    told: Told = lambda _done, _of: None,
) -> Promotion:
    """Make a candidate what a channel serves, when policy allows it.

    Raises ``ConflictError`` when the channel, or what judges, changed meanwhile: then nothing was
    done; ``UnavailableError`` while nothing decides here. ``told`` hears how far the replay of
    recorded decisions is.
    """
    # 1. Nothing is asked that could not be done.
    _require_target(channel)
    held = Publisher(
        signer(session.workspace, channel, key), trust_of(session.workspace), session.actor
    )
    current = session.bundles.active(channel)
    step = _step(channel, current, proposed)
    approvals = tuple(session.approvals.of(step))
    asked = Promotion(channel, proposed.opened.bundle.revision, approvals=approvals)
    if current is None:
        # An empty channel takes its first bundle unasked: no approval counts.
        return _released(session, proposed, held, step, replace(asked, approvals=()))
    if current.digest == proposed.digest:
        return replace(asked, publication=session.bundles.publication(channel, current.sequence))
    # 2. What it would change, and what the rules say about that; without rules nothing is asked.
    _ = session.active
    access.require(session, access.PROMOTE, access.channel(channel))
    sequence = session.bundles.reserve(channel, proposed.digest)
    found = impact(session, proposed.opened, active_of(session, channel), told=told)
    facts = {
        "name": channel,
        "candidate": proposed.facts(sequence),
        "current": {"revision": current.revision, "sequence": current.sequence},
        "impact": found.counts,
        "approvers": [each.actor for each in approvals],
        "verified_approvers": [each.actor for each in approvals if each.verified],
        "actor": session.actor,
        "verified": session.principal.verified,
        "mode": session.workspace.settings.mode,
        "channel": channel,
    }
    decision = session.decide(DecisionInput(POINT, session.clock(), facts))
    asked = replace(asked, decision=decision, impact=found)
    # 3. A denial is journalled; an allowed step is made with its journal row and lineage event.
    if not decision.allow:
        session.journal.note(decision, name=channel, actor=session.principal)
        return asked
    return _released(session, proposed, held, step, asked)


def _released(
    session: Session, proposed: Candidate, held: Publisher, step: Step, asked: Promotion
) -> Promotion:
    """Sign for the channel and publish; without a decision it is the channel's first bundle."""
    decision = asked.decision

    def record(connection: sa.Connection, publication: Publication, bundle: Bundle) -> None:
        if decision is not None:
            _require_judge(session, connection, step, decision)
        made = decision or bundle_publish.bootstrap(session, publication)
        session.journal.record(
            connection, made, name=step.channel, actor=session.principal, acted=True
        )
        event = events.bundle_promoted(
            workspace=session.workspace.name,
            channel=step.channel,
            revision=bundle.revision,
            sequence=bundle.sequence,
            decision=made,
            at=session.clock(),
        )
        session.outbox.write(connection, event)

    bundle = session.bundles.release(
        proposed.opened.bundle.content,
        step.channel,
        held,
        origin=proposed.origin,
        over=step.base,
        recorded=record,
    )
    publication = session.bundles.publication(step.channel, bundle.sequence)
    return replace(asked, publication=publication, changed=True)


def _require_judge(
    session: Session, connection: sa.Connection, step: Step, decision: Decision
) -> None:
    """Raise ``ConflictError`` unless what judged is still what decides here."""
    judge = decision.policy.sequence if decision.policy else None
    newest: int | None = step.base  # `over` holds the promoted channel where it was
    if step.channel != session.channel:
        active = session.bundles.active(session.channel, connection)
        newest = active.sequence if active else None
    if judge != newest:
        raise ConflictError(
            f"it was judged by sequence {judge}, and {newest} decides now",
            where=session.channel,
            remedy="Promote again.",
            code="bundle.superseded",
        )


def _step(channel: str, current: Active | None, proposed: Candidate) -> Step:
    return Step(channel, current.sequence if current else 0, proposed.digest)


def _require_target(channel: str) -> None:
    if channel not in CHANNELS:
        raise InputError(
            f"{channel[:80]!r} is no channel that bundles are promoted to",
            where="channel",
            remedy=f"Use {' or '.join(CHANNELS)}; anything may be published to candidate.",
            code="bundle.bad_channel",
        )
