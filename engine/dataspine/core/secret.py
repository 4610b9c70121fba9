"""Secrets by reference: files say where a secret is, never what it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dataspine.core.errors import InputError, UnavailableError

__all__ = ["PASSFILE", "comes_from_file", "require_reference", "resolve"]

# Where PostgreSQL's library looks for a password, when it is to find none.
PASSFILE = "/nonexistent/pgpass"
_MAX_BYTES = 65_536


def comes_from_file(reference: str) -> bool:
    """Tell whether a file holds it, which a repository may have brought.

    The address of a server that it holds gets no password from elsewhere: the library would send
    the one of another server to wherever the file says.
    """
    return reference.startswith("file:")


def require_reference(reference: str, *, where: str = "") -> tuple[str, str]:
    """Return the kind and the name of ``env:NAME`` or ``file:PATH``.

    Raises ``InputError`` for another form, which may be the secret itself and is not shown.
    """
    kind, _, name = reference.partition(":")
    if kind not in {"env", "file"} or not name:
        raise InputError(
            "a secret is given by reference",
            where=where,
            remedy="Write env:NAME or file:PATH.",
            code="input.secret_inline",
        )
    return kind, name


def resolve(
    reference: str, *, root: Path = Path(), environment: Mapping[str, str] = os.environ
) -> str:
    """Return the secret behind ``env:NAME`` or ``file:PATH`` (relative to ``root``), stripped.

    Raises ``InputError`` for another form and ``UnavailableError`` when there is nothing behind
    it. Neither error shows the secret.
    """
    kind, name = require_reference(reference)
    if kind == "env":
        value = environment.get(name)
        if not value:
            raise UnavailableError(
                f"the environment variable {name} is not set",
                where=f"env:{name}",
                remedy=f"Set {name}.",
                code="spine.secret_missing",
            )
        return value.strip()
    try:
        with (root / name).open(encoding="utf-8") as file:
            return file.read(_MAX_BYTES).strip()
    except (OSError, ValueError):  # also no UTF-8, and a path with a NUL
        raise UnavailableError(
            f"the secret file {name} cannot be read",
            where=f"file:{name}",
            remedy="Check its path and mode.",
            code="spine.secret_missing",
        ) from None
