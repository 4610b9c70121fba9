"""Routes over HTTP: what they do, and what they parked; payloads never leave their region."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from dataspine.adapters import routes as use
from dataspine.adapters.session import Session
from dataspine.web.guard import LARGEST

__all__ = ["router"]

Word = Annotated[str | None, Query(max_length=200)]


def router(session: Session) -> APIRouter:
    """Return the routes."""
    made = APIRouter(prefix="/v1", tags=["cdc"])

    @made.get("/routes")
    def routes() -> list[dict[str, Any]]:
        """List the desired routes with state, outcomes and lag."""
        return [view.document() for view in use.views(session)]

    @made.get("/routes/{name}")
    def route(name: str) -> dict[str, Any]:
        """Return one route with the facts that were decided on, and the decision."""
        return use.show(session, name)

    @made.get("/dead-letters")
    def dead_letters(
        route: Word = None,
        sink: Word = None,
        table: Word = None,
        code: Word = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        after: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    ) -> dict[str, Any]:
        """List a route's parked rows, oldest first, without their contents."""
        search = use.LetterSearch(sink, table, code, limit, after)
        return use.letters(session, route, search).document()

    return made
