"""How many requests are answered at once; those that only wait are counted apart.

A sidecar asks for its next bundle and waits up to a minute for it, so a fleet has as many requests
as instances. They take no worker while they wait, and leave the places of all others alone.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from dataspine.core.errors import UnavailableError
from dataspine.web.problem import problem

__all__ = ["Turnstile"]

MAX_REQUESTS = 1_000
MAX_POLLS = 5_000
# Answered without a worker, so that whoever watches learns that it lives.
_ALWAYS = "/healthz"
_POLLED = "/bundles/"


class Turnstile:
    """ASGI middleware: 503 for what is one request, or one long poll, too many."""

    def __init__(
        self, app: ASGIApp, *, requests: int = MAX_REQUESTS, polls: int = MAX_POLLS
    ) -> None:
        self._app = app
        self._left = {False: requests, True: polls}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on while there is a place for it."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path == _ALWAYS:
            await self._app(scope, receive, send)
            return
        is_poll = path.startswith(_POLLED) and any(k == b"prefer" for k, _ in scope["headers"])
        left = self._left
        if left[is_poll] <= 0:
            await problem(_busy(), unrouted=True)(scope, receive, send)
            return
        left[is_poll] -= 1
        try:
            await self._app(scope, receive, send)
        finally:
            left[is_poll] += 1


def _busy() -> UnavailableError:
    return UnavailableError(
        "too many requests at once",
        where="service",
        remedy="Ask again in a moment.",
        code="serve.busy",
    )
