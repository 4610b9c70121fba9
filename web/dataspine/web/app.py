"""The application factory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from dataspine.adapters.access import EVERYTHING, LINEAGE, require_unless_local
from dataspine.adapters.session import Session
from dataspine.core.errors import DataSpineError, InputError, NotFoundError
from dataspine.web import (
    bundles,
    confluent,
    decisions,
    fleet,
    lineage,
    operations,
    routes,
    schemas,
    sidecars,
)
from dataspine.web.authentication import SECURITY, Authentication
from dataspine.web.finished import FinishedSchemas
from dataspine.web.guard import Guard
from dataspine.web.problem import REFUSED, Problem, invalid, problem, unexpected
from dataspine.web.turnstile import Turnstile

__all__ = ["create_app"]


def create_app(
    session: Session,
    *,
    hosts: tuple[str, ...] = (),
    ending: threading.Event | None = None,
    cut: Mapping[str, int] = MappingProxyType({}),
) -> ASGIApp:
    """Build the service over an opened session; the caller starts and closes the session.

    ``hosts`` are names that it may be called by, besides loopback. Once ``ending`` is set, nobody
    is made to wait any more. ``cut`` are the connections that its server closed, for the metrics.
    """
    app = _Service(
        title="Data Spine",
        version=version("data-spine"),
        docs_url=None,
        redoc_url=None,
        responses=dict(REFUSED),
    )
    for made in (
        operations.router(session, cut),
        confluent.router(session),
        schemas.router(session),
        decisions.router(session),
        sidecars.router(session, ending or threading.Event()),
        routes.router(session),
        fleet.router(session),
        bundles.router(session),
        lineage.router(
            session.lineage,
            session.outbox,
            permit=lambda: require_unless_local(session, LINEAGE, EVERYTHING),
        ),
    ):
        app.include_router(made)
    app.add_exception_handler(DataSpineError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, unexpected)
    finished: ASGIApp = FinishedSchemas(app, session.registry.removed)
    if session.workspace.settings.tokens:
        app.security = SECURITY
        finished = Authentication(finished, session.workspace.settings.tokens)
    return Turnstile(Guard(finished, hosts=hosts))


class _Service(FastAPI):
    security: Mapping[str, Mapping[str, str]] = MappingProxyType({})

    def openapi(self) -> dict[str, Any]:
        """Return the document, with what no route names as its own: errors, and who may call."""
        document = super().openapi()
        document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        if self.security:
            document["components"]["securitySchemes"] = dict(self.security)
            document["security"] = [{name: []} for name in self.security]
        return document


async def _known(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, DataSpineError):
        raise error
    return problem(error)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    return problem(invalid(error))


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    # The framework hides what was wrong with a body behind an error of its own.
    if isinstance(error.__cause__, DataSpineError):
        return problem(error.__cause__)
    where = f"{request.method} {request.url.path[:200]}"
    remedy = "See /openapi.json."
    if error.status_code == 404:
        unknown = NotFoundError("no such address", where=where, remedy=remedy)
        return problem(unknown, unrouted=True)
    refused = InputError(str(error.detail), where=where, remedy=remedy)
    return problem(refused, error.status_code, unrouted=True)
