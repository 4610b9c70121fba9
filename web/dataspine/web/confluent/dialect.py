"""The dialect itself: its media type, and how errors are told in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from dataspine.adapters.access import DeniedError
from dataspine.core.errors import DataSpineError, InputError, NotFoundError, UnavailableError
from dataspine.web.body import StrictRoute
from dataspine.web.problem import PROBLEM, invalid

__all__ = ["CODES", "DELETED_CODES", "REFUSED", "Answer", "DialectRoute", "Text", "tell", "unset"]

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"

# Status and error_code of our codes; any other bad input is 422, 42201.
CODES: Mapping[str, tuple[int, int]] = {
    "registry.unknown_subject": (404, 40401),
    "registry.unknown_version": (404, 40402),
    "registry.unknown_schema": (404, 40403),
    "registry.level_unset": (404, 40408),
    "registry.mode_unset": (404, 40409),
    "registry.invalid_version": (422, 42202),
    "registry.invalid_level": (422, 42203),
    "registry.invalid_mode": (422, 42204),
    "registry.not_permitted": (422, 42205),
    "registry.taken": (422, 42205),
    "registry.number_too_high": (422, 42205),
    "registry.out_of_numbers": (422, 42205),
    "registry.referenced": (422, 42206),
    "registry.invalid_subject": (422, 42208),
}
# The error_code of a subject, and of a version; their status is 404.
DELETED_CODES = {"registry.deleted": (40404, 40406), "registry.not_deleted": (40405, 40407)}


class Answer(JSONResponse):
    """JSON, named as clients name it."""

    media_type = MEDIA_TYPE


class Text(Answer):
    """A schema's own text, which is JSON in Avro alone."""

    def render(self, content: str) -> bytes:
        """Return the text as it is."""
        return content.encode()


class Refusal(BaseModel):
    """What every error of the dialect is told as."""

    error_code: int = Field(description="see the table of the dialect")
    message: str


# What is refused before the address is looked at is told as everywhere else.
REFUSED: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Refusal, "content": PROBLEM, "description": "Refused, by its `error_code`."},
    503: {"model": Refusal, "content": PROBLEM, "description": "Nobody answered; try again."},
}


class DialectRoute(StrictRoute):
    """A route whose errors are told in the dialect."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, which raises nothing that the dialect can tell."""
        handle = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                return _refuse(invalid(error))
            except HTTPException as error:
                # The framework hides what was wrong with a body behind an error of its own.
                if not isinstance(error.__cause__, DataSpineError):
                    raise
                return _refuse(error.__cause__)
            except DataSpineError as error:
                is_version = "number" in request.path_params
                return _refuse(error, is_version=is_version)

        return told


def unset(what: str, subject: str, code: str) -> NotFoundError:
    """Return that a subject has no level or mode of its own."""
    return NotFoundError(f"{subject} has no {what} of its own", remedy="Set one.", code=code)


def _refuse(error: DataSpineError, *, is_version: bool = False) -> Response:
    if isinstance(error, DeniedError):
        return tell(403, 40301, error.problem)
    if error.code in DELETED_CODES:
        return tell(404, DELETED_CODES[error.code][is_version], str(error))
    status, code = CODES.get(error.code, (0, 0))
    if not status:
        if error.code == "registry.invalid_contract" and str(error.where).startswith("ruleSet"):
            status, code = 422, 42210
        elif isinstance(error, NotFoundError):
            status, code = 404, 404
        elif isinstance(error, InputError):
            status, code = 422, 42201
        elif isinstance(error, UnavailableError):
            status, code = 503, 50301
        else:
            raise error
    return tell(status, code, str(error))


def tell(
    status: int, code: int, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error in the dialect."""
    body = json.dumps({"error_code": code, "message": message})
    return Response(body, status, dict(headers or {}), MEDIA_TYPE)
