"""Schemas by id, answered from finished bytes before any routing.

Deserializers ask for nothing else, each for every id it meets, and a schema of one id never
changes: only its removal, by this process or another, ends an answer.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dataspine.core.errors import UnavailableError

__all__ = ["FinishedSchemas"]

MAX_BYTES = 64 * 1_048_576
# Another process's removal is seen this much later.
LATE_SECONDS = 0.1

_PREFIX = "/schemas/ids/"
_PATH = re.compile(rf"{_PREFIX}[1-9][0-9]{{0,9}}")
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
        # Of its own: a look neither blocks the loop nor waits behind slow requests.
        self._thread = ThreadPoolExecutor(1, "removed")
        self._looking: asyncio.Task[bool] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a known schema, or pass the request on and learn its answer."""
        path = scope.get("path", "")
        if not path.startswith(_PREFIX) or scope["method"] != "GET":
            await self._app(scope, receive, send)
            if scope.get("method") == "DELETE":
                # Our own removal is seen at once; a look that has begun may not have it.
                self._looked, self._looking = 0.0, None
            return
        query = scope["query_string"]
        if query and not _QUERY.fullmatch(query):
            await self._app(scope, receive, send)
            return
        if path not in self._known and not _PATH.fullmatch(path):
            await self._app(scope, receive, send)
            return
        is_fresh = time.monotonic() - self._looked < LATE_SECONDS or await self._look()
        # What is known of a registry that cannot be asked may have been removed.
        finished = self._known.get(path) if is_fresh else None
        if finished is None:
            await self._app(scope, receive, self._learning(path, send))
            return
        await send(finished.start)
        await send(finished.body)

    async def _look(self) -> bool:
        """Forget what was removed; requests that come meanwhile wait for the same look."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._forget_removed())
        looking = self._looking
        try:
            return await asyncio.shield(looking)
        finally:
            if self._looking is looking:
                self._looking = None

    async def _forget_removed(self) -> bool:
        began, seen = time.monotonic(), self._seen
        looking = asyncio.get_running_loop().run_in_executor(self._thread, self._removed, seen)
        try:
            newest, gone = await looking
        except UnavailableError:
            return False
        self._seen = max(newest, self._seen)
        if self._looking is asyncio.current_task():
            self._looked = began
        for identifier in gone:
            finished = self._known.pop(f"{_PREFIX}{identifier}", None)
            if finished is not None:
                self._bytes -= len(finished.body["body"])
        return True

    def _learning(self, path: str, send: Send) -> Send:
        started: list[Message] = []
        seen = self._seen

        async def learn(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.append(message)
            elif (
                not message.get("more_body")
                and started[0]["status"] == 200
                # A removal that was seen in between may be of this one; the next look sees others.
                and seen == self._seen
            ):
                self._keep(path, _Finished(started[0], message))
            await send(message)

        return learn

    def _keep(self, path: str, finished: _Finished) -> None:
        size = len(finished.body["body"])
        if self._bytes + size > self._max_bytes:
            self._known.clear()
            self._bytes = 0
        if path not in self._known and size <= self._max_bytes:
            self._known[path] = finished
            self._bytes += size
