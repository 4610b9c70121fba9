"""The versions of a subject: read, registered, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response

from dataspine.adapters import schema_publish, schema_registry
from dataspine.adapters.schema_publish import Outcome
from dataspine.adapters.session import Session
from dataspine.web.answers import LOOKED_UP, REGISTERED
from dataspine.web.confluent.dialect import Answer, Text, tell
from dataspine.web.confluent.parameter import (
    DeletedQuery,
    Form,
    Limit,
    Offset,
    number_of,
    page,
    subject_of,
)
from dataspine.web.confluent.schema import SchemaBody, schema_text, version_document

__all__ = ["add"]


def add(routes: APIRouter, session: Session) -> None:
    """Add the routes."""
    registry = session.registry

    @routes.get("/subjects/{subject}/versions")
    def versions(
        subject: str, deleted: DeletedQuery, offset: Offset = 0, limit: Limit = -1
    ) -> list[int]:
        """List a subject's version numbers."""
        found = registry.versions(subject_of(subject), deleted=deleted)
        return page([each.number for each in found], offset, limit)

    @routes.get("/subjects/{subject}/versions/{number}", response_model=None, responses=LOOKED_UP)
    def version(
        subject: str, number: str, deleted: DeletedQuery, form: Form = ""
    ) -> dict[str, Any]:
        """Return one version, or the ``latest``."""
        found = registry.version(subject_of(subject), number_of(number), deleted=deleted)
        return version_document(session, found, form)

    @routes.get(
        "/subjects/{subject}/versions/{number}/schema", response_class=Text, response_model=None
    )
    def version_text(subject: str, number: str, deleted: DeletedQuery, form: Form = "") -> Text:
        """Return the text of one version."""
        found = registry.version(subject_of(subject), number_of(number), deleted=deleted)
        return schema_text(session, found, form)

    @routes.get("/subjects/{subject}/versions/{number}/referencedby")
    def referenced_by(
        subject: str, number: str, offset: Offset = 0, limit: Limit = -1
    ) -> list[int]:
        """List the ids of the schemas that refer to a version."""
        found = registry.version(subject_of(subject), number_of(number), deleted="shown")
        ids = {each.id for each in registry.referenced_by(found.subject, found.number)}
        return page(sorted(ids), offset, limit)

    @routes.post("/subjects/{subject}/versions", responses=REGISTERED)
    def register(subject: str, body: SchemaBody, normalize: bool = False) -> Response:
        """Register a schema; a known one answers its id without a decision.

        Schemas are always compared in their canonical form, so ``normalize`` changes nothing.
        """
        outcome = schema_publish.publish(session, body.proposal(subject_of(subject)))
        timing = {"Server-Timing": outcome.timing.header()}
        if outcome.version is None:
            return _denied(session, outcome, timing)
        version = outcome.version
        told = {"id": version.id, "version": version.number, "guid": version.guid}
        return Answer(told, headers=timing)

    @routes.delete("/subjects/{subject}/versions/{number}")
    def delete_version(subject: str, number: str, permanent: bool = False) -> int:
        """Delete one version: hidden first, and gone with ``permanent``."""
        (gone,) = schema_registry.delete(
            session, subject_of(subject), number_of(number), permanent=permanent
        )
        return gone


def _denied(session: Session, outcome: Outcome, headers: Mapping[str, str]) -> Response:
    decision = outcome.decision
    violations = [v for v in decision.violations if v.denies] if decision is not None else []
    message = "; ".join(f"{v.code} {v.path}: {v.message}" for v in violations)
    status, code = 403, 40301
    if decision is None or decision.policy is None:
        status, code = 503, 50301
    elif {v.code for v in violations} == {"contract.incompatible"}:
        status, code = 409, session.workspace.settings.incompatible_code
    return tell(status, code, message, headers)
