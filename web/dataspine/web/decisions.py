"""Decisions over HTTP: ask, search, show."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from dataspine.adapters.asking import ask
from dataspine.adapters.session import Session
from dataspine.adapters.timing import Timing
from dataspine.core.canonical import parse_json
from dataspine.core.errors import InputError
from dataspine.decisions.decision import DecisionInput
from dataspine.decisions.journal import Search

__all__ = ["router"]


def router(session: Session) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1/decisions", tags=["decisions"])

    @routes.post("/{point}")
    async def decide(point: str, request: Request) -> JSONResponse:
        """Decide on a whole ``DecisionInput``; its ``at`` is replaced by this service's clock."""
        body = await request.body()
        timing = Timing()
        with timing.part("parse"):
            question = DecisionInput.parse(parse_json(body, where="body"), where="body")
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
    def search(
        point: str | None = None,
        name: str | None = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> list[dict[str, Any]]:
        """List the newest journal rows first."""
        found = session.journal.list(Search(point=point, name=name), limit=limit)
        return [entry.document() for entry in found]

    @routes.get("/{decision_id}")
    def show(decision_id: str) -> dict[str, Any]:
        """Return one decision of the journal."""
        return session.journal.get(decision_id).document()

    return routes
