"""Who acts: recorded with every change, and asked about before it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pwd
import re
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dataspine.core.errors import InputError
from dataspine.core.token import digest_of
from dataspine.core.workspace import TokenEntry

__all__ = [
    "Principal",
    "acting",
    "acting_as",
    "local_name",
    "process_principal",
    "refuse_actor_variable",
    "verified_principals",
]

# Before names of principals whom no token verified; no entry of ``auth.tokens`` may have it.
LOCAL = "local:"
UNKNOWN_MACHINE = "unknown"
_MACHINE_ID = Path("/etc/machine-id")
_DIGITS = 12
_LONGEST = 100


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who acts; ``local`` when nobody has to log in, and whoever has the files may act.

    ``verified`` when a token of ``auth.tokens`` proved the name; else it is the system's word.
    """

    name: str
    roles: tuple[str, ...] = ()
    local: bool = False
    verified: bool = False

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


def verified_principals(tokens: Sequence[TokenEntry]) -> dict[str, Principal]:
    """Return whom each token's digest verifies."""
    return {each.digest: Principal(each.name, each.roles, verified=True) for each in tokens}


def process_principal(
    tokens: Sequence[TokenEntry], environment: Mapping[str, str] = os.environ
) -> Principal:
    """Return for whom this process acts: whose token ``SPINE_TOKEN`` is, else the system's user.

    A workspace that knows no tokens cannot verify one, as its service cannot: there everybody is
    its local user. Raises ``InputError`` for a token that a workspace with tokens does not know.
    """
    refuse_actor_variable(environment)
    token = environment.get("SPINE_TOKEN", "").strip()
    if not tokens or not token:
        return Principal(local_name(), local=not tokens)
    found = verified_principals(tokens).get(digest_of(token))
    if found is None:
        raise InputError(
            "auth.tokens has no entry for this token",
            where="SPINE_TOKEN",
            remedy="Set the token whose entry `spine access token NAME` printed, or unset it to "
            "act as the system's user.",
            code="access.unauthenticated",
        )
    return found


def refuse_actor_variable(environment: Mapping[str, str] = os.environ) -> None:
    """Raise ``InputError`` when ``SPINE_ACTOR`` is set: whoever sets it could be anybody."""
    if environment.get("SPINE_ACTOR", "").strip():
        raise InputError(
            "an environment variable does not prove who acts",
            where="SPINE_ACTOR",
            remedy="Unset it. To act under a name, set SPINE_TOKEN to a token of "
            "`spine access token NAME`, with its entry under `auth.tokens` in spine.yaml.",
            code="access.actor_variable",
        )


@functools.cache
def local_name() -> str:
    """Return ``local:<user>@<machine>`` of this process's own user id.

    The user is the system's name for it, where anything but letters, digits and ``-._~`` is
    percent-encoded; without one, or with a very long one, it is ``uid-<number>``. The machine is a
    digest of its id, because the id itself is to be kept private.
    """
    uid = os.getuid()
    try:
        user = quote(pwd.getpwuid(uid).pw_name, safe="")
    except KeyError:
        user = ""
    if not 0 < len(user) <= _LONGEST:
        user = f"uid-{uid}"
    return f"{LOCAL}{user}@{machine(_MACHINE_ID)}"


def machine(path: Path) -> str:
    """Return 12 digits of the digest of a machine's id; ``unknown`` where it has none.

    A container's file is often missing, empty or ``uninitialized``. Nothing else names a machine
    as well: host names and addresses are chosen, and change.
    """
    try:
        identifier = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        identifier = ""
    if not re.fullmatch(r"[0-9a-f]{32}", identifier):
        return UNKNOWN_MACHINE
    return hashlib.sha256(f"data-spine machine {identifier}".encode()).hexdigest()[:_DIGITS]
