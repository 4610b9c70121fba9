"""Bodies that the framework reads: parsed as strictly as every other document."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from dataspine.core.canonical import parse_json
from dataspine.web.guard import MAX_BODY

__all__ = ["StrictRoute"]


class _StrictRequest(Request):
    async def json(self) -> Any:
        return parse_json(await self.body(), where="body", max_bytes=MAX_BODY)


class StrictRoute(APIRoute):
    """A route that refuses what JSON allows and people do not mean: a key that stands twice."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, which is given a request that reads strictly."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return handle
