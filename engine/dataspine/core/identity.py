"""Who acts: recorded with every change, and asked about before it."""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

__all__ = ["Principal", "acting", "acting_as", "actor"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who acts; ``local`` when nobody has to log in, and whoever has the files may act."""

    name: str
    roles: tuple[str, ...] = ()
    local: bool = False

    def facts(self) -> dict[str, Any]:
        """Return who acts as rules see it."""
        return {"name": self.name, "roles": list(self.roles), "local": self.local}


# Of the request that is handled; threads that work for it inherit it.
_acting: ContextVar[Principal | None] = ContextVar("acting", default=None)


def acting() -> Principal | None:
    """Return who logged in for what is done now; None when nobody did."""
    return _acting.get()


@contextlib.contextmanager
def acting_as(principal: Principal) -> Iterator[None]:
    """Let a principal act for the length of a block."""
    token = _acting.set(principal)
    try:
        yield
    finally:
        _acting.reset(token)


def actor(environment: Mapping[str, str] = os.environ) -> str:
    """Return ``SPINE_ACTOR``, or the system's user name; never empty."""
    named = environment.get("SPINE_ACTOR", "").strip()
    if named:
        return named[:200]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
