"""Modes: whether a subject may be written, or imported into."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from dataspine.adapters import schema_registry
from dataspine.adapters.session import Session
from dataspine.registry import ALL
from dataspine.web.answers import MODE
from dataspine.web.confluent.dialect import unset
from dataspine.web.confluent.parameter import subject_of

__all__ = ["add"]


class ModeBody(BaseModel):
    mode: str = Field(max_length=64)


def add(routes: APIRouter, session: Session) -> None:
    """Add the routes."""
    settings = session.subject_settings

    def put(subject: str, body: ModeBody, force: bool) -> dict[str, Any]:
        schema_registry.set_mode(session, subject, body.mode.upper(), force=force)
        return {"mode": body.mode.upper()}

    @routes.get("/mode", response_model=None, responses=MODE)
    def mode() -> dict[str, Any]:
        """Return the mode that holds where a subject has none."""
        return {"mode": settings.mode()}

    @routes.put("/mode", response_model=None, responses=MODE)
    def put_mode(body: ModeBody, force: bool = False) -> dict[str, Any]:
        """Set the mode that holds where a subject has none."""
        return put(ALL, body, force)

    @routes.delete("/mode", response_model=None, responses=MODE)
    def delete_mode() -> dict[str, Any]:
        """Take the mode back to READWRITE, and return what it was."""
        return {"mode": schema_registry.set_mode(session, ALL, None)}

    @routes.get("/mode/{subject}", response_model=None, responses=MODE)
    def subject_mode(
        subject: str, inherited: Annotated[bool, Query(alias="defaultToGlobal")] = False
    ) -> dict[str, Any]:
        """Return a subject's own mode."""
        name = subject_of(subject)
        own = settings.mode(name) if inherited else settings.own_mode(name)
        if own is None:
            raise unset("mode", name, "registry.mode_unset")
        return {"mode": own}

    @routes.put("/mode/{subject}", response_model=None, responses=MODE)
    def put_subject_mode(subject: str, body: ModeBody, force: bool = False) -> dict[str, Any]:
        """Set a subject's mode."""
        return put(subject_of(subject), body, force)

    @routes.delete("/mode/{subject}", response_model=None, responses=MODE)
    def delete_subject_mode(subject: str) -> dict[str, Any]:
        """Take a subject's mode back, and return what it was."""
        name = subject_of(subject)
        if settings.own_mode(name) is None:
            raise unset("mode", name, "registry.mode_unset")
        return {"mode": schema_registry.set_mode(session, name, None)}
