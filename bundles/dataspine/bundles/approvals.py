"""Who looked at a step of a channel before it is made, and approves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dataspine.bundles._tables import approvals
from dataspine.core.clock import Clock, rfc3339, utc_now
from dataspine.core.database import Database
from dataspine.core.errors import InputError
from dataspine.core.identity import Principal

__all__ = ["Approval", "Approvals", "Step"]

MAX_APPROVERS = 64
_MAX_REASON = 1_000


@dataclass(frozen=True, slots=True)
class Step:
    """What is approved: a channel goes from the sequence ``base`` (0: nothing) to a content."""

    channel: str
    base: int
    digest: str


@dataclass(frozen=True, slots=True)
class Approval:
    """One actor's word on a step; ``reason`` is None where none was given.

    ``verified`` says that a token proved who the actor is.
    """

    step: Step
    actor: str
    verified: bool
    approved_at: str
    reason: str | None

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "channel": self.step.channel,
            "base": self.step.base,
            "digest": self.step.digest,
            "actor": self.actor,
            "verified": self.verified,
            "approved_at": self.approved_at,
            "reason": self.reason,
        }


class Approvals:
    """Records one approval per step and actor. It judges nobody: the rules do."""

    def __init__(self, database: Database, *, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def add(self, step: Step, *, actor: Principal, reason: str | None = None) -> Approval:
        """Record an approval and return it; whoever approved already, did so then.

        A verified approval takes the place of one under the same name that was not.
        Raises ``InputError`` for a long reason, or when a step has as many approvers as count.
        """
        if reason is not None and len(reason) > _MAX_REASON:
            raise InputError(
                f"a reason has at most {_MAX_REASON} characters",
                where="reason",
                remedy="Say it shorter.",
            )
        with self._database.begin() as connection:
            known = {each.actor: each for each in _of(connection, step)}
            earlier = known.get(actor.name)
            if earlier is not None and (earlier.verified or not actor.verified):
                return earlier
            if earlier is not None:
                connection.execute(
                    approvals.delete().where(*_at(step), approvals.c.actor == actor.name)
                )
            elif len(known) >= MAX_APPROVERS:
                raise InputError(
                    f"{MAX_APPROVERS} approved already",
                    where=step.channel,
                    remedy="Promote it: more approvals change nothing.",
                )
            at = rfc3339(self._clock())
            made = Approval(step, actor.name, actor.verified, at, reason)
            connection.execute(approvals.insert().values(**made.document()))
        return made

    def of(self, step: Step) -> list[Approval]:
        """Return the approvals of a step, the first one first."""
        with self._database.read() as connection:
            return _of(connection, step)


def _of(connection: sa.Connection, step: Step) -> list[Approval]:
    query = (
        sa.select(approvals).where(*_at(step)).order_by(approvals.c.approved_at, approvals.c.actor)
    )
    return [
        Approval(step, row.actor, row.verified, row.approved_at, row.reason)
        for row in connection.execute(query)
    ]


def _at(step: Step) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        approvals.c.channel == step.channel,
        approvals.c.base == step.base,
        approvals.c.digest == step.digest,
    )
