"""Bearer tokens: made here, and kept as a hash alone."""

from __future__ import annotations

import hashlib
import secrets

__all__ = ["digest_of", "new_token", "token_hash"]


def new_token() -> str:
    """Return a token that nobody can guess: 256 bits."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """Return what is kept of a token, in hex. So much chance needs neither salt nor stretching."""
    return hashlib.sha256(token.encode()).hexdigest()


def digest_of(token: str) -> str:
    """Return a token's digest as its entry in ``spine.yaml`` has it."""
    return f"sha256:{token_hash(token)}"
