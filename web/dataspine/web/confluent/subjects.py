"""Subjects: listed, searched by metadata or content, deleted."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from dataspine.adapters import schema_registry
from dataspine.adapters.session import Session
from dataspine.core.errors import InputError, NotFoundError
from dataspine.web.answers import LOOKED_UP
from dataspine.web.confluent.parameter import DeletedQuery, Form, Limit, Offset, plain, subject_of
from dataspine.web.confluent.schema import SchemaBody, version_document

__all__ = ["add"]

_ANY_CONTEXT = ":*:"


def add(routes: APIRouter, session: Session) -> None:
    """Add the routes."""
    registry = session.registry

    @routes.get("/subjects")
    def subjects(
        deleted: DeletedQuery,
        prefix: Annotated[str, Query(alias="subjectPrefix", max_length=255)] = "",
        offset: Offset = 0,
        limit: Limit = -1,
    ) -> list[str]:
        """List the subjects."""
        begins = plain(prefix.removeprefix(_ANY_CONTEXT))
        most = None if limit < 0 else limit
        return registry.subjects(begins, deleted=deleted, limit=most, offset=offset)

    @routes.get("/subjects/{subject}/metadata", response_model=None, responses=LOOKED_UP)
    def by_metadata(
        subject: str,
        deleted: DeletedQuery,
        keys: Annotated[list[str], Query(alias="key", max_length=50)],
        values: Annotated[list[str], Query(alias="value", max_length=50)],
        form: Form = "",
    ) -> dict[str, Any]:
        """Return the newest version whose metadata properties have these values."""
        if len(keys) != len(values):
            raise InputError("as many keys as values", where="query", remedy="Repeat both.")
        wanted = dict(zip(keys, values, strict=True))
        for version in reversed(registry.versions(subject_of(subject), deleted=deleted)):
            if wanted.items() <= dict(version.contract.properties).items():
                return version_document(session, version, form)
        raise NotFoundError(
            "no version has these metadata",
            where=subject_of(subject),
            remedy="List them with `spine schema versions`.",
            code="registry.unknown_schema",
        )

    @routes.post("/subjects/{subject}", response_model=None, responses=LOOKED_UP)
    def look_up(
        subject: str,
        body: SchemaBody,
        deleted: DeletedQuery,
        normalize: bool = False,
        form: Form = "",
    ) -> dict[str, Any]:
        """Return the version of a subject that holds this schema."""
        proposal = body.proposal(subject_of(subject))
        found = schema_registry.look_up(session, proposal, deleted=deleted)
        return version_document(session, found, form)

    @routes.delete("/subjects/{subject}")
    def delete_subject(subject: str, permanent: bool = False) -> list[int]:
        """Delete every version of a subject: hidden first, and gone with ``permanent``."""
        return schema_registry.delete(session, subject_of(subject), permanent=permanent)
