"""``.spine/`` is this clone's own: no repository brings a key, and in CI nothing else either.

A repository's reader would know a key that it brings, and what was masked with it; its author
would choose the facts that its own change is judged by.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dataspine.adapters.tools.git import is_untracked
from dataspine.cdc.key import load_key
from dataspine.core.errors import IntegrityError
from dataspine.core.files import read_private

__all__ = ["in_ci", "own_key", "own_pem", "require_own_state", "require_untracked"]

MAX_KEY = 65_536


def own_key(state: Path, name: str) -> bytes:
    """Return a random key of this clone, made the first time: the one way to any of them.

    Raises ``IntegrityError`` when it is not this user's alone, or git may know it.
    """
    return load_key(_untracked(state, name))


def own_pem(state: Path, name: str) -> bytes:
    """Return the PEM of a key of this clone; raises as ``own_key``, and ``NotFoundError``."""
    return read_private(_untracked(state, name), MAX_KEY)


def require_own_state(state: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Raise ``IntegrityError`` in CI when git tracks anything of ``.spine``, or cannot say."""
    if in_ci(environment) and state.exists() and not is_untracked(state):
        raise IntegrityError(
            "git tracks it, or cannot say: a change would bring the state that it is judged by",
            where=str(state),
            remedy="Remove it from the repository (`git rm -r --cached .spine`) and run `spine "
            "init .` there. Where git trusts no folder of another owner, name it under "
            "safe.directory.",
            code="spine.state_tracked",
        )


def in_ci(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether ``CI`` is set, to whatever but nothing, 0 and false."""
    return environment.get("CI", "").strip().lower() not in {"", "0", "false"}


def require_untracked(path: Path, *, because: Path | None = None) -> None:
    """Raise ``IntegrityError`` for a key that git tracks, or of whose folder git cannot say."""
    if not is_untracked(because or path):
        raise IntegrityError(
            "git tracks this key, or cannot say: whoever has the repository may have the key",
            where=str(path),
            remedy="Delete it, take it out of the repository (`git rm --cached`), and let `spine "
            "init .` make another. What it masked or signed is to be made anew. Where git "
            "trusts no folder of another owner, name it under safe.directory.",
            code="spine.key_exposed",
        )


def _untracked(state: Path, name: str) -> Path:
    path = state / "keys" / name
    require_untracked(path)
    if state.is_symlink():
        require_untracked(path, because=state)
    return path
