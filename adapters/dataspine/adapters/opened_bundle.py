"""A bundle that a user names, opened: verified before anything in it is evaluated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from dataspine.adapters.policy import content_of, trust_of
from dataspine.adapters.session import Session
from dataspine.bundles import (
    Bundle,
    Content,
    Publication,
    SigningKey,
    Trust,
    TrustedKey,
    sign,
    verify,
)
from dataspine.core.errors import InputError, NotFoundError, UnavailableError
from dataspine.decisions.replay import FixedBundle

__all__ = ["CHANNELS", "Opened", "active_of", "candidate_of", "locate", "read"]

CHANNELS = ("stable", "canary", "candidate", "dev")
SOURCES = "."
MAX_BYTES = 64 * 1_048_576
_LEAST_DIGEST = 8


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified bundle, and the public key that it was verified with."""

    bundle: Bundle
    key: TrustedKey

    @classmethod
    def verified(cls, data: bytes, trust: Trust, opa: Path | None = None) -> Opened:
        """Verify a bundle; with ``opa`` compile it too, with the built-ins that rules may use."""
        bundle = verify(data, trust, opa=opa)
        return cls(bundle, next(key for key in trust.keys if key.id == bundle.key_id))

    @classmethod
    def unsigned(cls, content: Content, opa: Path) -> Opened:
        """Compile content that nobody signed; only our own private OPA is ever served it."""
        # Its key lives as long as this call.
        key = SigningKey("sources", ec.generate_private_key(ec.SECP256R1()))
        data = sign(content.checked(opa), key, sequence=0, channel="dev")
        return cls.verified(data, Trust((key.trusted(channels=("dev",)),)))

    def source(self) -> FixedBundle:
        """Return what a private OPA is served."""
        return FixedBundle(self.bundle.data, (self.key,))

    def document(self) -> dict[str, Any]:
        """Return how reports name it."""
        bundle = self.bundle
        return {
            "revision": bundle.revision,
            "sequence": bundle.sequence,
            "channel": bundle.channel,
        }


def candidate_of(session: Session, name: str) -> Opened:
    """Return the bundle that a user names, verified and compiled.

    ``.`` is what the workspace's sources would build; else a published revision, a digest or its
    first eight digits or more, or a bundle file.
    """
    if name == SOURCES:
        return _from_sources(session)
    published = locate(session, name, CHANNELS)
    if published is not None:
        channel, publication = published
        data = session.bundles.bytes_of(channel, publication.sequence)
    else:
        data = read(Path(name))
    return Opened.verified(data, trust_of(session.workspace), session.opa_path)


def active_of(session: Session, channel: str) -> Opened:
    """Return what a channel serves, verified; raise ``UnavailableError`` when it serves nothing."""
    current = session.bundles.current(channel)
    if current is None:
        raise UnavailableError(
            "the channel serves no bundle to compare with",
            where=channel,
            remedy="Publish one there first.",
            code="bundle.none_active",
        )
    return Opened.verified(current[1], trust_of(session.workspace))


def locate(session: Session, name: str, channels: Iterable[str]) -> tuple[str, Publication] | None:
    """Return the newest publication in the first of some channels that a name fits, or None.

    A name is a revision, a digest, or the first eight or more digits of a digest.
    """
    digits = name.removeprefix("sha256:")
    prefix = f"sha256:{digits}" if len(digits) >= _LEAST_DIGEST else None
    for channel in channels:
        for each in session.bundles.history(channel):
            if each.revision == name or (prefix and each.digest.startswith(prefix)):
                return channel, each
    return None


def _from_sources(session: Session) -> Opened:
    return Opened.unsigned(content_of(session.workspace), session.opa_path)


def read(path: Path) -> bytes:
    """Return a bundle file's bytes; raise ``NotFoundError``, or ``InputError`` over 64 MiB."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError:
        raise NotFoundError(
            "neither a published revision or digest, nor a bundle file",
            where=str(path)[:200],
            remedy="See `spine bundle status`, or name a bundle file.",
            code="bundle.unknown",
        ) from None
    if len(data) > MAX_BYTES:
        raise InputError(
            "the file is too large",
            where=str(path),
            remedy="Give a bundle that `spine bundle build` made.",
            code="input.too_large",
        )
    return data
