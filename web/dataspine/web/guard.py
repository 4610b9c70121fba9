"""What stands before every request: limits, allowed hosts, paths split before decoding.

Starlette decodes ``%2F`` before it routes, so a subject ``a/b`` would never be found. Here the raw
path is split first and each segment decoded once; a slash inside a segment travels as ``SLASH``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dataspine.core.errors import InputError
from dataspine.web.problem import problem

__all__ = ["Guard", "segment"]

SLASH = "\x1f"
MAX_BODY = 8 * 1_048_576
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def segment(value: str) -> str:
    """Return a path segment as the client meant it."""
    return value.replace(SLASH, "/")


class Guard:
    """ASGI middleware: 413 for a large body, 421 for a foreign host, 403 for a foreign origin."""

    def __init__(self, app: ASGIApp, *, hosts: tuple[str, ...], max_body: int = MAX_BODY) -> None:
        self._app = app
        self._hosts = frozenset((*hosts, *LOOPBACK))
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        refusal = self._refusal(headers)
        if refusal is not None:
            error, status = refusal
            await problem(error, status)(scope, receive, send)
            return
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        path = raw.partition(b"?")[0].decode("ascii", "replace")
        segments = [unquote(part).replace("/", SLASH) for part in path.split("/")]
        limited = _Limited(receive, self._max_body)
        try:
            await self._app({**scope, "path": "/".join(segments)}, limited.receive, send)
        except _TooLargeError:
            await problem(_too_large(self._max_body))(scope, receive, send)

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


class _TooLargeError(Exception):
    """The streamed body went over the limit."""


class _Limited:
    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit

    async def receive(self) -> Message:
        message = await self._receive()
        body: Any = message.get("body", b"")
        self._left -= len(body)
        if self._left < 0:
            raise _TooLargeError
        return message


def _too_large(limit: int) -> InputError:
    return InputError(
        f"the body is over the limit of {limit} bytes",
        remedy="Send a smaller one.",
        code="input.too_large",
    )
