"""``cdc_lag``: source commit to sink commit, weighted per record, over the last five minutes.

A stuck route yields no samples, so the age of the oldest unapplied commit counts too. Snapshot rows
and parked rows are no samples: parking must not improve the figure.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["Lag", "LagWindow"]

_WINDOW = 300.0
_SAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds; ``skewed`` says that a commit time lay in the future, so clocks differ."""

    p50: float
    p95: float
    records: int
    skewed: bool

    def document(self) -> dict[str, float | int | bool]:
        """Return it as JSON."""
        return {
            "p50": round(self.p50, 6),
            "p95": round(self.p95, 6),
            "records": self.records,
            "skewed": self.skewed,
        }


class LagWindow:
    """Samples of one route and sink."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float, int]] = deque(maxlen=_SAMPLES)
        self._oldest: float | None = None

    def applied(self, committed_at: float, at: float, records: int) -> None:
        """Count ``records`` of a transaction that the sink committed at ``at``."""
        if records > 0:
            self._samples.append((at, at - committed_at, records))

    def waiting(self, committed_at: float | None) -> None:
        """Name the oldest commit that the sink does not have, or None."""
        self._oldest = committed_at

    def read(self, at: float) -> Lag:
        """Return the percentiles at a time (seconds since the epoch)."""
        while self._samples and self._samples[0][0] < at - _WINDOW:
            self._samples.popleft()
        ordered = sorted((lag, weight) for _, lag, weight in self._samples)
        total = sum(weight for _, weight in ordered)
        waiting = at - self._oldest if self._oldest is not None else 0.0
        return Lag(
            p50=_percentile(ordered, total, 0.50),
            p95=max(_percentile(ordered, total, 0.95), waiting),
            records=total,
            skewed=bool(ordered) and ordered[0][0] < 0,
        )


def _percentile(ordered: list[tuple[float, int]], total: int, share: float) -> float:
    seen = 0
    for lag, weight in ordered:
        seen += weight
        if seen >= share * total:
            return lag
    return 0.0
