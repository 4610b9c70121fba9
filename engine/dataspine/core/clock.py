"""Time, passed in: what decides or replays takes a ``Clock``, never the wall clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from dataspine.core.errors import InputError

__all__ = ["Clock", "parse_rfc3339", "rfc3339", "utc_now"]

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the wall clock in UTC; the default ``Clock``."""
    return datetime.now(UTC)


def rfc3339(at: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC, ``…Z``."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_rfc3339(text: str, *, where: str = "") -> datetime:
    """Parse RFC 3339 with an offset; raise ``InputError`` for anything else."""
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):  # of which the second is before year 1 or after 9999
        pass
    raise InputError(
        f"{text!r} is no RFC 3339 time with an offset",
        where=where,
        remedy="Write it like 2026-11-23T09:00:00Z.",
    )
