"""OPA's own protocol, for sidecars: signed bundles with ETag and long poll, logs, status."""

from __future__ import annotations

import gzip
import re
import zlib
from io import BytesIO
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from dataspine.adapters.session import Session
from dataspine.core.canonical import parse_json
from dataspine.core.errors import InputError, NotFoundError

__all__ = ["router"]

LONG_POLL = "application/vnd.openpolicyagent.bundles"
MAX_WAIT = 60.0
MAX_LOGS = 32 * 1_048_576


def router(session: Session) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["sidecars"])
    store = session.bundles

    @routes.get("/bundles/{name}.tar.gz")
    async def bundle(name: str, request: Request) -> Response:
        """Return a channel's bundle; with ``Prefer: wait=S`` hold until there is a newer one."""
        known = {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}
        seconds = _wait(request.headers.get("prefer", ""))
        current = store.current(name)
        if current is not None and f'"{current[0]}"' in known and seconds:
            current = await run_in_threadpool(store.wait, name, current[0], seconds) or current
        if current is None:
            raise NotFoundError(
                "the channel has no bundle",
                where=name,
                remedy="Publish one with `spine bundle publish`.",
            )
        etag = f'"{current[0]}"'
        headers = {"ETag": etag}
        if etag in known:
            return Response(status_code=304, headers=headers)
        media = LONG_POLL if seconds else "application/gzip"
        return Response(current[1], headers=headers, media_type=media)

    @routes.post("/logs", status_code=204)
    async def logs(request: Request) -> Response:
        """Take a chunk of decision-log events; a decision is stored once."""
        body = await request.body()
        if request.headers.get("content-encoding", "") == "gzip":
            body = _gunzip(body)
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


def _wait(prefer: str) -> float:
    found = re.search(r"\bwait=([0-9]{1,4})\b", prefer)
    return min(float(found.group(1)), MAX_WAIT) if found else 0.0


def _gunzip(body: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=BytesIO(body)) as file:
            data = file.read(MAX_LOGS + 1)
    except (OSError, EOFError, zlib.error):
        raise InputError("the body is no gzip", where="body", remedy="Send it again.") from None
    if len(data) > MAX_LOGS:
        raise InputError("the unpacked body is too large", where="body", code="input.too_large")
    return data
