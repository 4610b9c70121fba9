"""How old the active policy may be: the time since OPA last heard from its control plane.

OPA keeps its last good bundle when nobody answers it. That is right, and it must not go unseen.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from dataspine.core.clock import parse_rfc3339
from dataspine.core.errors import InputError, UnavailableError

__all__ = ["STALE", "OpaStatus", "PolicyAge", "age_told", "seconds_of"]

_logger = logging.getLogger(__name__)

STALE = "engine.stale_policy"
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class OpaStatus(Protocol):
    """What is asked of a configured OPA; ``OpaClient`` is one."""

    def data(self, path: str) -> dict[str, Any]:
        """Return OPA's whole reply for ``data.<path>``."""

    def status(self) -> dict[str, Any]:
        """Return OPA's whole status."""


class PolicyAge:
    """Knows how long ago the policy was confirmed, and whether that is longer than ``limit``.

    ``ask`` returns seconds, or None when nobody can know; ``limit`` is seconds, None for no limit.
    """

    def __init__(self, ask: Callable[[], float | None], limit: float | None) -> None:
        self._ask = ask
        self._limit = limit
        self._told: tuple[float, float] | None = None  # when it was asked, the age then
        self._warned = False

    def seconds(self) -> float | None:
        """Ask, and return the age in seconds, or None when nobody can know."""
        age = self._ask()
        self._told = None if age is None else (time.monotonic(), age)
        return age

    def is_stale(self) -> bool:
        """Tell whether the policy is older than the limit; what nobody can know is."""
        if self._limit is None:
            return False
        # Time only adds to what was told, so OPA is asked again only when that is too much.
        if self._told is not None and self._seconds_now(*self._told) <= self._limit:
            return False
        age = self.seconds()
        stale = age is None or age > self._limit
        if stale and not self._warned:
            known = "unknown" if age is None else f"{age:.0f} s"
            _logger.warning("the policy's age is %s, the limit is %g s", known, self._limit)
        self._warned = stale
        return stale

    def require_fresh(self) -> None:
        """Raise ``UnavailableError`` (``engine.stale_policy``) when the policy is stale."""
        if self.is_stale():
            raise UnavailableError(
                "the control plane was not heard of for longer than decisions.max-policy-age",
                where="spine.yaml",
                remedy="Start the control plane; a configured OPA must have its status plugin on.",
                code=STALE,
            )

    @staticmethod
    def _seconds_now(asked: float, age: float) -> float:
        return age + time.monotonic() - asked


def age_told(client: OpaStatus, now: datetime) -> float | None:
    """Return how long ago a configured OPA's bundle server last answered it, in seconds.

    OPA tells only when its status plugin is on, and counts any good answer, also "not modified";
    None when it does not tell, or has no bundle of ours.
    """
    try:
        told = client.status().get("result")
        held = client.data("system/bundles").get("result")
    except UnavailableError:
        return None
    if not isinstance(told, Mapping) or not isinstance(held, Mapping):
        return None
    for name, bundle in held.items():
        if "dataspine" in bundle.get("manifest", {}).get("roots", ()):
            heard = (told.get("bundles") or {}).get(name, {}).get("last_successful_request")
            try:
                return max(0.0, (now - parse_rfc3339(str(heard))).total_seconds())
            except InputError:
                return None
    return None


def seconds_of(text: str | None) -> float | None:
    """Return the seconds of ``90s``, ``15m``, ``6h`` or ``2d``."""
    return None if text is None else float(text[:-1]) * _UNITS[text[-1]]
