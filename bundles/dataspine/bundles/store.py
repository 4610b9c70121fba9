"""The bundles that a workspace published, by channel and sequence."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from dataspine.bundles import archive
from dataspine.bundles._tables import bundles
from dataspine.bundles.content import MANIFEST, SIGNATURES, Content, content_digest
from dataspine.bundles.signing import Bundle, SigningKey, Trust, sign, verify
from dataspine.core.clock import Clock, rfc3339, utc_now
from dataspine.core.database import Database
from dataspine.core.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
)

__all__ = ["Active", "BundleStore", "ChannelSource", "Publication", "etag_of"]

# Other processes' publications are seen by looking; a look is one indexed row.
LOOK_SECONDS = 0.05
_CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Active:
    """What a channel serves."""

    revision: str
    sequence: int
    digest: str


@dataclass(frozen=True, slots=True)
class Publication:
    """One bundle that a channel served; ``bootstrap`` is the first, which nobody judged."""

    revision: str
    sequence: int
    digest: str
    actor: str
    published_at: str
    bootstrap: bool


class BundleStore:
    """Reserves sequences, stores signed bundles, and says what each channel serves.

    A sequence only grows. The newest published sequence of a channel is what it serves.
    """

    def __init__(self, database: Database, folder: Path, *, clock: Clock = utc_now) -> None:
        self._database = database
        self._folder = folder
        self._clock = clock
        self._published = threading.Condition()

    def reserve(self, channel: str, digest: str) -> int:
        """Return the sequence for content; asked again before it is published, the same one."""
        _require_name(channel)
        with self._database.begin() as connection:
            active = self._active(connection, channel)
            waiting = connection.execute(
                sa.select(sa.func.max(bundles.c.sequence)).where(
                    bundles.c.channel == channel,
                    bundles.c.digest == digest,
                    bundles.c.revision.is_(None),
                    bundles.c.sequence > (active.sequence if active else 0),
                )
            ).scalar_one()
            if waiting is not None:
                return int(waiting)
            newest = connection.execute(
                sa.select(sa.func.max(bundles.c.sequence)).where(bundles.c.channel == channel)
            ).scalar_one()
            sequence = int(newest or 0) + 1
            connection.execute(
                bundles.insert().values(channel=channel, sequence=sequence, digest=digest)
            )
            return sequence

    def publish(self, data: bytes, trust: Trust, *, channel: str, actor: str) -> Bundle:
        """Verify a bundle and make it what its channel serves.

        Raises ``IntegrityError`` for a signature that does not count or a sequence that is not
        newer, and ``ConflictError`` for one that was not reserved for this content. The bundle
        that the channel serves already, published again, changes nothing.
        """
        _require_name(channel)
        bundle = verify(data, trust, channel=channel)
        with self._database.begin() as connection:
            active = self._active(connection, channel)
            if active is not None and bundle.sequence <= active.sequence:
                if (bundle.sequence, bundle.digest) == (active.sequence, active.digest):
                    return bundle
                raise IntegrityError(
                    f"sequence {bundle.sequence} is not newer than {active.sequence}",
                    where=channel,
                    remedy="A rollback publishes the old content with a new sequence.",
                    code="bundle.older",
                )
            reserved = connection.execute(
                bundles.update()
                .where(
                    bundles.c.channel == channel,
                    bundles.c.sequence == bundle.sequence,
                    bundles.c.digest == bundle.digest,
                )
                .values(revision=bundle.revision, actor=actor, published_at=rfc3339(self._clock()))
            )
            if reserved.rowcount != 1:
                raise ConflictError(
                    f"sequence {bundle.sequence} was not reserved for this content",
                    where=channel,
                    remedy="Reserve a sequence, sign with it, publish again.",
                    code="bundle.not_reserved",
                )
            # Inside the transaction: bytes that are served are never replaced, and a row never
            # names bytes that are not on the disk.
            self._write(channel, bundle)
        with self._published:
            self._published.notify_all()
        return bundle

    def rollback(
        self, channel: str, *, to: int, reason: str, key: SigningKey, trust: Trust, actor: str
    ) -> Bundle:
        """Publish the content of an older sequence again: same revision, new sequence.

        The order stands in the signed manifest's metadata, so the signature alone authorises it.
        """
        active = self.active(channel)
        old = next((each for each in self.history(channel) if each.sequence == to), None)
        if active is None or old is None or to >= active.sequence:
            raise NotFoundError(
                f"sequence {to} is no earlier bundle of the channel",
                where=channel,
                remedy="See `spine bundle status`.",
                code="bundle.no_such_sequence",
            )
        files = archive.read(self.bytes_of(channel, to))
        contents = {n: raw for n, raw in files.items() if n not in {MANIFEST, SIGNATURES}}
        if content_digest(contents) != old.digest:
            raise IntegrityError(
                "the stored bundle was changed",
                where=f"{channel}, sequence {to}",
                remedy="Roll back to another sequence, or publish from the sources.",
                code="bundle.tampered",
            )
        sequence = self.reserve(channel, old.digest)
        order = {
            "channel": channel,
            "from": active.revision,
            "to": old.revision,
            "sequence": sequence,
            "actor": actor,
            "reason": reason,
        }
        content = Content(contents, old.digest, old.revision)
        data = sign(content, key, sequence=sequence, channel=channel, order=order)
        return self.publish(data, trust, channel=channel, actor=actor)

    def active(self, channel: str) -> Active | None:
        """Return what a channel serves, or None."""
        with self._database.read() as connection:
            return self._active(connection, channel)

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

    def history(self, channel: str) -> list[Publication]:
        """Return what a channel served, the newest first."""
        query = (
            sa.select(bundles)
            .where(bundles.c.channel == channel, bundles.c.revision.is_not(None))
            .order_by(bundles.c.sequence.desc())
        )
        with self._database.read() as connection:
            rows = list(connection.execute(query))
        return [
            Publication(
                row.revision,
                row.sequence,
                row.digest,
                actor=row.actor,
                published_at=row.published_at,
                bootstrap=number == len(rows),
            )
            for number, row in enumerate(rows, 1)
        ]

    def find(self, revision: str, sequence: int) -> bytes | None:
        """Return the bytes of a published bundle of any channel, or None."""
        query = (
            sa.select(bundles.c.channel)
            .where(bundles.c.revision == revision, bundles.c.sequence == sequence)
            .order_by(bundles.c.channel)
        )
        with self._database.read() as connection:
            channels = list(connection.execute(query).scalars())
        paths = (self._path(channel, sequence) for channel in channels)
        return next((path.read_bytes() for path in paths if path.is_file()), None)

    def bytes_of(self, channel: str, sequence: int) -> bytes:
        """Return the exact bytes that were published."""
        try:
            return self._path(channel, sequence).read_bytes()
        except OSError as error:
            raise UnavailableError(
                error.strerror or "unreadable",
                where=str(self._path(channel, sequence)),
                remedy="Publish the bundle again.",
                code="bundle.lost",
            ) from None

    def _active(self, connection: sa.Connection, channel: str) -> Active | None:
        row = connection.execute(
            sa.select(bundles)
            .where(bundles.c.channel == channel, bundles.c.revision.is_not(None))
            .order_by(bundles.c.sequence.desc())
            .limit(1)
        ).one_or_none()
        return Active(row.revision, row.sequence, row.digest) if row else None

    def _path(self, channel: str, sequence: int) -> Path:
        return self._folder / f"{channel}-{sequence}.tar.gz"

    def _write(self, channel: str, bundle: Bundle) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(channel, bundle.sequence)
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            file.write(bundle.data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)


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

    def keys(self) -> Mapping[str, str]:
        """Return the public keys (PEM) that may sign for the channel, by key id."""
        return {k.id: k.pem for k in self._trust.keys if self._channel in k.channels}


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
