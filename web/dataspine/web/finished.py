"""Schemas by id, answered from finished bytes before any routing.

Deserializers ask for nothing else, each for every id it meets, and a schema of one id never
changes: only its removal, by this process or another, ends an answer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["FinishedSchemas"]

MAX_BYTES = 64 * 1_048_576
# Another process's removal is seen this much later.
LATE_SECONDS = 0.1

_PATH = re.compile(r"/schemas/ids/([1-9][0-9]{0,9})")
# What clients add without asking for anything else; the subject only matters among equals.
_PLAIN = rb"(?:fetchMaxId=(?i:false)|subject=[^&]*|format=)"
_QUERY = re.compile(rb"(?:%b(?:&%b)*)?" % (_PLAIN, _PLAIN))


@dataclass(frozen=True, slots=True)
class _Finished:
    start: Message
    body: Message


class FinishedSchemas:
    """ASGI middleware. ``removed`` is ``Registry.removed``."""

    def __init__(
        self,
        app: ASGIApp,
        removed: Callable[[int], tuple[int, list[int]]],
        *,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._app = app
        self._removed = removed
        self._max_bytes = max_bytes
        self._known: dict[str, _Finished] = {}
        self._bytes = 0
        self._seen = -1
        self._looked = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a known schema, or pass the request on and learn its answer."""
        if not scope.get("path", "").startswith("/schemas/ids/") or scope["method"] != "GET":
            await self._app(scope, receive, send)
            if scope.get("method") == "DELETE":
                self._looked = 0.0  # our own removal is seen at once
            return
        match = _PATH.fullmatch(scope["path"])
        if match is None or not _QUERY.fullmatch(scope["query_string"]):
            await self._app(scope, receive, send)
            return
        self._forget_removed()
        finished = self._known.get(match[1])
        if finished is None:
            await self._app(scope, receive, self._learning(match[1], send))
            return
        await send(finished.start)
        await send(finished.body)

    def _forget_removed(self) -> None:
        now = time.monotonic()
        if now - self._looked < LATE_SECONDS:
            return
        self._seen, gone = self._removed(self._seen)
        self._looked = now
        for identifier in gone:
            finished = self._known.pop(str(identifier), None)
            if finished is not None:
                self._bytes -= len(finished.body["body"])

    def _learning(self, identifier: str, send: Send) -> Send:
        started: list[Message] = []
        seen = self._seen

        async def learn(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.append(message)
            elif (
                not message.get("more_body")
                and started[0]["status"] == 200
                # A removal that came in between may be of this one.
                and seen == self._removed(seen)[0]
            ):
                self._keep(identifier, _Finished(started[0], message))
            await send(message)

        return learn

    def _keep(self, identifier: str, finished: _Finished) -> None:
        size = len(finished.body["body"])
        if self._bytes + size > self._max_bytes:
            self._known.clear()
            self._bytes = 0
        if identifier not in self._known and size <= self._max_bytes:
            self._known[identifier] = finished
            self._bytes += size
