"""``cdc_lag``: source commit to sink commit, weighted per record, over the last five minutes.

A stuck route yields no samples, so the age of the oldest unapplied commit counts too. Snapshot rows
and parked rows are no samples: parking must not improve the figure. Heartbeats speak only while no
record does.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["Lag", "LagWindow"]

_WINDOW = 300.0
_SAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds; ``skewed`` says that a commit time lay in the future, so clocks still differ."""

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
    """Samples of one route and sink; times are seconds since the epoch on this machine's clock."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float, int]] = deque(maxlen=_SAMPLES)
        self._waiting: dict[str, float] = {}

    def applied(self, committed_at: float, at: float, records: int) -> None:
        """Count ``records`` of a transaction that the sink committed at ``at``."""
        if records > 0:
            self._samples.append((at, at - committed_at, records))

    def passed(self, committed_at: float, at: float) -> None:
        """Note that a heartbeat reached the sink at ``at``."""
        self._samples.append((at, at - committed_at, 0))

    def waiting(self, source: str, since: float | None) -> None:
        """Say since when the sink lacks something of a source; None when it has everything."""
        if since is None:
            self._waiting.pop(source, None)
        else:
            self._waiting[source] = since

    def stalled(self, source: str, at: float) -> None:
        """Say that from now on nobody knows what the sink lacks; an older wait stays."""
        self._waiting.setdefault(source, at)

    def read(self, at: float) -> Lag:
        """Return the percentiles at a time; what waits can only raise p95."""
        while self._samples and self._samples[0][0] < at - _WINDOW:
            self._samples.popleft()
        records = sum(weight for _, _, weight in self._samples)
        ordered = sorted((lag, weight if records else 1) for _, lag, weight in self._samples)
        p95 = _percentile(ordered, 0.95)
        if self._waiting:
            p95 = max(p95, at - min(self._waiting.values()))
        return Lag(
            p50=_percentile(ordered, 0.50),
            p95=p95,
            records=records,
            skewed=any(lag < 0 for lag, weight in ordered if weight),
        )


def _percentile(ordered: list[tuple[float, int]], share: float) -> float:
    total = sum(weight for _, weight in ordered)
    seen = 0
    for lag, weight in ordered:
        seen += weight
        if weight and seen >= share * total:
            return lag
    return 0.0
