"""OPA's own protocol, for sidecars: signed bundles with ETag and long poll, logs, status."""

from __future__ import annotations

import gzip
import threading
import time
from typing import Any

import anyio
from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from dataspine.adapters.session import Session
from dataspine.adapters.sidecar import discovery_bundle
from dataspine.core.errors import InputError
from dataspine.decisions.control import longest_wait, matches
from dataspine.decisions.fleet import Offer
from dataspine.decisions.fleet_tokens import Caller
from dataspine.decisions.sidecar import INSTANCE_HEADER
from dataspine.web.answers import LOG, STATUS
from dataspine.web.body import read_json

__all__ = ["router"]

LONG_POLL = "application/vnd.openpolicyagent.bundles"
_UNCHANGED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The signed archive.", "content": {LONG_POLL: {}}},
    304: {"description": "The caller has it already."},
}
MAX_REPORT = 1_048_576
# Between two looks of one waiting sidecar; a publication is seen at the next one.
LOOK_SECONDS = 0.05
# A release from a hold changes no publication: whether there is one is asked more seldom.
ASK_SECONDS = 0.5
# So many wait without being in the way; of a larger fleet each looks and asks as much later.
FEW = 50


class _Archive(Response):
    media_type = "application/gzip"


def router(session: Session, ending: threading.Event) -> APIRouter:
    """Return the routes; nobody waits once ``ending`` is set."""
    routes = APIRouter(tags=["sidecars"])
    fleet, waiting = session.fleet, _Waiting(session, ending)

    async def caller(request: Request) -> Caller:
        headers = request.headers
        return await run_in_threadpool(
            fleet.tokens.identify, headers.get("authorization"), headers.get(INSTANCE_HEADER)
        )

    @routes.get("/bundles/{name}.tar.gz", response_class=_Archive, responses=_UNCHANGED)
    async def bundle(name: str, request: Request) -> Response:
        """Return a channel's bundle; with ``Prefer: wait=S`` hold until there is a newer one."""
        who = await caller(request)
        known = request.headers.get("if-none-match")
        seconds = longest_wait(request.headers.get("prefer"))
        offer = await waiting.offer(who, name, known, seconds)
        return _answer(offer, LONG_POLL if seconds else "application/gzip")

    @routes.get("/discovery/bundle.tar.gz", response_class=_Archive, responses=_UNCHANGED)
    async def discovery(request: Request) -> Response:
        """Return the signed bundle in which the labels of an OPA choose its channel."""
        await caller(request)
        etag, data = await run_in_threadpool(discovery_bundle, session)
        has = matches(request.headers.get("if-none-match"), etag)
        return _answer(Offer(etag, None if has else data), "application/gzip")

    @routes.post("/logs", status_code=204, openapi_extra=LOG)
    async def logs(request: Request) -> Response:
        """Take a chunk of decision-log events; a decision is stored once.

        What is over a limit is counted and not kept: OPA sends what was not taken for ever.
        """
        who = await caller(request)
        is_packed = request.headers.get("content-encoding", "") == "gzip"
        await run_in_threadpool(_ingest, session, who, await request.body(), is_packed)
        return Response(status_code=204)

    @routes.post("/status", status_code=204, openapi_extra=STATUS)
    async def status(request: Request) -> Response:
        """Take a sidecar's status report."""
        who = await caller(request)
        report: Any = await read_json(request, max_bytes=MAX_REPORT)
        if not isinstance(report, dict):
            raise InputError(
                "a status report is a JSON object",
                where="body",
                remedy="Send what OPA's status plugin sends.",
            )
        await run_in_threadpool(fleet.report, who, report)
        return Response(status_code=204)

    return routes


class _Waiting:
    """Sidecars that wait for a bundle; what a channel serves is looked up once for all of them."""

    def __init__(self, session: Session, ending: threading.Event) -> None:
        self._ending = ending
        self._fleet = session.fleet
        self._bundles = session.bundles
        self._known: dict[str, tuple[float, int]] = {}
        self._number = 0

    async def offer(self, who: Caller, channel: str, known: str | None, seconds: float) -> Offer:
        end = time.monotonic() + seconds
        self._number += 1
        try:
            while True:
                seen = await self._sequence(channel)
                offer = await run_in_threadpool(self._fleet.offer, who, channel, known)
                if offer.data is not None or not self._may_wait(end):
                    return offer
                ask = min(end, time.monotonic() + ASK_SECONDS * self._crowd)
                while await self._sequence(channel) == seen and self._may_wait(ask):
                    await anyio.sleep(LOOK_SECONDS * self._crowd)
        finally:
            self._number -= 1

    @property
    def _crowd(self) -> float:
        return max(1.0, self._number / FEW)

    def _may_wait(self, end: float) -> bool:
        return time.monotonic() < end and not self._ending.is_set()

    async def _sequence(self, channel: str) -> int:
        looked, sequence = self._known.get(channel, (0.0, 0))
        now = time.monotonic()
        if now - looked < LOOK_SECONDS:
            return sequence
        active = await run_in_threadpool(self._bundles.active, channel)
        if active is None:
            return 0  # names that nobody published to are not remembered
        self._known[channel] = (now, active.sequence)
        return active.sequence


def _ingest(session: Session, who: Caller, body: bytes, is_packed: bool) -> None:
    packed = body if is_packed else gzip.compress(body, 1)
    found = session.decision_log.ingest_chunk(packed, instance=who.name)
    session.fleet.note_clock(who, found.clock)


def _answer(offer: Offer, media: str) -> Response:
    headers = {"ETag": f'"{offer.etag}"'}
    if offer.data is None:
        # OPA forgets that it may wait when a 304 has another type.
        return Response(status_code=304, headers={**headers, "Content-Type": media})
    return Response(offer.data, headers=headers, media_type=media)
