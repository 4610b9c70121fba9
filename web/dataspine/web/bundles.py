"""Bundles and channels over HTTP: reserve, upload, look up, approve, promote, roll back.

Publishing takes two requests, because the key stays where it is: ``POST /v1/bundles`` reserves a
sequence for a content digest, the client signs for it, ``PUT /v1/bundles/{channel}/{sequence}``
uploads the signed archive. Both may be repeated.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from dataspine.adapters import access, bundle_promote, bundle_publish
from dataspine.adapters.bundle_promote import Promotion
from dataspine.adapters.session import Session
from dataspine.bundles import Publication
from dataspine.core.errors import InputError, NotFoundError, placed
from dataspine.web.answers import raw
from dataspine.web.body import StrictRoute
from dataspine.web.guard import LARGEST
from dataspine.web.problem import denied

__all__ = ["router"]

ARCHIVE = "application/gzip"
Limit = Annotated[int, Query(ge=1, le=500)]
Sequence = Annotated[int, Path(ge=1, le=LARGEST)]


class _Archive(Response):
    media_type = ARCHIVE


class Reservation(BaseModel):
    """What a sequence is reserved for."""

    model_config = ConfigDict(extra="forbid")
    channel: str = Field(max_length=64)
    digest: str = Field(max_length=80)


class Proposed(BaseModel):
    """A published bundle, by its revision or digest."""

    model_config = ConfigDict(extra="forbid")
    revision: str = Field(max_length=200)


class Approving(Proposed):
    """The same, and why it is approved."""

    reason: str | None = Field(default=None, max_length=1_000)


class Rollback(BaseModel):
    """An order to go back: ``to`` is a sequence, or the start of a digest."""

    model_config = ConfigDict(extra="forbid")
    to: str | int
    reason: str = Field(max_length=1_000)


def router(session: Session) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1", tags=["bundles"], route_class=StrictRoute)
    _add_bundles(routes, session)
    _add_channels(routes, session)
    return routes


def _add_bundles(routes: APIRouter, session: Session) -> None:
    store = session.bundles

    @routes.post("/bundles", status_code=201)
    def reserve(asked: Reservation) -> dict[str, Any]:
        """Reserve the sequence to sign a content for; asked again, the same one."""
        # No signature authorises it yet, and numbers that are given are never given back.
        access.require_unless_local(session, access.PUBLISH, access.channel(asked.channel))
        sequence = bundle_publish.reserve(session, asked.channel, asked.digest)
        return {"channel": asked.channel, "digest": asked.digest, "sequence": sequence}

    @routes.put(
        "/bundles/{channel}/{sequence}",
        responses={201: {"description": "Published."}},
        openapi_extra=raw(ARCHIVE),
    )
    async def upload(channel: str, sequence: Sequence, request: Request) -> JSONResponse:
        """Publish a signed archive for its reserved sequence; the same one again is no change."""
        data = await request.body()
        with placed("body"):
            published = await run_in_threadpool(
                bundle_publish.upload, session, channel, data, sequence=sequence
            )
        return JSONResponse(published.document(), status_code=201 if published.changed else 200)

    @routes.get("/bundles")
    def publications(limit: Limit = 50) -> list[dict[str, Any]]:
        """List what was published, the newest first."""
        return [_shown(each) for each in store.publications(limit=limit)]

    @routes.get("/bundles/{digest}")
    def content(digest: str) -> dict[str, Any]:
        """Return one content: who made it from what, and where it was published."""
        found = store.publications(digest, limit=500)
        if not found:
            raise NotFoundError(
                "no such bundle was published",
                where=digest[:80],
                remedy="See GET /v1/bundles.",
                code="bundle.unknown",
            )
        first = found[-1]
        return {
            "digest": first.digest,
            "revision": first.revision,
            **first.origin.document(),
            "publications": [_shown(each) for each in found],
        }

    @routes.get("/bundles/{channel}/{sequence}", response_class=_Archive)
    def archive(channel: str, sequence: Sequence) -> Response:
        """Return the exact archive that was published."""
        if store.publication(channel, sequence) is None:
            raise NotFoundError(
                f"sequence {sequence} was not published",
                where=channel[:80],
                remedy="See GET /v1/channels/{channel}.",
                code="bundle.no_such_sequence",
            )
        return _Archive(store.bytes_of(channel, sequence))


def _add_channels(routes: APIRouter, session: Session) -> None:
    store = session.bundles

    @routes.get("/channels")
    def channels() -> list[dict[str, Any]]:
        """List the channels with what they serve and served before."""
        return [each.document() for each in bundle_publish.channels(session)]

    @routes.get("/channels/{channel}")
    def channel(channel: str, limit: Limit = 50) -> dict[str, Any]:
        """Return one channel: what it serves, and its history, the newest first."""
        for each in bundle_publish.channels(session):
            if each.name == channel:
                history = store.history(channel, limit=limit)
                return {**each.document(), "history": [_shown(one) for one in history]}
        raise NotFoundError("no such channel", where=channel[:80], remedy="See GET /v1/channels.")

    @routes.post("/channels/{channel}/rollback", status_code=201)
    def rollback(channel: str, asked: Rollback) -> dict[str, Any]:
        """Publish an earlier content again, signed with the key that this service was given."""
        # Elsewhere whoever rolls back holds the key; here it is lent.
        access.require_unless_local(session, access.ROLLBACK, access.channel(channel))
        return bundle_publish.rollback(
            session, channel, to=str(asked.to), reason=asked.reason, key=_own_key()
        ).document()

    @routes.post("/channels/{channel}/approve", status_code=201)
    def approve(channel: str, asked: Approving) -> dict[str, Any]:
        """Approve that a channel goes from what it serves now to a published bundle."""
        candidate = bundle_promote.published_candidate(session, asked.revision)
        approval = bundle_promote.approve(session, candidate, channel, reason=asked.reason)
        return approval.document()

    @routes.post(
        "/channels/{channel}/promote",
        status_code=201,
        responses={200: {"description": "It was active already."}},
    )
    def promote(channel: str, asked: Proposed) -> JSONResponse:
        """Promote a published bundle: 201 active, 200 was already, 403 denied with the decision."""
        # An empty channel takes its first bundle unasked, and the key is lent.
        access.require_unless_local(session, access.PROMOTE, access.channel(channel))
        key = _own_key()
        candidate = bundle_promote.published_candidate(session, asked.revision)
        return _answer(bundle_promote.promote(session, candidate, channel, key=key))


def _answer(promotion: Promotion) -> JSONResponse:
    decision, document = promotion.decision, promotion.document()
    if decision is None or decision.allow:
        return JSONResponse(document, status_code=201 if promotion.changed else 200)
    return denied(
        decision,
        document,
        code="bundle.denied",
        where=promotion.channel,
        remedy="Do what each violation's remediation says, and promote again.",
    )


def _own_key() -> str:
    # Never a key that a caller names: it would choose which file is read.
    key = os.environ.get("SPINE_KEY")
    if key is None:
        raise InputError(
            "this service holds no key to sign with",
            where="SPINE_KEY",
            remedy="Use `spine bundle` where the key is, or start the service with SPINE_KEY.",
            code="bundle.no_key",
        )
    return key


def _shown(publication: Publication) -> dict[str, Any]:
    archive = f"/v1/bundles/{publication.channel}/{publication.sequence}"
    return {**publication.document(), "archive": archive}
