"""What stands for a row's key in the dead-letter store.

Version 1 was SHA-256 of the key alone, which whoever guesses the key can confirm. Version 2 is
keyed, with a key that never changes: a hash made with another one finds no older row.
"""

from __future__ import annotations

import hashlib

from dataspine.core.errors import InputError

__all__ = ["KEYED", "KeyHasher", "unkeyed_hash"]

KEYED = 2
_MIN_BYTES = 32
_SIZE = 20


class KeyHasher:
    """Hashes keys, each for one table of one sink."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _MIN_BYTES:
            raise InputError(
                f"the key of the dead letters is shorter than {_MIN_BYTES} bytes",
                remedy="Use 64 random characters, the same on every machine and for ever.",
                code="cdc.letter_key",
            )
        self._key = hashlib.sha256(secret).digest()

    @property
    def fingerprint(self) -> str:
        """Return what tells this key from any other, and nothing about it."""
        return hashlib.blake2b(b"fingerprint", key=self._key, digest_size=_SIZE).hexdigest()

    def __call__(self, sink: str, table: str, key: tuple[str, ...]) -> str:
        """Return the hash of a key; parts are told apart by their lengths."""
        parts = (sink, table, *key)
        text = "".join([f"{len(part)}:{part}" for part in parts])
        return hashlib.blake2b(text.encode(), key=self._key, digest_size=_SIZE).hexdigest()


def unkeyed_hash(key: tuple[str, ...]) -> str:
    """Return the hash of version 1."""
    return hashlib.sha256("\x1f".join(key).encode()).hexdigest()[:40]
