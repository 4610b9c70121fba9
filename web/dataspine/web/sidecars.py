"""OPA's own protocol, for sidecars: signed bundles with ETag and long poll, logs, status."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from dataspine.adapters.session import Session
from dataspine.core.canonical import parse_json
from dataspine.core.errors import InputError, NotFoundError
from dataspine.decisions.control import gunzip, longest_wait, matches

__all__ = ["router"]

LONG_POLL = "application/vnd.openpolicyagent.bundles"
MAX_LOGS = 32 * 1_048_576


def router(session: Session) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["sidecars"])
    store = session.bundles

    @routes.get("/bundles/{name}.tar.gz")
    async def bundle(name: str, request: Request) -> Response:
        """Return a channel's bundle; with ``Prefer: wait=S`` hold until there is a newer one."""
        known = request.headers.get("if-none-match")
        seconds = longest_wait(request.headers.get("prefer"))
        current = store.current(name)
        if current is not None and matches(known, current[0]) and seconds:
            current = await run_in_threadpool(store.wait, name, current[0], seconds) or current
        if current is None:
            raise NotFoundError(
                "the channel has no bundle",
                where=name,
                remedy="Publish one with `spine bundle publish`.",
            )
        headers = {"ETag": f'"{current[0]}"'}
        if matches(known, current[0]):
            return Response(status_code=304, headers=headers)
        media = LONG_POLL if seconds else "application/gzip"
        return Response(current[1], headers=headers, media_type=media)

    @routes.post("/logs", status_code=204)
    async def logs(request: Request) -> Response:
        """Take a chunk of decision-log events; a decision is stored once."""
        body = await request.body()
        if request.headers.get("content-encoding", "") == "gzip":
            body = gunzip(body, MAX_LOGS)
        events = parse_json(body, where="body", max_bytes=MAX_LOGS)
        if not isinstance(events, list) or not all(isinstance(e, dict) for e in events):
            raise InputError("decision logs are a JSON array of events", where="body")
        await run_in_threadpool(session.decision_log.ingest, events)
        return Response(status_code=204)

    @routes.post("/status", status_code=204)
    async def status(request: Request) -> Response:
        """Take a sidecar's status report."""
        report: Any = parse_json(await request.body(), where="body")
        if not isinstance(report, dict):
            raise InputError("a status report is a JSON object", where="body")
        return Response(status_code=204)

    return routes
