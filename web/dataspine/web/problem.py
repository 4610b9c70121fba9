"""Errors as RFC 9457 problem JSON; the only place that maps an error to an HTTP status."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from dataspine.adapters.access import DeniedError
from dataspine.core.errors import (
    ConflictError,
    DataSpineError,
    InputError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
)
from dataspine.decisions.decision import Decision
from dataspine.decisions.fleet_tokens import TokenError

__all__ = [
    "PROBLEM",
    "REFUSED",
    "LoginError",
    "Problem",
    "denied",
    "invalid",
    "problem",
    "unexpected",
]

_logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class LoginError(InputError):
    """The caller has to say who it is, by a token that this service knows."""

    code = "access.unauthenticated"


_STATUSES: tuple[tuple[type[DataSpineError], int], ...] = (
    (TokenError, 401),
    (LoginError, 401),
    (DeniedError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (InputError, 422),
    (UnavailableError, 503),
    (IntegrityError, 422),
)


class Problem(BaseModel):
    """What every error is told as (RFC 9457); a denial holds its decision besides."""

    model_config = ConfigDict(extra="allow")
    type: str = Field(description="`urn:data-spine:error:` and the code")
    title: str = Field(description="what is wrong, or that policy denies it")
    status: int
    detail: str = Field(description="the place and what is wrong there")
    code: str = Field(description="what programs branch on: see [errors](errors.md)")
    problem: str
    where: str = Field(description="the place: a JSON Pointer, a name, a file with its line")
    remedy: str = Field(description="what to do next")
    retry: bool = Field(description="whether the same request may succeed later")
    exit_code: int | None = Field(None, description="what the command line would return")


PROBLEM: Mapping[str, Any] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
# What every operation may answer, for the OpenAPI document. The framework knows no media type of
# its own for errors, so `app` adds the component.
REFUSED: Mapping[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "Refused: what is wrong, where, and what to do next.",
        "content": PROBLEM,
    },
    503: {
        "description": "What is needed is not there now; nothing was changed. Try again.",
        "content": PROBLEM,
    },
}


def problem(
    error: DataSpineError, status: int | None = None, *, unrouted: bool = False
) -> JSONResponse:
    """Return an error as a response: ``code``, what, where and what to do next.

    ``unrouted`` is a request that reached no address of ours: stock clients of the registry read
    its ``error_code`` and ``message``, and nothing else.
    """
    if status is None:
        status = next((s for kind, s in _STATUSES if isinstance(error, kind)), 500)
        if error.code == "input.too_large":
            status = 413
    if isinstance(error, DeniedError):
        return denied(
            error.decision,
            error.decision.document(),
            code=error.code,
            where=error.where,
            remedy=error.remedy,
        )
    body = {
        "type": f"urn:data-spine:error:{error.code}",
        "title": error.problem,
        "status": status,
        "detail": str(error),
        "exit_code": error.exit_code,
        **error.document(),
    }
    if unrouted:
        body |= {"error_code": status, "message": str(error)}
    headers = {"Retry-After": "1"} if error.retry else {}
    if status == 401:
        # What browsers can answer as well.
        headers["WWW-Authenticate"] = 'Bearer realm="Data Spine", Basic realm="Data Spine"'
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def denied(  # noqa: PLR0913 - what a denial says, all by keyword
    decision: Decision,
    document: Mapping[str, Any],
    *,
    code: str,
    where: str,
    remedy: str,
    status: int = 403,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a denial as a problem that holds the whole decision; 503 when nobody answered."""
    error = DataSpineError(", ".join(decision.codes), where=where, remedy=remedy, code=code)
    error.retry = decision.policy is None
    body = {
        "type": f"urn:data-spine:error:{code}",
        "title": "Denied by policy",
        "status": 503 if error.retry else status,
        "detail": str(error),
        **error.document(),
        **document,
    }
    return JSONResponse(body, body["status"], headers, media_type=MEDIA_TYPE)


def invalid(error: RequestValidationError) -> InputError:
    """Return what is wrong with a request, by the first fault that was found in it."""
    first = error.errors()[0]
    place = "/" + "/".join(str(part) for part in first["loc"])
    return InputError(str(first["msg"]), where=place, remedy="See /openapi.json.")


async def unexpected(_request: Request, error: Exception) -> JSONResponse:
    """Answer a fault of the program itself: logged whole, shown without its inside."""
    _logger.error("unexpected fault", exc_info=error)
    fault = DataSpineError(
        "an unexpected fault", remedy="The service's log has the details.", code="spine.internal"
    )
    return problem(fault, 500)
