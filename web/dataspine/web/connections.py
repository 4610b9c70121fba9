"""Connections: how long one may wait for its client, and who goes when there are too many.

The server waits for ever for the head of a request, for its body, and for a client that does not
read. Here each has its time. What waits for its client may be cut when places become scarce: the
oldest of the peer that has most of them, so that nobody takes the places of others. No peer is
refused for what it has open, since behind a load balancer all callers are one peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["Connections", "Patience", "most_connections"]

MAX_CONNECTIONS = 10_000
# Files, the database, OPA: what a process has open besides.
OTHER_FILES = 256
# Of one peer, as long as they wait for it.
MAX_WAITING = 256
MAX_HEAD = 65_536
# What surrounds a body that comes in parts, and what may follow it.
MAX_FRAMES = 524_288

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for the head of a request, for its body, and for a client to read on.

    Whoever is ``young`` is about to send, and not cut for others. It is looked every ``look``.
    """

    head: float = 10.0
    body: float = 60.0
    answer: float = 60.0
    young: float = 1.0
    look: float = 1.0


def most_connections() -> int:
    """Return how many connections this process may have, after asking for as many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OTHER_FILES
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    return max(min(soft, wanted) - OTHER_FILES, OTHER_FILES)


class Connections:
    """All connections of one listener. ``cut`` counts those that were closed, by the reason."""

    def __init__(
        self,
        most: int = MAX_CONNECTIONS,
        *,
        waiting: int = MAX_WAITING,
        patience: Patience | None = None,
    ) -> None:
        self.patience = patience or Patience()
        self.cut = {"late": 0, "crowded": 0, "large": 0}
        self._most = most
        self._share = waiting
        self._open: set[_Connection] = set()
        # By peer, the longest waiting first, with the time since when.
        self._waiting: dict[str, dict[_Connection, float]] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def protocol(self) -> Callable[..., asyncio.Protocol]:
        """What the server makes of each connection."""
        return functools.partial(_Connection, self)

    def join(self, connection: _Connection) -> None:
        """Take a new connection, and cut another one where it is one too many."""
        self.wait(connection)
        mine = self._waiting[connection.peer]
        if len(self._open) >= self._most:
            fullest = max(self._waiting.values(), key=len)
            if not self._cut_oldest(fullest):
                connection.cut("crowded")
        elif len(mine) > self._share:
            self._cut_oldest(mine)
        self._open.add(connection)
        if self._sweeping is None:
            self._sweep(connection.loop)

    def wait(self, connection: _Connection) -> None:
        """Note that a connection waits for its client from now on."""
        mine = self._waiting.setdefault(connection.peer, {})
        mine.pop(connection, None)
        mine[connection] = connection.loop.time()

    def work(self, connection: _Connection) -> None:
        """Note that its client waits for us."""
        mine = self._waiting.get(connection.peer)
        if mine is not None:
            mine.pop(connection, None)
            if not mine:
                del self._waiting[connection.peer]

    def leave(self, connection: _Connection) -> None:
        """Forget a connection."""
        self.work(connection)
        self._open.discard(connection)

    def _cut_oldest(self, waiting: dict[_Connection, float]) -> bool:
        oldest, since = next(iter(waiting.items()))
        if oldest.loop.time() - since < self.patience.young:
            return False
        self.work(oldest)
        oldest.cut("crowded")
        return True

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [each for each in self._open if each.deadline < now]:
            connection.end()
        self._sweeping = (
            loop.call_later(self.patience.look, self._sweep, loop) if self._open else None
        )


class _Connection(HttpToolsProtocol):
    """One connection. Whoever pipelines is cut as late as what it sent last allows."""

    def __init__(self, connections: Connections, **of_server: Any) -> None:
        super().__init__(**of_server)
        self._connections = connections
        self._patience = connections.patience
        self.peer = ""
        self.deadline = math.inf
        self._has_head = False
        # What came of the present request, without its body.
        self._frames = 0
        # What waits to be sent, where sending has stopped.
        self._unsent: float = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the server has it
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else ""
        self.deadline = self.loop.time() + self._patience.head
        self._connections.join(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._connections.leave(self)

    def data_received(self, data: bytes) -> None:
        self._frames += len(data)
        super().data_received(data)
        if self._frames > (MAX_FRAMES if self._has_head else MAX_HEAD):
            self.cut("large")

    def on_headers_complete(self) -> None:
        self._has_head = True
        self.deadline = self.loop.time() + self._patience.body
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._frames -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._has_head = False
        self._frames = 0
        super().on_message_complete()
        if self.cycle.response_complete:
            self._wait()
        else:
            self.deadline = math.inf
            self._connections.work(self)

    def on_response_complete(self) -> None:
        if not self.pipeline:
            self._wait()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent = math.inf
        self.deadline = self.loop.time() + self._patience.answer

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent = 0
        self.deadline = math.inf
        if self._is_idle:
            self._wait()

    def end(self) -> None:
        """Close it, since its time is over, unless its client has read on meanwhile."""
        unsent = self.transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._unsent = unsent
            self.deadline = self.loop.time() + self._patience.answer
        else:
            self.cut("late")

    def cut(self, reason: str) -> None:
        """Close it; what is in the middle of something ends at once."""
        self._connections.cut[reason] += 1
        self.deadline = self.loop.time() + self._patience.answer
        if not self._is_idle or self.transport.is_closing():
            self.transport.abort()
            return
        if reason == "large":
            self.transport.write(_TOO_LARGE)
        self.transport.close()

    @property
    def _is_idle(self) -> bool:
        cycle: Any = self.cycle  # None before the first one
        return cycle is None or cycle.response_complete

    def _wait(self) -> None:
        self.deadline = self.loop.time() + self._patience.head
        self._connections.wait(self)
