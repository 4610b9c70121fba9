"""Who calls: bearer tokens, of which `spine.yaml` holds the digests.

A token may also travel as the password of HTTP Basic, which stock registry clients and browsers
can send. Sidecars have tokens of their own, which the fleet knows.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from dataspine.core.identity import Principal, acting_as, verified_principals
from dataspine.core.token import digest_of
from dataspine.core.workspace import TokenEntry
from dataspine.web.problem import LoginError, problem

__all__ = ["SECURITY", "Authentication"]

# As the OpenAPI document names it.
SECURITY: Mapping[str, Mapping[str, str]] = {
    "token": {"type": "http", "scheme": "bearer"},
    "password": {"type": "http", "scheme": "basic", "description": "The token as the password."},
}
MAX_HEADER = 16_384
# Whoever watches a service asks these, and learns nothing but that it is well.
_OPEN = ("/healthz", "/readyz")
# What OPA calls, each with the token of its instance.
_SIDECARS = ("/bundles/", "/discovery/", "/logs", "/status")


class Authentication:
    """ASGI middleware: 401 for who is nobody we know; else the request acts as its principal."""

    def __init__(self, app: ASGIApp, tokens: Sequence[TokenEntry]) -> None:
        self._app = app
        self._principals = verified_principals(tokens)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find out who calls and pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        sent = dict(scope["headers"]).get(b"authorization", b"")
        if sent and path.startswith(_SIDECARS):
            await self._app(scope, receive, send)
            return
        principal = self._principal(sent)
        if principal is None and path in _OPEN:
            await self._app(scope, receive, send)
            return
        if principal is None:
            error = LoginError(
                "the service does not know who calls",
                where="Authorization",
                remedy="Send a token of `spine access token` as a bearer token; "
                "commands take it from SPINE_TOKEN, or work with --local.",
            )
            await problem(error, unrouted=True)(scope, receive, send)
            return
        with acting_as(principal):
            await self._app(scope, receive, send)

    def _principal(self, sent: bytes) -> Principal | None:
        name, token = _credentials(sent)
        found = self._principals.get(digest_of(token)) if token else None
        return found if found is not None and name in (None, found.name) else None


def _credentials(sent: bytes) -> tuple[str | None, str]:
    """Return the name, where one is sent, and the token; an empty one when there is none."""
    scheme, _, value = sent[:MAX_HEADER].partition(b" ")
    if scheme.lower() == b"bearer":
        return None, value.strip().decode("latin-1")
    if scheme.lower() == b"basic":
        try:
            name, _, token = base64.b64decode(value, validate=True).decode().partition(":")
        except ValueError:  # no base64, or no UTF-8
            return None, ""
        return name, token
    return None, ""
