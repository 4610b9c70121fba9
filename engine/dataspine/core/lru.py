"""A bounded map that forgets what was used longest ago; safe between threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Lru"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """The ``entries`` values used last. A value is never changed once it is in.

    With ``weigh`` all of them together are at most ``weight``, and one that is heavier is not kept.
    """

    def __init__(
        self, entries: int, *, weight: int = 0, weigh: Callable[[V], int] = lambda _: 0
    ) -> None:
        self._entries = entries
        self._weight = weight
        self._weigh = weigh
        self._sum = 0
        self._lock = threading.Lock()
        self._known: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return the value, or None when it is not, or no longer, known."""
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
            return found

    def put(self, key: K, value: V) -> None:
        """Keep a value; the ones used longest ago make room."""
        with self._lock:
            if key in self._known:
                self._sum -= self._weigh(self._known.pop(key))
            if self._weigh(value) > self._weight:
                return
            self._known[key] = value
            self._sum += self._weigh(value)
            while len(self._known) > self._entries or self._sum > self._weight:
                self._sum -= self._weigh(self._known.popitem(last=False)[1])
