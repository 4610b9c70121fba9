"""Turns at a route's sinks and dead letters: its flushes, its replays, and what people give up.

Two locks of files, which the kernel frees when a process dies. Who has the first stands next and
waits for the second, so whoever just had a turn comes after everyone who waits already.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dataspine.core.errors import UnavailableError
from dataspine.core.files import private

__all__ = ["Turn"]

# Shorter than a running route may say nothing before it counts as silent.
PATIENCE_SECONDS = 10.0
_PAUSE = 0.005


class Turn:
    """The turns of one route; called, it is one turn, as a context.

    Raises ``UnavailableError`` when nobody gave way for ``patience`` seconds.
    """

    def __init__(self, folder: Path, route: str, patience: float = PATIENCE_SECONDS) -> None:
        self._next = folder / f"next-{route}.lock"
        self._turn = folder / f"turn-{route}.lock"
        self._route = route
        self._patience = patience

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Wait for a turn and have it until the end of the block."""
        deadline = time.monotonic() + self._patience
        self._turn.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self._turn, "ab", opener=private) as turn:
            with open(self._next, "ab", opener=private) as following:
                self._lock(following, deadline)
                self._lock(turn, deadline)
            yield

    def _lock(self, file: BinaryIO, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    break
                time.sleep(_PAUSE)
            else:
                return
        raise UnavailableError(
            "another flush or replay of the route does not end",
            where=self._route,
            remedy="Do the same again when its snapshot, huge transaction or other replay is done.",
            code="cdc.route_busy",
        )
