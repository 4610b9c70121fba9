"""Who acts: recorded with every change."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping

__all__ = ["actor"]


def actor(environment: Mapping[str, str] = os.environ) -> str:
    """Return ``SPINE_ACTOR``, or the system's user name; never empty."""
    named = environment.get("SPINE_ACTOR", "").strip()
    if named:
        return named[:200]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
