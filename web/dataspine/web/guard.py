"""What stands before every request: limits, allowed hosts, paths split before decoding.

Starlette decodes ``%2F`` before it routes, so a subject ``a/b`` would never be found. Here the raw
path is split first and each segment decoded once; a slash inside a segment travels as ``SLASH``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dataspine.core.errors import InputError, UnavailableError
from dataspine.web.problem import problem

__all__ = ["LARGEST", "Guard", "segment"]

SLASH = "\x1f"
SLASH_BYTE = b"\x1f"
MAX_BODY = 8 * 1_048_576
# Of all requests that are being answered.
MAX_BODIES = 32 * MAX_BODY
# Of the numbers that a column of the database holds.
LARGEST = 2**63 - 1
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# A request with one of these has a body, or comes from a page.
_CHECKED = frozenset({b"origin", b"content-length", b"transfer-encoding"})
# A host may be followed by any port.
MAX_MET = 100


def segment(value: str) -> str:
    """Return a path segment as the client meant it."""
    return value.replace(SLASH, "/")


class Guard:
    """ASGI middleware: 413 for a large body, 421 for a foreign host, 403 for a foreign origin."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: tuple[str, ...],
        max_body: int = MAX_BODY,
        max_bodies: int = MAX_BODIES,
    ) -> None:
        self._app = app
        self._room = _Room(max_bodies)
        self._hosts = frozenset((*hosts, *LOOPBACK))
        self._max_body = max_body
        self._met: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        is_plain = _CHECKED.isdisjoint(headers)
        # Nearly every request is plain, and to a host that was looked at before.
        if not (is_plain and headers.get(b"host") in self._met):
            refusal = self._refusal(headers)
            if refusal is not None:
                error, status = refusal
                await problem(error, status, unrouted=True)(scope, receive, send)
                return
            if len(self._met) < MAX_MET:
                self._met.add(headers.get(b"host", b""))
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        if b"%" in raw or not raw.isascii() or SLASH_BYTE in raw:
            segments = _segments(raw.partition(b"?")[0].decode("ascii", "replace"))
            if segments is None:
                error = InputError(
                    "the address is no text",
                    where="path",
                    remedy="Percent-encode UTF-8 text without control characters.",
                )
                await problem(error, 422, unrouted=True)(scope, receive, send)
                return
            scope = {**scope, "path": "/".join(segments)}
        if is_plain:
            await self._app(scope, receive, send)  # no body comes
            return
        limited = _Limited(receive, send, self._max_body, self._room)
        try:
            await self._app(scope, limited.receive, limited.send)
        finally:
            self._room.left += limited.held
        if limited.is_over:
            await problem(_too_large(self._max_body), unrouted=True)(scope, receive, send)

    def _refusal(self, headers: dict[bytes, bytes]) -> tuple[InputError, int] | None:
        host = headers.get(b"host", b"").decode("latin-1")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name not in self._hosts:
            remedy = "Call it by the address it listens on."
            return InputError("unknown host", where="Host", remedy=remedy, code="input.host"), 421
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin.partition("://")[2] != host:
            remedy = "Only pages of this service may call it from a browser."
            return InputError(
                "foreign origin", where="Origin", remedy=remedy, code="input.origin"
            ), 403
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._max_body:
            return _too_large(self._max_body), 413
        return None


def _segments(path: str) -> list[str] | None:
    """Split a raw path and decode each segment once; None when one is no plain text."""
    try:
        decoded = [unquote(part, errors="strict") for part in path.split("/")]
    except UnicodeDecodeError:
        return None
    if any(SLASH in part for part in decoded):  # it would pass for a slash
        return None
    return [part.replace("/", SLASH) for part in decoded]


@dataclass
class _Room:
    left: int


class _Limited:
    """A request whose body ends at the limit; what the application makes of that is not sent.

    ``held`` are the bytes that it took of the ``room`` of all bodies.
    """

    def __init__(self, receive: Receive, send: Send, limit: int, room: _Room) -> None:
        self._receive = receive
        self._send = send
        self._limit = self._left = limit
        self._room = room
        self.held = 0

    @property
    def is_over(self) -> bool:
        return self._left < 0

    async def receive(self) -> Message:
        message = await self._receive()
        body: Any = message.get("body", b"")
        self._left -= len(body)
        if self.is_over:
            raise _too_large(self._limit)
        if len(body) > self._room.left:
            raise UnavailableError(
                "too many large bodies at once",
                where="body",
                remedy="Send it again in a moment.",
                code="serve.busy",
            )
        self._room.left -= len(body)
        self.held += len(body)
        return message

    async def send(self, message: Message) -> None:
        if not self.is_over:
            await self._send(message)


def _too_large(limit: int) -> InputError:
    return InputError(
        f"the body is over the limit of {limit} bytes",
        where="body",
        remedy="Send a smaller one.",
        code="input.too_large",
    )
