"""The bundles that a workspace published, by channel and sequence."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from dataspine.bundles._tables import bundles
from dataspine.bundles.signing import Bundle, Trust, verify
from dataspine.core.clock import Clock, rfc3339, utc_now
from dataspine.core.database import Database
from dataspine.core.errors import ConflictError, IntegrityError

__all__ = ["Active", "BundleStore", "ChannelSource"]

# Other processes' publications are seen by looking; a look is one indexed row.
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Active:
    """What a channel serves."""

    revision: str
    sequence: int
    digest: str


class BundleStore:
    """Reserves sequences, stores signed bundles, and says what each channel serves.

    A sequence only grows. The newest published sequence of a channel is what it serves.
    """

    def __init__(self, database: Database, folder: Path, *, clock: Clock = utc_now) -> None:
        self._database = database
        self._folder = folder
        self._clock = clock

    def reserve(self, channel: str, digest: str) -> int:
        """Return the sequence for new content; the same unpublished content keeps its own."""
        with self._database.begin() as connection:
            newest = connection.execute(
                sa.select(bundles)
                .where(bundles.c.channel == channel)
                .order_by(bundles.c.sequence.desc())
                .limit(1)
            ).one_or_none()
            if newest is not None and newest.digest == digest and newest.revision is None:
                return int(newest.sequence)
            sequence = int(newest.sequence) + 1 if newest is not None else 1
            connection.execute(
                bundles.insert().values(channel=channel, sequence=sequence, digest=digest)
            )
            return sequence

    def publish(self, data: bytes, trust: Trust, *, channel: str, actor: str) -> Bundle:
        """Verify a bundle and make it what its channel serves.

        Raises ``IntegrityError`` for a signature that does not count or a sequence that is not
        newer, and ``ConflictError`` for one that was not reserved for this content.
        """
        bundle = verify(data, trust, channel=channel)
        self._write(channel, bundle)
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
        return bundle

    def active(self, channel: str) -> Active | None:
        """Return what a channel serves, or None."""
        with self._database.read() as connection:
            return self._active(connection, channel)

    def current(self, channel: str) -> tuple[str, bytes] | None:
        """Return the ETag and the bytes of what a channel serves."""
        active = self.active(channel)
        if active is None:
            return None
        return _etag(active), self._path(channel, active.sequence).read_bytes()

    def wait(
        self,
        channel: str,
        etag: str | None,
        seconds: float,
        stopping: threading.Event | None = None,
    ) -> tuple[str, bytes] | None:
        """Return the first bundle with another ETag, or None after ``seconds``."""
        stop = stopping or threading.Event()
        for _ in range(max(1, round(seconds / LOOK_SECONDS))):
            active = self.active(channel)
            if active is not None and _etag(active) != etag:
                return self.current(channel)
            if stop.wait(LOOK_SECONDS):
                break
        return None

    def history(self, channel: str) -> list[Active]:
        """Return what a channel served, the newest first."""
        query = (
            sa.select(bundles)
            .where(bundles.c.channel == channel, bundles.c.revision.is_not(None))
            .order_by(bundles.c.sequence.desc())
        )
        with self._database.read() as connection:
            return [Active(r.revision, r.sequence, r.digest) for r in connection.execute(query)]

    def bytes_of(self, channel: str, sequence: int) -> bytes:
        """Return the exact bytes that were published."""
        return self._path(channel, sequence).read_bytes()

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


def _etag(active: Active) -> str:
    return f"{active.sequence}-{active.digest.removeprefix('sha256:')[:16]}"
