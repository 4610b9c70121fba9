"""``.spine/serve.json``: a running service says where it is, and who may be believed."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from dataspine.adapters.own_state import in_ci
from dataspine.adapters.tools.git import is_untracked
from dataspine.core.files import private, replacing
from dataspine.core.process import start_time

__all__ = ["LOOPBACK", "advertise", "advertised", "withdraw"]

NAME = "serve.json"
MAX_BYTES = 4_096
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def advertise(state: Path, url: str) -> None:
    """Write where this process serves; only its owner may read it."""
    document = {"url": url, "pid": os.getpid(), "started": start_time(os.getpid())}
    with replacing(state / NAME, opener=private) as file:
        file.write(json.dumps(document).encode())


def withdraw(state: Path) -> None:
    """Remove what this process advertised; another service's stays."""
    if _own(state).get("pid") == os.getpid():
        (state / NAME).unlink(missing_ok=True)


def advertised(state: Path, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the address of the workspace's running service, or None.

    A cloned repository must not choose who answers: the file counts only when it is the caller's
    own, readable by nobody else, reached through no symbolic link, untracked by git, names a
    loopback address, and its process runs since the time that it says. In CI it never counts.
    """
    if in_ci(environment):
        return None
    found = _own(state)
    url, pid, started = (found.get(name) for name in ("url", "pid", "started"))
    if not isinstance(url, str) or not isinstance(pid, int) or not isinstance(started, int):
        return None
    if start_time(pid) != started or not _is_loopback(url) or not is_untracked(state / NAME):
        return None
    return url


def _own(state: Path) -> dict[str, object]:
    try:
        folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return {}
    try:
        # Non-blocking: a named pipe must not hold the command up.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(os.open(NAME, flags, dir_fd=folder), "rb") as file:
            status = os.fstat(file.fileno())
            private = stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600
            if not private or status.st_uid != os.getuid():
                return {}
            found = json.loads(file.read(MAX_BYTES))
            return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}
    finally:
        os.close(folder)


def _is_loopback(url: str) -> bool:
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        return parts.scheme == "http" and parts.hostname in LOOPBACK and parts.port is not None
    return False
