"""Where the time of a request went, for the ``Server-Timing`` header."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

__all__ = ["Timing"]


class Timing:
    """Milliseconds by part; ``header()`` is a ``Server-Timing`` value with the total last."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.parts: dict[str, float] = {}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure one part; a part measured twice adds up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = (time.perf_counter() - start) * 1e3
            self.parts[name] = self.parts.get(name, 0.0) + spent

    def header(self) -> str:
        """Return ``parse;dur=0.4, …, total;dur=2.1``."""
        total = (time.perf_counter() - self._start) * 1e3
        return ", ".join(
            f"{name};dur={ms:.3f}" for name, ms in {**self.parts, "total": total}.items()
        )
