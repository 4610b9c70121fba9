"""Whether a schema would be compatible."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from dataspine.adapters import schema_registry
from dataspine.adapters.session import Session
from dataspine.web.answers import COMPATIBILITY
from dataspine.web.confluent.parameter import number_of, subject_of
from dataspine.web.confluent.schema import SchemaBody

__all__ = ["add"]


def add(routes: APIRouter, session: Session) -> None:
    """Add the routes."""

    def answer(
        subject: str, body: SchemaBody, number: int | str | None, verbose: bool
    ) -> dict[str, Any]:
        proposal = body.proposal(subject_of(subject))
        comparison = schema_registry.compatibility(session, proposal, number)
        messages = {"messages": list(comparison.messages)} if verbose else {}
        return {"is_compatible": comparison.compatible, **messages}

    @routes.post(
        "/compatibility/subjects/{subject}/versions", response_model=None, responses=COMPATIBILITY
    )
    def with_all(
        subject: str, body: SchemaBody, verbose: bool = False, normalize: bool = False
    ) -> dict[str, Any]:
        """Say whether a schema is compatible at the subject's level."""
        return answer(subject, body, None, verbose)

    @routes.post(
        "/compatibility/subjects/{subject}/versions/{number}",
        response_model=None,
        responses=COMPATIBILITY,
    )
    def with_one(
        subject: str,
        number: str,
        body: SchemaBody,
        verbose: bool = False,
        normalize: bool = False,
    ) -> dict[str, Any]:
        """Say whether a schema is compatible with one version."""
        return answer(subject, body, number_of(number), verbose)
