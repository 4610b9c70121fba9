"""Schemas by their ids and guids: what a deserializer asks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from dataspine.adapters.session import Session
from dataspine.registry import TYPES
from dataspine.web.answers import IDS, SCHEMA
from dataspine.web.confluent.dialect import Text
from dataspine.web.confluent.parameter import DeletedQuery, Form, Id, Limit, Offset, page, plain
from dataspine.web.confluent.schema import schema_document, schema_text

__all__ = ["add"]


def add(routes: APIRouter, session: Session) -> None:
    """Add the routes."""
    registry = session.registry

    @routes.get("/schemas/types")
    def types() -> list[str]:
        """List the schema types."""
        return list(TYPES)

    @routes.get("/schemas/ids/{identifier}", response_model=None, responses=SCHEMA)
    def by_id(
        identifier: Id,
        subject: str | None = None,
        form: Form = "",
        with_greatest: Annotated[bool, Query(alias="fetchMaxId")] = False,
    ) -> dict[str, Any]:
        """Return the schema with this id."""
        found = registry.by_id(identifier, None if subject is None else plain(subject))
        document = schema_document(session, found, form)
        return document | ({"maxId": registry.greatest_id()} if with_greatest else {})

    @routes.get("/schemas/ids/{identifier}/schema", response_class=Text, response_model=None)
    def text_by_id(identifier: Id, subject: str | None = None, form: Form = "") -> Text:
        """Return the text of the schema with this id."""
        found = registry.by_id(identifier, None if subject is None else plain(subject))
        return schema_text(session, found, form)

    @routes.get("/schemas/ids/{identifier}/subjects")
    def subjects_by_id(
        identifier: Id, deleted: DeletedQuery, offset: Offset = 0, limit: Limit = -1
    ) -> list[str]:
        """List the subjects that have this id."""
        names = sorted({subject for subject, _ in registry.uses(identifier, deleted=deleted)})
        return page(names, offset, limit)

    @routes.get("/schemas/ids/{identifier}/versions")
    def versions_by_id(
        identifier: Id,
        deleted: DeletedQuery,
        subject: str | None = None,
        offset: Offset = 0,
        limit: Limit = -1,
    ) -> list[dict[str, Any]]:
        """List the subjects and versions that have this id."""
        found = [
            {"subject": name, "version": number}
            for name, number in registry.uses(identifier, deleted=deleted)
            if subject is None or name == plain(subject)
        ]
        return page(found, offset, limit)

    @routes.get("/schemas/guids/{guid}", response_model=None, responses=SCHEMA)
    def by_guid(guid: str, form: Form = "") -> dict[str, Any]:
        """Return the schema with this guid, which messages may carry in a header."""
        return schema_document(session, registry.by_guid(guid), form)

    @routes.get("/schemas/guids/{guid}/ids", responses=IDS)
    def ids_by_guid(guid: str) -> list[dict[str, Any]]:
        """List the ids that a guid has: one, in the default context."""
        return [{"context": ":.:", "id": registry.by_guid(guid).id}]
