"""What git knows about a file; a folder without git is no fault."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from dataspine.core.process import run

__all__ = ["is_untracked", "origin_of"]

SECONDS = 5


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
    if not any((each / ".git").exists() for each in (folder.resolve(), *folder.resolve().parents)):
        return True
    return _git(folder, "ls-files", "--", str(file.relative_to(folder))) == ""


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        # A repository's own configuration may name a program for git to run.
        argv = ["git", "-c", "core.fsmonitor=false", *arguments]
        ended = run(argv, cwd=folder, env=os.environ, seconds=SECONDS)
        return ended.output.decode().strip() if ended.code == 0 else None
    except (OSError, UnicodeDecodeError):
        return None


def _without_credentials(url: str) -> str:
    # A token in the address of a remote must not travel into provenance.
    parts = urlsplit(url)
    if "@" not in parts.netloc or not parts.scheme:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
