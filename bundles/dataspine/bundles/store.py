"""The bundles that a workspace published, by channel and sequence."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dataspine.bundles._tables import archives, bundles
from dataspine.bundles.content import Content
from dataspine.bundles.keys import Signer, Trust, TrustedKey
from dataspine.bundles.origin import Origin
from dataspine.bundles.signing import Bundle, sign, unpack, verify
from dataspine.core.clock import Clock, rfc3339, utc_now
from dataspine.core.database import Database
from dataspine.core.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
)

__all__ = [
    "Active",
    "BundleStore",
    "ChannelSource",
    "Publication",
    "Publisher",
    "Recorded",
    "etag_of",
]

# Other processes' publications are seen by looking; a look is one indexed row.
LOOK_SECONDS = 0.05
MAX_PAGE = 1_000
_CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,62}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_REASON = 1_000
_SAME = sa.and_(archives.c.channel == bundles.c.channel, archives.c.sequence == bundles.c.sequence)

# Called in the transaction of a publication: what is written there is there with it, or not at all.
Recorded = Callable[[sa.Connection, "Publication", Bundle], None]


@dataclass(frozen=True, slots=True)
class Active:
    """What a channel serves."""

    revision: str
    sequence: int
    digest: str


@dataclass(frozen=True, slots=True)
class Publication:
    """One bundle that a channel served; ``bootstrap`` is the first, which nobody judged.

    ``rollback`` is the order of a rollback: channel, from, to, sequence, actor, reason.
    """

    channel: str
    revision: str
    sequence: int
    digest: str
    actor: str
    published_at: str
    key_id: str | None
    origin: Origin
    rollback: Mapping[str, Any] | None
    bootstrap: bool

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "channel": self.channel,
            "revision": self.revision,
            "sequence": self.sequence,
            "digest": self.digest,
            "actor": self.actor,
            "published_at": self.published_at,
            "key_id": self.key_id,
            **self.origin.document(),
            "rollback": None if self.rollback is None else dict(self.rollback),
            "bootstrap": self.bootstrap,
        }


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who publishes: the key that signs, the keys that count, the name that is recorded."""

    key: Signer
    trust: Trust
    actor: str


class BundleStore:
    """Reserves sequences, stores signed bundles, and says what each channel serves.

    A sequence only grows. The newest published sequence of a channel is what it serves. Whatever
    was published once stays, and is found by its digest.
    """

    def __init__(self, database: Database, *, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock
        self._published = threading.Condition()

    def reserve(self, channel: str, digest: str) -> int:
        """Return the sequence for content; asked again before it is published, the same one.

        It counts as long as nothing else is published there: then it must be asked for again.
        """
        _require_name(channel)
        if _DIGEST.fullmatch(digest) is None:
            raise InputError(
                f"{digest[:80]!r} is no digest", remedy="Write sha256: and 64 hexadecimal digits."
            )
        with self._database.begin() as connection:
            active = self._active(connection, channel)
            base = active.sequence if active else 0
            mine = (bundles.c.channel == channel, bundles.c.digest == digest)
            waiting = connection.execute(
                sa.select(sa.func.max(bundles.c.sequence)).where(
                    *mine, bundles.c.revision.is_(None), bundles.c.sequence > base
                )
            ).scalar_one()
            if waiting is not None:
                connection.execute(
                    bundles.update().where(*mine, bundles.c.sequence == waiting).values(base=base)
                )
                return int(waiting)
            newest = connection.execute(
                sa.select(sa.func.max(bundles.c.sequence)).where(bundles.c.channel == channel)
            ).scalar_one()
            sequence = int(newest or 0) + 1
            connection.execute(
                bundles.insert().values(
                    channel=channel, sequence=sequence, digest=digest, base=base
                )
            )
            return sequence

    def publish(
        self,
        data: bytes,
        trust: Trust,
        *,
        channel: str,
        actor: str,
        over: int | None = None,
        recorded: Recorded | None = None,
    ) -> Bundle:
        """Verify a bundle and make it what its channel serves.

        ``over`` is the sequence that the channel must still serve, 0 for none: what was decided
        about the step from there.
        Raises ``IntegrityError`` for a signature that does not count, a sequence that is not newer
        or an order that is not this bundle's, and ``ConflictError`` when the sequence was not
        reserved for this content, or when somebody else published meanwhile. The bundle that the
        channel serves already, published again, changes nothing.
        """
        _require_name(channel)
        bundle = verify(data, trust, channel=channel)
        with self._database.begin() as connection:
            active = self._active(connection, channel)
            newest = active.sequence if active else 0
            if over not in (None, newest):
                raise _superseded(channel, newest)
            if active is not None and (bundle.sequence, bundle.digest) == (
                active.sequence,
                active.digest,
            ):
                return bundle
            self._require_reserved(connection, bundle, active)
            _require_order(bundle, active)
            publication = Publication(
                channel=channel,
                revision=bundle.revision,
                sequence=bundle.sequence,
                digest=bundle.digest,
                actor=actor,
                published_at=rfc3339(self._clock()),
                key_id=bundle.key_id,
                origin=bundle.origin,
                rollback=bundle.metadata.get("order"),
                bootstrap=active is None,
            )
            connection.execute(
                bundles.update()
                .where(bundles.c.channel == channel, bundles.c.sequence == bundle.sequence)
                .values(
                    revision=publication.revision,
                    actor=publication.actor,
                    published_at=publication.published_at,
                    key_id=publication.key_id,
                    origin=publication.origin.document(),
                    rollback=publication.rollback,
                )
            )
            if recorded is not None:
                recorded(connection, publication, bundle)
            # Bytes that are served are never replaced: the sequence is new.
            row = {"channel": channel, "sequence": bundle.sequence, "data": bundle.data}
            connection.execute(archives.insert(), row)
        with self._published:
            self._published.notify_all()
        return bundle

    def release(
        self,
        content: Content,
        channel: str,
        publisher: Publisher,
        *,
        origin: Origin | None = None,
        over: int | None = None,
        recorded: Recorded | None = None,
    ) -> Bundle:
        """Reserve, sign and publish content: new, or what another channel serves already.

        ``over`` and errors as of ``publish``.
        """
        sequence = self.reserve(channel, content.digest)
        data = sign(content, publisher.key, sequence=sequence, channel=channel, origin=origin)
        return self.publish(
            data,
            publisher.trust,
            channel=channel,
            actor=publisher.actor,
            over=over,
            recorded=recorded,
        )

    def rollback(self, channel: str, *, to: int, reason: str, publisher: Publisher) -> Bundle:
        """Publish the content of an older sequence again: same revision, new sequence.

        The order stands in the signed manifest's metadata, so the signature alone authorises it.
        """
        if not reason.strip() or len(reason) > _MAX_REASON:
            raise InputError(
                "a rollback has a reason", where="reason", remedy="Say why, for who reads it later."
            )
        active = self.active(channel)
        old = self.publication(channel, to)
        if active is None or old is None or to >= active.sequence:
            raise NotFoundError(
                f"sequence {to} is no earlier bundle of the channel",
                where=channel,
                remedy="See `spine bundle status`.",
                code="bundle.no_such_sequence",
            )
        content = self.content(old.digest)
        sequence = self.reserve(channel, old.digest)
        order = {
            "channel": channel,
            "from": active.revision,
            "to": old.revision,
            "sequence": sequence,
            "actor": publisher.actor,
            "reason": reason,
        }
        signed = sign(
            content,
            publisher.key,
            sequence=sequence,
            channel=channel,
            origin=old.origin,
            order=order,
        )
        return self.publish(signed, publisher.trust, channel=channel, actor=publisher.actor)

    def active(self, channel: str, connection: sa.Connection | None = None) -> Active | None:
        """Return what a channel serves, or None; as the caller's transaction sees it, if given."""
        if connection is not None:
            return self._active(connection, channel)
        with self._database.read() as opened:
            return self._active(opened, channel)

    def current(self, channel: str) -> tuple[str, bytes] | None:
        """Return the ETag and the bytes of what a channel serves."""
        active = self.active(channel)
        if active is None:
            return None
        return etag_of(active), self.bytes_of(channel, active.sequence)

    def wait(self, channel: str, etag: str | None, seconds: float) -> tuple[str, bytes] | None:
        """Return the first bundle with another ETag, or None after ``seconds``."""
        end = time.monotonic() + seconds
        while True:
            active = self.active(channel)
            if active is not None and etag_of(active) != etag:
                return self.current(channel)
            left = end - time.monotonic()
            if left <= 0:
                return None
            with self._published:
                self._published.wait(min(left, LOOK_SECONDS))

    def history(self, channel: str, *, limit: int = MAX_PAGE) -> list[Publication]:
        """Return what a channel served, the newest first, at most ``limit``."""
        return self._select(bundles.c.channel == channel, limit=limit, by=bundles.c.sequence)

    def publication(self, channel: str, sequence: int) -> Publication | None:
        """Return one publication, or None."""
        mine = (bundles.c.channel == channel, bundles.c.sequence == sequence)
        found = self._select(*mine, limit=1, by=bundles.c.sequence)
        return found[0] if found else None

    def publications(self, digest: str | None = None, *, limit: int = 100) -> list[Publication]:
        """Return the publications of one content, or of all, the newest first."""
        conditions = () if digest is None else (bundles.c.digest == digest,)
        return self._select(*conditions, limit=limit, by=bundles.c.published_at)

    def channels(self) -> list[str]:
        """Return the names of the channels that serve a bundle."""
        query = (
            sa.select(bundles.c.channel)
            .where(bundles.c.revision.is_not(None))
            .distinct()
            .order_by(bundles.c.channel)
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def content(self, digest: str) -> Content:
        """Return a published content by its digest.

        Raises ``NotFoundError`` for one that was never published, and ``IntegrityError`` when no
        stored bundle holds it unchanged any more.
        """
        published = self.publications(digest, limit=MAX_PAGE)
        for each in published:
            try:
                found = unpack(self.bytes_of(each.channel, each.sequence))
            except (IntegrityError, UnavailableError):
                continue  # another channel may hold the same content whole
            if found.digest == digest:
                return found
        if not published:
            raise NotFoundError(
                "no such bundle was published",
                where=digest[:80],
                remedy="See `spine bundle status`.",
                code="bundle.unknown",
            )
        raise IntegrityError(
            "the stored bundle was changed",
            where=f"{published[0].channel}, sequence {published[0].sequence}",
            remedy="Roll back to another sequence, or publish from the sources.",
            code="bundle.tampered",
        )

    def find(self, revision: str, sequence: int) -> bytes | None:
        """Return the bytes of a published bundle of any channel, or None."""
        query = (
            sa.select(archives.c.data)
            .join(bundles, _SAME)
            .where(bundles.c.revision == revision, bundles.c.sequence == sequence)
            .order_by(bundles.c.channel)
            .limit(1)
        )
        with self._database.read() as connection:
            return connection.scalar(query)

    def bytes_of(self, channel: str, sequence: int) -> bytes:
        """Return the exact bytes that were published."""
        mine = (archives.c.channel == channel, archives.c.sequence == sequence)
        with self._database.read() as connection:
            data = connection.scalar(sa.select(archives.c.data).where(*mine))
        if data is None:
            raise UnavailableError(
                "the bundle's bytes are lost",
                where=f"{channel}, sequence {sequence}",
                remedy="Publish the bundle again.",
                code="bundle.lost",
            )
        return bytes(data)

    def _active(self, connection: sa.Connection, channel: str) -> Active | None:
        row = connection.execute(
            sa.select(bundles)
            .where(bundles.c.channel == channel, bundles.c.revision.is_not(None))
            .order_by(bundles.c.sequence.desc())
            .limit(1)
        ).one_or_none()
        return Active(row.revision, row.sequence, row.digest) if row else None

    def _select(
        self, *conditions: sa.ColumnElement[bool], limit: int, by: sa.ColumnElement[Any]
    ) -> list[Publication]:
        if not 1 <= limit <= MAX_PAGE:
            raise InputError(
                f"limit must be 1 to {MAX_PAGE}", where="limit", remedy="Ask for less."
            )
        first = (
            sa.select(bundles.c.channel, sa.func.min(bundles.c.sequence).label("sequence"))
            .where(bundles.c.revision.is_not(None))
            .group_by(bundles.c.channel)
            .subquery()
        )
        query = (
            sa.select(bundles, (bundles.c.sequence == first.c.sequence).label("bootstrap"))
            .join(first, bundles.c.channel == first.c.channel)
            .where(bundles.c.revision.is_not(None), *conditions)
            .order_by(by.desc(), bundles.c.sequence.desc(), bundles.c.channel)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [_publication(row) for row in connection.execute(query)]

    def _require_reserved(
        self, connection: sa.Connection, bundle: Bundle, active: Active | None
    ) -> None:
        row = connection.execute(
            sa.select(bundles).where(
                bundles.c.channel == bundle.channel,
                bundles.c.sequence == bundle.sequence,
                bundles.c.digest == bundle.digest,
            )
        ).one_or_none()
        newest = active.sequence if active else 0
        if row is None and bundle.sequence > newest:
            raise ConflictError(
                f"sequence {bundle.sequence} was not reserved for this content",
                where=bundle.channel,
                remedy="Reserve a sequence, sign with it, publish again.",
                code="bundle.not_reserved",
            )
        if row is None or row.revision is not None:
            raise IntegrityError(
                f"sequence {bundle.sequence} is not newer than {newest}",
                where=bundle.channel,
                remedy="A rollback publishes the old content with a new sequence.",
                code="bundle.older",
            )
        if row.base != newest:
            raise _superseded(bundle.channel, newest)


class ChannelSource:
    """One channel of a store, as a supervised OPA asks for it."""

    def __init__(self, store: BundleStore, channel: str, trust: Trust) -> None:
        self._store = store
        self._channel = channel
        self._trust = trust

    def current(self) -> tuple[str, bytes] | None:
        """Return the ETag and the bytes of the newest bundle, or None."""
        return self._store.current(self._channel)

    def wait(self, etag: str | None, seconds: float) -> tuple[str, bytes] | None:
        """Return the first bundle with another ETag, or None after ``seconds``."""
        return self._store.wait(self._channel, etag, seconds)

    def trusted_keys(self) -> Sequence[TrustedKey]:
        """Return the keys that may sign for the channel."""
        return self._trust.for_channel(self._channel)


def _publication(row: sa.Row[Any]) -> Publication:
    return Publication(
        channel=row.channel,
        revision=row.revision,
        sequence=row.sequence,
        digest=row.digest,
        actor=row.actor,
        published_at=row.published_at,
        key_id=row.key_id,
        origin=Origin.of(row.origin),
        rollback=row.rollback,
        bootstrap=bool(row.bootstrap),
    )


def _require_order(bundle: Bundle, active: Active | None) -> None:
    order = bundle.metadata.get("order")
    if order is None:
        return
    expected = {
        "channel": bundle.channel,
        "from": active.revision if active else None,
        "to": bundle.revision,
        "sequence": bundle.sequence,
    }
    if not isinstance(order, Mapping) or {**order, **expected} != order:
        raise IntegrityError(
            "the order in its manifest is not for this bundle, or not from what is active",
            where=bundle.channel,
            remedy="Order the rollback again: `spine bundle rollback`.",
            code="bundle.bad_order",
        )


def _superseded(channel: str, newest: int) -> ConflictError:
    return ConflictError(
        f"sequence {newest} was published meanwhile",
        where=channel,
        remedy="Look at it with `spine bundle diff`, then do it again.",
        code="bundle.superseded",
    )


def _require_name(channel: str) -> None:
    if _CHANNEL.fullmatch(channel) is None:
        raise InputError(
            f"{channel!r} is no channel's name",
            remedy="Use small letters, digits and hyphens.",
            code="bundle.bad_channel",
        )


def etag_of(served: Active | Publication) -> str:
    """Return the ETag (without quotes) by which a channel serves a bundle."""
    return f"{served.sequence}-{served.digest.removeprefix('sha256:')[:16]}"
