"""The shapes of answers and of bodies that routes read themselves, for the OpenAPI document.

The values are made where they are known, by ``document()``; nothing is validated twice. The fuzzed
tests compare each answer with its shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from dataspine.decisions.decision import POINTS
from dataspine.web.problem import PROBLEM

__all__ = [
    "COMPATIBILITY",
    "DECISION",
    "EVENT",
    "EVENTS",
    "IDS",
    "LEVEL",
    "LEVEL_SET",
    "LOG",
    "LOOKED_UP",
    "MODE",
    "OUTCOME",
    "PUBLISHED",
    "QUESTION",
    "REGISTERED",
    "SCHEMA",
    "STATUS",
    "VERSION",
    "VERSIONS",
    "answer",
    "raw",
]

Answers = dict[int | str, dict[str, Any]]


class Policy(BaseModel):
    """Which bundle answered."""

    revision: str
    sequence: int


class Violation(BaseModel):
    """One broken rule."""

    code: str = Field(description="the rule: see [rules](rules.md)")
    severity: str = Field(description="`warn` does not deny, every other value does")
    message: str
    path: str = Field(description="a JSON Pointer into the facts")
    remediation: str
    controls: list[str]
    field: str | None = None
    line: int | None = Field(None, description="in the text that was sent")
    exception: dict[str, Any] | None = Field(None, description="what made a warning of it")


class Obligation(BaseModel):
    """What the caller must do for the allow to hold."""

    type: str
    path: str
    field: str
    method: str | None = None


class DecisionAnswer(BaseModel):
    """The answer for one input at one point."""

    decision_id: str
    point: str
    allow: bool
    violations: list[Violation]
    obligations: list[Obligation]
    policy: Policy | None = Field(description="null when no bundle answered")
    valid_until: str | None
    input_digest: str
    evaluated_at: str
    at_replaced: bool = False


class Reference(BaseModel):
    """A schema that another one uses."""

    name: str = Field(description="the full name in Avro, the import's path in Protobuf")
    subject: str
    version: int


class Metadata(BaseModel):
    """What is stated beside a schema."""

    properties: dict[str, str] = Field(default_factory=dict)
    tags: dict[str, list[str]] = Field(default_factory=dict)
    sensitive: list[str] = Field(default_factory=list)


class SchemaAnswer(BaseModel):
    """A schema as stock clients read it: what is empty, and the type AVRO, is left out."""

    text: str = Field(alias="schema")
    schemaType: str = "AVRO"  # noqa: N815 - the name that travels
    references: list[Reference] = Field(default_factory=list)
    metadata: Metadata | None = None
    ruleSet: dict[str, Any] | None = None  # noqa: N815 - the name that travels


class SchemaById(SchemaAnswer):
    """A schema by its id or its guid."""

    guid: str
    maxId: int | None = Field(  # noqa: N815 - the name that travels
        None, description="the greatest id, with `fetchMaxId`"
    )


class SubjectVersion(SchemaAnswer):
    """A version of a subject."""

    subject: str
    id: int
    version: int


class LookedUp(SubjectVersion):
    """A version as stock clients read it."""

    guid: str = Field(description="names the content, under whatever id")


class ContextId(BaseModel):
    """An id, and the context that it is one of."""

    context: str
    id: int


class VersionAnswer(SubjectVersion):
    """A version, with what Data Spine knows besides."""

    semver: str
    owner: str | None
    provenance: dict[str, str]
    decision_id: str | None
    published_at: str


class Compared(BaseModel):
    """How a schema compares with what is published."""

    level: str
    compatible: bool
    messages: list[str]


class Numbered(BaseModel):
    """The semantic version that the change asks for."""

    current: str | None
    next: str
    bump: str


class OutcomeAnswer(BaseModel):
    """What came of publishing or validating; with the whole decision when one was asked."""

    allow: bool
    subject: str
    compatibility: Compared
    version: Numbered
    published: VersionAnswer | None
    created: bool
    decision_id: str | None = None
    point: str | None = None
    violations: list[Violation] = Field(default_factory=list)
    obligations: list[Obligation] = Field(default_factory=list)
    policy: Policy | None = None
    valid_until: str | None = None
    input_digest: str | None = None
    evaluated_at: str | None = None


class Registered(BaseModel):
    """What a schema got."""

    id: int
    version: int
    guid: str


class Compatibility(BaseModel):
    """Whether a schema is compatible."""

    is_compatible: bool
    messages: list[str] = Field(default_factory=list, description="why not, with `verbose`")


class Level(BaseModel):
    """The level that holds."""

    compatibilityLevel: str  # noqa: N815 - the name that travels


class LevelSet(BaseModel):
    """The level that was set."""

    compatibility: str


class Mode(BaseModel):
    """The mode that holds."""

    mode: str


def answer(model: Any, words: str, status: int | str = 200) -> Answers:
    """Return what a route answers beside its errors: a shape and what it means."""
    return {status: {"model": model, "description": words}}


def raw(
    media: str, schema: Mapping[str, Any] | None = None, *, required: bool = True
) -> dict[str, Any]:
    """Return ``openapi_extra`` of a body that the route reads itself."""
    content = {media: {"schema": dict(schema or {"type": "string", "format": "binary"})}}
    return {"requestBody": {"required": required, "content": content}}


_DENIED = "Denied, with the whole outcome and the decision"

DECISION = answer(DecisionAnswer, "The decision, allowed or not.")
OUTCOME = answer(OutcomeAnswer, "The outcome, allowed or not.")
PUBLISHED: Answers = {
    **answer(OutcomeAnswer, "Known already: nothing was asked and nothing changed."),
    **answer(OutcomeAnswer, "Published.", 201),
    403: {"description": f"{_DENIED}.", "content": PROBLEM},
    409: {"description": f"{_DENIED}: it is incompatible, and nothing else.", "content": PROBLEM},
}
VERSION = answer(VersionAnswer, "The version.")
VERSIONS = answer(list[VersionAnswer], "The versions.")
SCHEMA = answer(SchemaById, "The schema.")
IDS = answer(list[ContextId], "The ids.")
LOOKED_UP = answer(LookedUp, "The version.")
REGISTERED = answer(Registered, "Registered, now or before.")
COMPATIBILITY = answer(Compatibility, "Whether it is compatible.")
LEVEL = answer(Level, "The level.")
LEVEL_SET = answer(LevelSet, "The level that was set.")
MODE = answer(Mode, "The mode.")

_OBJECT = {"type": "object"}
QUESTION = raw(
    "application/json",
    {
        "title": "DecisionInput",
        "type": "object",
        "required": ["point", "at", "facts"],
        "additionalProperties": False,
        "properties": {
            "point": {"enum": list(POINTS)},
            "at": {"type": "string", "format": "date-time"},
            "facts": {**_OBJECT, "description": "see [files](files.md): one form for each point"},
            "row": {**_OBJECT, "description": "the guard columns, for `row.replicate`"},
        },
    },
)
_EVENT = {
    "title": "Event",
    "type": "object",
    "required": ["eventTime", "producer"],
    "properties": {
        "eventTime": {"type": "string", "format": "date-time"},
        "eventType": {"type": "string", "description": "`START`, `COMPLETE`, `FAIL`, …"},
        "producer": {"type": "string", "format": "uri"},
        "schemaURL": {"type": "string", "format": "uri"},
        "run": {**_OBJECT, "description": "of a run event, with `runId`, and its `job`"},
        "job": {**_OBJECT, "description": "of a run or a job event: `namespace`, `name`"},
        "dataset": {**_OBJECT, "description": "of a dataset event: `namespace`, `name`"},
        "inputs": {"type": "array", "items": _OBJECT},
        "outputs": {"type": "array", "items": _OBJECT},
    },
}
EVENT = raw("application/json", _EVENT)
_EACH = {"description": "an event as above; each that cannot be used is named"}
EVENTS = raw("application/json", {"type": "array", "maxItems": 1_000, "items": _EACH})
LOG = raw("application/json", {"type": "array", "items": {"description": "an event of OPA's log"}})
STATUS = raw("application/json", _OBJECT)
