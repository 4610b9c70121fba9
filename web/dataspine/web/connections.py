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
from collections.abc import Callable, Iterable
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
        self._number = 0
        # By peer, in the order in which they came: the loop's clock is coarse.
        self._open: dict[str, dict[_Connection, None]] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def protocol(self) -> Callable[..., asyncio.Protocol]:
        """What the server makes of each connection."""
        return functools.partial(_Connection, self)

    def join(self, connection: _Connection) -> None:
        """Take a new connection, and cut another one where it is one too many."""
        mine = self._open.setdefault(connection.peer, {})
        mine[connection] = None
        self._number += 1
        if self._number > self._most:
            fullest = max(map(_waiting, self._open.values()), key=len)
            if not self._cut_oldest(fullest):
                connection.cut("crowded")
        elif len(mine) > self._share:
            waiting = _waiting(mine)
            if len(waiting) > self._share:
                self._cut_oldest(waiting)
        if self._sweeping is None:
            self._sweep(connection.loop)

    def leave(self, connection: _Connection) -> None:
        """Forget a connection."""
        mine = self._open[connection.peer]
        del mine[connection]
        self._number -= 1
        if not mine:
            del self._open[connection.peer]

    def _cut_oldest(self, waiting: list[_Connection]) -> bool:
        oldest = min(waiting, key=lambda each: each.since)
        if oldest.loop.time() - oldest.since < self.patience.young:
            return False
        oldest.cut("crowded")
        return True

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        every = [each for mine in self._open.values() for each in mine]
        for connection in every:
            connection.look(now)
        self._sweeping = loop.call_later(self.patience.look, self._sweep, loop) if every else None


def _waiting(connections: Iterable[_Connection]) -> list[_Connection]:
    return [each for each in connections if each.since is not math.inf]


class _Connection(HttpToolsProtocol):
    """One connection; ``since`` when it waits for its client, infinite while it is answered.

    What runs for each request is kept short: most are answered in 30 microseconds.
    """

    def __init__(self, connections: Connections, **of_server: Any) -> None:
        super().__init__(**of_server)
        self._connections = connections
        self._patience = connections.patience
        self.peer = ""
        self.since: float = math.inf
        self._has_head = False
        # What came of the present request, without its body.
        self._frames = 0
        # Since when its client does not read, and what it has yet to read.
        self._stalled: float = math.inf
        self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the server has it
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else ""
        self.since = self.loop.time()
        self._connections.join(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._connections.leave(self)

    def data_received(self, data: bytes) -> None:
        self._frames += len(data)
        HttpToolsProtocol.data_received(self, data)
        if self._frames > MAX_HEAD and not (self._has_head and self._frames <= MAX_FRAMES):
            self.cut("large")

    def _should_upgrade(self) -> bool:
        # Else what speaks another protocol leaves those that are counted, and what stands before
        # every request, wherever a library for it happens to be installed.
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: whoever connects could fill the log."""

    def on_headers_complete(self) -> None:
        self._has_head = True
        self.since = self.loop.time()
        HttpToolsProtocol.on_headers_complete(self)

    def on_body(self, body: bytes) -> None:
        self._frames -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._has_head = False
        self._frames = 0
        HttpToolsProtocol.on_message_complete(self)
        # It was answered before it ended: the next one is waited for.
        self.since = self.loop.time() if self.cycle.response_complete else math.inf

    def on_response_complete(self) -> None:
        if not self.pipeline:
            self.since = self.loop.time()
        HttpToolsProtocol.on_response_complete(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.time()
        self._unsent = self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled = math.inf

    def look(self, now: float) -> None:
        """Close it when its client was waited for too long."""
        patience = self._patience
        if self._stalled is not math.inf:
            if now - self._stalled > patience.answer:
                unsent = self.transport.get_write_buffer_size()
                if unsent >= self._unsent:
                    self.cut("late")
                self._stalled, self._unsent = now, unsent
        elif now - self.since > (patience.body if self._has_head else patience.head):
            self.cut("late")

    def cut(self, reason: str) -> None:
        """Close it; what is in the middle of something ends at once."""
        self._connections.cut[reason] += 1
        self.since = self._stalled = math.inf
        cycle: Any = self.cycle  # None before the first one
        is_idle = cycle is None or cycle.response_complete
        if not is_idle or self.transport.is_closing():
            self.transport.abort()
            return
        if reason == "large":
            self.transport.write(_TOO_LARGE)
        self.transport.close()
        self._unsent = self.transport.get_write_buffer_size()
        if self._unsent:
            self._stalled = self.loop.time()
