"""The registry's Confluent dialect: what stock serializers, converters and tools call.

Paths, shapes and error codes are those of Confluent's published REST interface; the same store as
``/schemas`` is behind it.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from dataspine.adapters.session import Session
from dataspine.web.confluent import compatibility, ids, levels, modes, subjects, versions
from dataspine.web.confluent.dialect import CODES, DELETED_CODES, REFUSED, Answer, DialectRoute

__all__ = ["CODES", "DELETED_CODES", "router"]


def router(session: Session) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(
        tags=["registry, Confluent dialect"],
        route_class=DialectRoute,
        default_response_class=Answer,
        responses=REFUSED,
    )
    for group in (ids, subjects, versions, compatibility, levels, modes):
        group.add(routes, session)

    @routes.get("/contexts")
    def contexts() -> list[str]:
        """List the contexts: the default one."""
        return [":.:"]

    @routes.get("/associations/{rest:path}", include_in_schema=False)
    def associations(rest: str) -> list[Any]:
        # Clients ask which subjects a topic has beside the one of its name: none.
        return []

    return routes
