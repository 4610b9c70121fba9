"""How long the comparisons of one question may take, all of them together."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self

from dataspine.registry._workers import ComparisonWorkers, too_costly

__all__ = ["UNLIMITED", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The processes that do what is much work, and when all of it ends; None knows no limit."""

    workers: ComparisonWorkers | None = None
    deadline: float = float("inf")

    @classmethod
    def of(cls, workers: ComparisonWorkers) -> Self:
        """Return the limits of a question that begins now."""
        return cls(workers, time.monotonic() + workers.seconds)

    def seconds_left(self) -> float:
        """Return how long it may go on, or raise ``InputError`` when that is over."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise too_costly()
        return left


UNLIMITED = Limits()
