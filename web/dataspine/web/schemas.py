"""The registry's seed dialect: ``/schemas``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from dataspine.adapters import schema_publish
from dataspine.adapters.schema_publish import Outcome, Proposal
from dataspine.adapters.session import Session
from dataspine.decisions.decision import Decision
from dataspine.registry import Contract, next_version
from dataspine.web.answers import OUTCOME, PUBLISHED, VERSION, VERSIONS
from dataspine.web.body import StrictRoute
from dataspine.web.guard import LARGEST, segment
from dataspine.web.problem import denied

__all__ = ["router"]

Page = Annotated[int, Query(ge=1, le=1000)]
# Where the text came from; who published it is the service's own knowledge.
ProvenanceKey = Literal["git_commit", "repository"]
MAX_PROVENANCE = 10
ProvenanceText = Annotated[str, StringConstraints(min_length=1, max_length=500)]


def _few(value: object) -> object:
    # Each member that is unknown would be told.
    if isinstance(value, dict) and len(value) > MAX_PROVENANCE:
        raise ValueError(f"more than {MAX_PROVENANCE} members")
    return value


Provenance = Annotated[dict[ProvenanceKey, ProvenanceText], BeforeValidator(_few)]


class SchemaBody(BaseModel):
    """A schema as it travels; unknown keys are ignored, as stock clients send more."""

    model_config = ConfigDict(populate_by_name=True)

    text: str = Field(alias="schema", max_length=1_048_576)
    type: str = Field("AVRO", alias="schemaType")
    references: list[dict[str, Any]] | None = Field(None, max_length=100)
    metadata: dict[str, Any] | None = None
    rule_set: dict[str, Any] | None = Field(None, alias="ruleSet")
    version: str | None = Field(None, max_length=64)
    provenance: Provenance | None = None

    def proposal(self, subject: str) -> Proposal:
        """Return what is proposed under the subject; a claim that is no version is refused."""
        if self.version is not None:
            next_version(self.version, "none")
        return Proposal(
            subject,
            self.text,
            self.type,
            tuple(self.references or ()),
            Contract.of(self.metadata, self.rule_set),
            self.version,
            {str(key): text for key, text in (self.provenance or {}).items()},
        )


def router(session: Session) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["registry"], route_class=StrictRoute)
    registry = session.registry

    @routes.get("/schemas", response_model=None, responses=VERSIONS)
    def subjects(
        limit: Page = 1000,
        offset: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
        prefix: Annotated[str, Query(alias="subjectPrefix", max_length=255)] = "",
        latest_only: Annotated[bool, Query(alias="latestOnly")] = True,
    ) -> JSONResponse:
        """List the latest version of every subject, or all versions of a page of subjects."""
        names = registry.subjects(prefix, limit=limit, offset=offset)
        found = registry.pages(names, latest_only=latest_only)
        # Written here, in a worker: else the framework does so on the loop.
        return JSONResponse([each.document() for each in found])

    @routes.get("/schemas/{subject}/versions")
    def versions(subject: str) -> list[int]:
        """List a subject's version numbers."""
        return [v.number for v in registry.versions(segment(subject))]

    @routes.get("/schemas/{subject}/versions/{number}", response_model=None, responses=VERSION)
    def version(subject: str, number: str) -> dict[str, Any]:
        """Return one version, or the ``latest``."""
        return registry.version(segment(subject), number).document()

    @routes.post("/schemas/{subject}/versions", responses=PUBLISHED)
    def publish(subject: str, body: SchemaBody) -> JSONResponse:
        """Publish a version: 201 stored, 200 known already, 403 denied with the decision."""
        outcome = schema_publish.publish(session, body.proposal(segment(subject)))
        return _answer(outcome, 201 if outcome.created else 200)

    @routes.post("/schemas/{subject}/validate", responses=OUTCOME)
    def validate(subject: str, body: SchemaBody) -> JSONResponse:
        """Say what publishing would answer; 200, allowed or not."""
        outcome = schema_publish.validate(session, body.proposal(segment(subject)))
        return JSONResponse(outcome.document(), headers={"Server-Timing": outcome.timing.header()})

    return routes


def _answer(outcome: Outcome, status: int) -> JSONResponse:
    headers = {"Server-Timing": outcome.timing.header()}
    decision = outcome.decision
    if decision is None or decision.allow:
        return JSONResponse(outcome.document(), status_code=status, headers=headers)
    return denied(
        decision,
        outcome.document(),
        code="schema.denied",
        where=outcome.subject,
        remedy="Do what each violation's remediation says, and publish again.",
        status=_status(decision),
        headers=headers,
    )


def _status(decision: Decision) -> int:
    """Return 409 when nothing but compatibility denies, as stock clients expect, else 403."""
    errors = {v.code for v in decision.violations if v.severity != "warn"}
    return 409 if errors == {"contract.incompatible"} else 403
