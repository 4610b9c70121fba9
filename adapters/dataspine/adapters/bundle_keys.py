"""Keys by reference: the ones that sign, and the list of those that count here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from dataspine.adapters.policy import DEV, dev_key, trust_of
from dataspine.bundles import CommandKey, Signer, SigningKey, Trust
from dataspine.core import secret
from dataspine.core.configuration import Configuration
from dataspine.core.errors import InputError, IntegrityError
from dataspine.core.workspace import SETTINGS, Workspace

__all__ = ["KnownKey", "known_keys", "signer"]


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key of this workspace or of this user; ``fingerprint`` is None when nobody can tell."""

    id: str
    algorithm: str
    channels: tuple[str, ...]
    fingerprint: str | None
    origin: str
    signs: bool

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "id": self.id,
            "algorithm": self.algorithm,
            "channels": list(self.channels),
            "fingerprint": self.fingerprint,
            "from": self.origin,
            "signs": self.signs,
        }


def known_keys(workspace: Workspace) -> Iterator[KnownKey]:
    """Yield the trusted keys, then the ones that this user's commands hold."""
    trust = trust_of(workspace)
    for key in trust.keys:
        own = key.channels == (DEV,)
        origin = ".spine/keys/dev.pem" if own else SETTINGS
        yield KnownKey(key.id, key.algorithm, key.channels, key.fingerprint, origin, signs=own)
    configuration = Configuration.load()
    for name, held in configuration.keys.items():
        trusted = next((k for k in trust.keys if k.id == name), None)
        yield KnownKey(
            name,
            held.algorithm,
            trusted.channels if trusted else (),
            None,
            str(configuration.path),
            signs=True,
        )


def signer(workspace: Workspace, channel: str, reference: str | None) -> Signer:
    """Return what signs for a channel: ``file:PATH``, ``env:NAME``, or a configured key's id.

    Channel ``dev`` is signed by the clone's own key. The id of a key that is given as PEM is the
    one that it is trusted by here; ``IntegrityError`` when it is not.
    """
    if channel == DEV:
        return dev_key(workspace)
    if reference is None:
        raise InputError(
            f"channel {channel} needs a key to sign with",
            where="--key",
            remedy="Name one: file:PATH, env:NAME, or the id of a key in your configuration.",
            code="bundle.no_key",
        )
    if reference.startswith(("file:", "env:")):
        return _trusted(secret.resolve(reference), reference, trust_of(workspace))
    configuration = Configuration.load()
    held = configuration.keys.get(reference)
    if held is None:
        raise InputError(
            f"{reference[:80]!r} is no key that you hold",
            where="--key",
            remedy=f"Write file:PATH or env:NAME, or add it to {configuration.path}.",
            code="bundle.no_key",
        )
    return CommandKey(reference, held.algorithm, held.command, held.input)


def _trusted(pem: str, reference: str, trust: Trust) -> SigningKey:
    key = SigningKey.parse(pem.encode(), id="", where=reference)
    key_id = trust.id_of(key.fingerprint)
    if key_id is None:
        raise IntegrityError(
            "nobody here trusts this key",
            where=reference,
            remedy=f"Add its public half to trust in {SETTINGS}; see `spine bundle keys`.",
            code="bundle.untrusted",
        )
    return replace(key, id=key_id)
