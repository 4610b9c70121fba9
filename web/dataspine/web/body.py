"""Bodies that are JSON: parsed as strictly as every other document, and never for long on the loop.

What a body can cost is bounded before it is parsed. A small one is parsed where it is: it holds at
most some thousand values, and a change of threads and back costs more than they do under load. Any
other one is parsed in a worker, one at a time, because the parser lets no other thread run.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from fastapi import Request, Response
from fastapi.routing import APIRoute

from dataspine.core.canonical import parse_json
from dataspine.core.errors import InputError
from dataspine.web.guard import MAX_BODY

__all__ = ["MAX_VALUES", "StrictRoute", "read_json"]

# Parsed on the loop: 5,000 empty objects at most, which take 5 ms.
SMALL = 16_384
# A value takes up to 200 bytes of memory; a body of 8 MiB could hold four million.
MAX_VALUES = 250_000
# Of an object that is compared with a shape: every member that does not fit is told.
MAX_MEMBERS = 200

MAX_WIDE = 2 * 1_048_576
_WIDE = re.compile(rb"[\xf0-\xff]")

_parsing = anyio.CapacityLimiter(1)


async def read_json(request: Request, *, max_bytes: int) -> Any:
    """Return a request's body, or raise ``InputError``."""
    body = await request.body()
    read = functools.partial(parse_json, body, where="body", max_bytes=max_bytes)
    if len(body) <= SMALL:
        return read()
    if len(body) <= max_bytes:
        _require_few(body)
    return await anyio.to_thread.run_sync(read, limiter=_parsing)


def _require_few(body: bytes) -> None:
    """Count what separates values: as many as there are, or more when texts have some too.

    One character of four bytes makes a text of four bytes for each character.
    """
    if len(body) > MAX_WIDE and _WIDE.search(body):
        raise InputError(
            f"more than {MAX_WIDE} bytes with characters beyond U+FFFF",
            where="body",
            remedy="Send it in parts.",
            code="input.too_large",
        )
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        raise InputError(
            f"more than {MAX_VALUES} values, by its commas and brackets",
            where="body",
            remedy="Send it in parts.",
            code="input.too_large",
        )


class _StrictRequest(Request):
    async def json(self) -> Any:
        value = await read_json(self, max_bytes=MAX_BODY)
        if isinstance(value, dict) and len(value) > MAX_MEMBERS:
            raise InputError(
                f"more than {MAX_MEMBERS} members", where="body", remedy="See /openapi.json."
            )
        return value


class StrictRoute(APIRoute):
    """A route that refuses what JSON allows and people do not mean: a key that stands twice."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, which is given a request that reads strictly."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return handle
