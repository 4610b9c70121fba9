"""What changes a released channel: publications and rollbacks, for the CLI and the service.

A channel takes what a trusted key signed for it. The step from one channel to the next is a
decision of its own: ``bundle_promote``.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dataspine.adapters.bundle_keys import signer
from dataspine.adapters.bundle_origin import origin_of
from dataspine.adapters.policy import DEV, content_of
from dataspine.adapters.session import Session
from dataspine.bundles import (
    Bundle,
    Content,
    Origin,
    Publication,
    Publisher,
    Recorded,
    signed_by,
    unpack,
    verify,
)
from dataspine.core.errors import ConflictError, InputError, NotFoundError
from dataspine.decisions.decision import Decision, DecisionInput, Violation

__all__ = [
    "CHANNELS",
    "Channel",
    "Published",
    "bootstrap",
    "channels",
    "find_publication",
    "publish",
    "release",
    "reserve",
    "rollback",
    "upload",
]

CHANNELS = ("candidate", "canary", "stable")
POINT = "bundle.promote"
BOOTSTRAP = "engine.bootstrap"
_SHORTEST = 6


@dataclass(frozen=True, slots=True)
class Published:
    """What a channel serves after a call; ``changed`` when it did not before."""

    publication: Publication
    changed: bool

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {**self.publication.document(), "changed": self.changed}


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel, what it serves (None: nothing yet), and what it served before."""

    name: str
    active: Publication | None
    previous: Publication | None

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "channel": self.name,
            "active": self.active.document() if self.active else None,
            "previous": self.previous.document() if self.previous else None,
        }


def channels(session: Session) -> list[Channel]:
    """Return every channel, the empty ones too; ``dev`` when it was used."""
    found = []
    used = session.bundles.channels()
    for name in (*CHANNELS, *(each for each in used if each not in CHANNELS)):
        newest = session.bundles.history(name, limit=2)
        found.append(Channel(name, *(*newest, None, None)[:2]))
    return found


def reserve(session: Session, channel: str, digest: str) -> int:
    """Return the sequence to sign content for; asked again, the same one."""
    _require_released(channel)
    return session.bundles.reserve(channel, digest)


def upload(
    session: Session, channel: str, data: bytes, *, sequence: int | None = None
) -> Published:
    """Publish an archive as it was signed elsewhere; ``sequence`` is the one it must be for."""
    _require_released(channel)
    bundle = verify(data, session.trust, channel=channel, opa=session.opa_path)
    if sequence not in (None, bundle.sequence):
        raise ConflictError(
            f"the archive is signed for sequence {bundle.sequence}, not {sequence}",
            where=channel,
            remedy="Sign it for the reserved sequence.",
            code="bundle.not_reserved",
        )
    return _stored(session, bundle)


def publish(
    session: Session,
    channel: str,
    *,
    data: bytes | None = None,
    key: str | None = None,
    reports: Sequence[bytes] = (),
) -> Published:
    """Make content what a channel serves: the workspace's own, or an archive's.

    An archive that a released key signed is published as it is; a local build is signed anew.
    Content that the channel serves by that key already changes nothing.
    """
    _require_released(channel)
    if data is not None and signed_by(data) not in (None, DEV):
        if reports:
            raise ConflictError(
                "the bundle is signed already, and no result of tests can be added",
                remedy="Sign it again with `spine bundle sign --tests`, or publish it as it is.",
                code="bundle.signed_already",
            )
        return upload(session, channel, data)
    if data is None:
        content = content_of(session.workspace, opa=session.opa_path)
    else:
        content = unpack(data).checked(session.opa_path)
    origin = origin_of(session.workspace, content, author=session.actor, reports=reports)
    return release(session, content, channel, key=key, origin=origin)


def release(
    session: Session, content: Content, channel: str, *, key: str | None, origin: Origin
) -> Published:
    """Sign content for a channel by a key reference, and publish it there."""
    publisher = Publisher(
        signer(session.workspace, channel, key), session.trust, actor=session.actor
    )
    newest = session.bundles.history(channel, limit=1)
    if newest and (newest[0].digest, newest[0].key_id) == (content.digest, publisher.key.id):
        return Published(newest[0], changed=False)
    bundle = session.bundles.release(
        content, channel, publisher, origin=origin, recorded=_recorder(session)
    )
    return _published(session, bundle, changed=True)


def rollback(session: Session, channel: str, *, to: str, reason: str, key: str | None) -> Published:
    """Publish an earlier content of a channel again, by its revision, digest or sequence.

    The signature alone authorises it: what is active is not asked, so a bundle that denies
    everything can be left.
    """
    _require_released(channel)
    target = find_publication(session, channel, to)
    publisher = Publisher(
        signer(session.workspace, channel, key), session.trust, actor=session.actor
    )
    bundle = session.bundles.rollback(
        channel, to=target.sequence, reason=reason, publisher=publisher
    )
    return _published(session, bundle, changed=True)


def find_publication(session: Session, channel: str, named: str) -> Publication:
    """Return an earlier publication of a channel: a sequence, or the start of a digest or revision.

    Raises ``NotFoundError``, and ``InputError`` when several contents fit.
    """
    earlier = session.bundles.history(channel)[1:]
    fitting = [each for each in earlier if str(each.sequence) == named]
    fitting = fitting or [each for each in earlier if _is_named(each, named)]
    if not fitting:
        raise NotFoundError(
            f"{named[:80]!r} is no earlier bundle of the channel",
            where=channel,
            remedy=f"Name a sequence, or the first {_SHORTEST} digits of a digest; "
            "see `spine bundle status`.",
            code="bundle.no_such_sequence",
        )
    if len({each.digest for each in fitting}) > 1:
        raise InputError(
            f"{named[:80]!r} fits several bundles",
            where=channel,
            remedy="Name more of it, or the sequence.",
            code="bundle.ambiguous",
        )
    return fitting[0]


def _is_named(publication: Publication, named: str) -> bool:
    digest = publication.digest.removeprefix("sha256:")
    shortened = named.rpartition("sha256")[2].lstrip(":.")
    return publication.revision == named or (
        len(shortened) >= _SHORTEST and digest.startswith(shortened)
    )


def _require_released(channel: str) -> None:
    if channel not in CHANNELS:
        raise InputError(
            f"{channel[:80]!r} is no channel that bundles are published to",
            where="channel",
            remedy=f"Use {', '.join(CHANNELS)}; {DEV} follows the sources by itself.",
            code="bundle.bad_channel",
        )


def _stored(session: Session, bundle: Bundle) -> Published:
    before = session.bundles.active(bundle.channel)
    session.bundles.publish(
        bundle.data,
        session.trust,
        channel=bundle.channel,
        actor=session.actor,
        recorded=_recorder(session),
    )
    changed = before is None or before.sequence < bundle.sequence
    return _published(session, bundle, changed=changed)


def _published(session: Session, bundle: Bundle, *, changed: bool) -> Published:
    found = session.bundles.publication(bundle.channel, bundle.sequence)
    if found is None:
        raise NotFoundError(
            "the publication is gone", where=bundle.channel, remedy="Publish it again."
        )
    return Published(found, changed)


def _recorder(session: Session) -> Recorded:
    def record(connection: sa.Connection, publication: Publication, bundle: Bundle) -> None:
        # No bundle was there to judge the first one; its trusted signature stands for that.
        if publication.bootstrap:
            decision = bootstrap(session, publication)
            session.journal.record(
                connection, decision, name=bundle.channel, actor=session.principal, acted=True
            )

    return record


def bootstrap(session: Session, publication: Publication) -> Decision:
    """Return what is journalled of a channel's first bundle, which nobody could judge."""
    at = session.clock()
    facts = {
        "name": publication.channel,
        "revision": publication.revision,
        "sequence": publication.sequence,
        "key_id": publication.key_id,
    }
    note = Violation(
        code=BOOTSTRAP,
        severity="warn",
        message=f"the channel was empty: {publication.revision} is its first bundle",
        path="/facts/name",
        remediation="Nothing to do: later bundles are judged by this one.",
    )
    return Decision(
        decision_id=str(uuid.uuid4()),
        point=POINT,
        allow=True,
        violations=(note,),
        obligations=(),
        policy=None,
        input_digest=DecisionInput(POINT, at, facts).digest,
        evaluated_at=at,
        valid_until=None,
    )
