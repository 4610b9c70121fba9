"""Decisions over HTTP: ask, search, show."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from dataspine.adapters.asking import ask
from dataspine.adapters.record import recorded
from dataspine.adapters.session import Session
from dataspine.adapters.timing import Timing
from dataspine.core.errors import InputError
from dataspine.decisions.decision import DecisionInput
from dataspine.decisions.journal import Search
from dataspine.web.answers import DECISION, QUESTION
from dataspine.web.body import read_json
from dataspine.web.guard import LARGEST

__all__ = ["router"]

# What OPA logs of it is kept.
MAX_QUESTION = 524_288

Text = Annotated[str | None, Query(max_length=512)]


def router(session: Session) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1/decisions", tags=["decisions"])

    @routes.post("/{point}", responses=DECISION, openapi_extra=QUESTION)
    async def decide(point: str, request: Request) -> JSONResponse:
        """Decide on a whole ``DecisionInput``; its ``at`` is replaced by this service's clock."""
        await request.body()
        timing = Timing()
        with timing.part("parse"):
            document = await read_json(request, max_bytes=MAX_QUESTION)
            question = DecisionInput.parse(document, where="body")
            if question.point != point:
                raise InputError(
                    f"the document asks {question.point}, the address {point}",
                    where="/point",
                    remedy="Send it to the point it asks.",
                )
        with timing.part("decide"):
            decision = await run_in_threadpool(ask, session, question)
        return JSONResponse(decision.document(), headers={"Server-Timing": timing.header()})

    @routes.get("")
    def search(  # noqa: PLR0913 - one argument per filter
        point: Text = None,
        name: Text = None,
        code: Text = None,
        revision: Text = None,
        allow: bool | None = None,
        since: Text = None,
        until: Text = None,
        before: Annotated[int | None, Query(ge=1, le=LARGEST)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> list[dict[str, Any]]:
        """List journal rows, the newest first; ``before`` continues a page by its last number.

        ``since`` is inside and ``until`` outside, both RFC 3339; ``revision`` may be a beginning.
        """
        told = {
            "point": point,
            "name": name,
            "code": code,
            "revision": revision,
            "since": since,
            "until": until,
        }
        wanted = Search.of(told, allow=allow, before=before, where="/query/")
        return [entry.document() for entry in session.journal.list(wanted, limit=limit)]

    @routes.get("/{decision_id}")
    def show(decision_id: str) -> dict[str, Any]:
        """Return one decision of the journal, with what OPA logged about it."""
        return recorded(session, decision_id)

    return routes
