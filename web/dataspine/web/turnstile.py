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
        self._requests = requests
        self._polls = polls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on while there is a place for it."""
        if self._requests > 0 and not scope.get("path", "").startswith(_POLLED):
            self._requests -= 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._requests += 1
            return
        await self._apart(scope, receive, send)

    async def _apart(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        is_poll = path.startswith(_POLLED) and self._polls > 0
        if not is_poll:
            if scope["type"] == "http" and path != _ALWAYS:
                await problem(_busy(), unrouted=True)(scope, receive, send)
                return
            await self._app(scope, receive, send)
            return
        self._polls -= 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._polls += 1


def _busy() -> UnavailableError:
    return UnavailableError(
        "too many requests at once",
        where="service",
        remedy="Ask again in a moment.",
        code="serve.busy",
    )
