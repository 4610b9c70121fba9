"""What git knows about a file; a folder without git is no fault."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from dataspine.core.process import run

__all__ = ["is_untracked", "origin_of"]

SECONDS = 5
# A user's configuration, such as which folders of others git trusts; no state of a repository.
_KEPT = ("GIT_CONFIG_", "GIT_DISCOVERY_ACROSS_FILESYSTEM")


def origin_of(file: Path) -> dict[str, str]:
    """Return ``git_commit`` and ``repository`` of the file's checkout, as far as git knows them."""
    folder = file.resolve().parent
    found = {
        "git_commit": _git(folder, "rev-parse", "--verify", "--quiet", "HEAD"),
        "repository": _without_credentials(_git(folder, "remote", "get-url", "origin") or ""),
    }
    return {name: text for name, text in found.items() if text}


def is_untracked(file: Path) -> bool:
    """Tell whether no repository tracks a file, or anything in a folder.

    When git cannot say, it is not.
    """
    folder = file.parent
    while not folder.exists():
        folder = folder.parent
    inside = [folder.resolve(), *folder.resolve().parents]
    depth = next((at for at, each in enumerate(inside) if (each / ".git").exists()), None)
    if depth is None:
        return True
    # Git would take a folder with this file for a repository, though another one brought it.
    if any(os.path.lexists(each / "HEAD") for each in inside[:depth]):
        return False
    return _git(folder, "ls-files", "--", str(file.relative_to(folder))) == ""


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        # A repository's own configuration may name a program for git to run, also by an address.
        argv = ["git", "-c", "core.fsmonitor=false", "-c", "safe.bareRepository=explicit"]
        ended = run([*argv, *arguments], cwd=folder, env=_environment(), seconds=SECONDS)
        return ended.output.decode().strip() if ended.code == 0 else None
    except (OSError, UnicodeDecodeError):
        return None


def _environment() -> dict[str, str]:
    """Return ours without what a hook says of its own repository, and no address to fetch from."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith(_KEPT)
    }
    return {**kept, "GIT_ALLOW_PROTOCOL": "none"}


def _without_credentials(url: str) -> str:
    # A token in the address of a remote must not travel into provenance.
    parts = urlsplit(url)
    if "@" not in parts.netloc or not parts.scheme:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
