"""Compatibility levels: of a subject, and of all."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from dataspine.adapters import schema_registry
from dataspine.adapters.session import Session
from dataspine.core.errors import InputError
from dataspine.registry import ALL
from dataspine.web.answers import LEVEL, LEVEL_SET
from dataspine.web.confluent.dialect import unset
from dataspine.web.confluent.parameter import subject_of

__all__ = ["add"]


class LevelBody(BaseModel):
    """A level as clients send it. What else they could send is not supported, and refused."""

    model_config = ConfigDict(extra="allow")

    compatibility: str | None = Field(None, max_length=64)
    normalize: bool | None = None


def add(routes: APIRouter, session: Session) -> None:
    """Add the routes."""
    settings = session.subject_settings

    @routes.get("/config", response_model=None, responses=LEVEL)
    def level() -> dict[str, Any]:
        """Return the level that holds where a subject has none."""
        return {"compatibilityLevel": settings.level()}

    @routes.put("/config", response_model=None, responses=LEVEL_SET)
    def put_level(body: LevelBody) -> dict[str, Any]:
        """Set the level that holds where a subject has none."""
        return _put_level(session, ALL, body)

    @routes.delete("/config", response_model=None, responses=LEVEL)
    def delete_level() -> dict[str, Any]:
        """Take the level back; that of ``spine.yaml`` holds. Return what held before."""
        return {"compatibilityLevel": schema_registry.set_level(session, ALL, None)}

    @routes.get("/config/{subject}", response_model=None, responses=LEVEL)
    def subject_level(
        subject: str, inherited: Annotated[bool, Query(alias="defaultToGlobal")] = False
    ) -> dict[str, Any]:
        """Return a subject's own level."""
        name = subject_of(subject)
        own = settings.level(name) if inherited else settings.own_level(name)
        if own is None:
            raise unset("compatibility level", name, "registry.level_unset")
        return {"compatibilityLevel": own}

    @routes.put("/config/{subject}", response_model=None, responses=LEVEL_SET)
    def put_subject_level(subject: str, body: LevelBody) -> dict[str, Any]:
        """Set a subject's level."""
        return _put_level(session, subject_of(subject), body)

    @routes.delete("/config/{subject}", response_model=None, responses=LEVEL)
    def delete_subject_level(subject: str) -> dict[str, Any]:
        """Take a subject's level back, and return what it was."""
        name = subject_of(subject)
        if settings.own_level(name) is None:
            raise unset("compatibility level", name, "registry.level_unset")
        return {"compatibilityLevel": schema_registry.set_level(session, name, None)}


def _put_level(session: Session, subject: str, body: LevelBody) -> dict[str, Any]:
    unsupported = sorted(k for k, v in (body.model_extra or {}).items() if v is not None)
    if unsupported or body.compatibility is None:
        raise InputError(
            f"the setting {unsupported[0][:40]!r} is not supported" if unsupported else "no level",
            where="compatibility",
            remedy="Send compatibility alone.",
            code="registry.invalid_level",
        )
    level = body.compatibility.upper()
    schema_registry.set_level(session, subject, level)
    return {"compatibility": level}
