"""A schema, alone or as a version, as the dialect sends and tells it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from dataspine.adapters import schema_registry
from dataspine.adapters.schema_publish import Imported, Proposal
from dataspine.adapters.session import Session
from dataspine.core.errors import InputError
from dataspine.registry import Contract, Version
from dataspine.web.confluent.dialect import Text
from dataspine.web.confluent.parameter import MAX_ID

__all__ = ["SchemaBody", "schema_document", "schema_text", "version_document"]


class SchemaBody(BaseModel):
    """A schema; unknown keys are ignored, as stock clients send more, and null is nothing."""

    text: str = Field(alias="schema", max_length=1_048_576)
    type: str | None = Field(None, alias="schemaType", max_length=40)
    references: list[dict[str, Any]] | None = Field(None, max_length=100)
    metadata: dict[str, Any] | None = None
    rule_set: dict[str, Any] | None = Field(None, alias="ruleSet")
    version: int | None = Field(None, ge=-1, le=MAX_ID)
    id: int | None = Field(None, ge=-1, le=MAX_ID)

    def proposal(self, subject: str) -> Proposal:
        """Return what is proposed; with an id it is an import, and needs its version too."""
        return Proposal(
            subject,
            self.text,
            self.type or "AVRO",
            tuple(self.references or ()),
            Contract.of(self.metadata, self.rule_set),
            imported=self._imported(),
        )

    def _imported(self) -> Imported | None:
        if self.id is None or self.id < 1:
            return None
        if self.version is None or self.version < 1:
            raise InputError(
                "an import needs id and version",
                where="version",
                remedy="Send both, as the other registry gave them.",
                code="registry.invalid_version",
            )
        return Imported(self.id, self.version)


def schema_document(session: Session, version: Version, form: str) -> dict[str, Any]:
    """Return a schema as the dialect tells it: AVRO, and what is empty, are left out."""
    document: dict[str, Any] = {
        "guid": version.guid,
        "schema": schema_registry.text_of(session, version, form),
    }
    if version.type != "AVRO":
        document["schemaType"] = version.type
    if version.references:
        document["references"] = [dict(each) for each in version.references]
    return document | version.contract.document()


def version_document(session: Session, version: Version, form: str) -> dict[str, Any]:
    """Return a version as the dialect tells it."""
    own = {"subject": version.subject, "id": version.id, "version": version.number}
    return own | schema_document(session, version, form)


def schema_text(session: Session, version: Version, form: str) -> Text:
    """Return the text alone."""
    return Text(schema_registry.text_of(session, version, form))
