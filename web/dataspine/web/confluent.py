"""The registry's Confluent dialect: what stock serializers, converters and tools call.

Paths, shapes and error codes are those of Confluent's published REST interface; the same store as
``/schemas`` is behind it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from dataspine.adapters import schema_publish, schema_registry
from dataspine.adapters.access import DeniedError
from dataspine.adapters.schema_publish import Imported, Outcome, Proposal
from dataspine.adapters.session import Session
from dataspine.core.errors import (
    DataSpineError,
    InputError,
    NotFoundError,
    UnavailableError,
)
from dataspine.registry import ALL, TYPES, Contract, Deleted, Version
from dataspine.web.answers import (
    COMPATIBILITY,
    LEVEL,
    LEVEL_SET,
    LOOKED_UP,
    MODE,
    REGISTERED,
    SCHEMA,
)
from dataspine.web.body import StrictRoute
from dataspine.web.guard import LARGEST, segment
from dataspine.web.problem import PROBLEM, invalid

__all__ = ["CODES", "DELETED", "router"]

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
# A subject of the default context may be written with it.
_CONTEXT = ":.:"
_ANY_CONTEXT = ":*:"
_LARGEST = 2**31 - 1

_Item = TypeVar("_Item")

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
    "registry.referenced": (422, 42206),
    "registry.invalid_subject": (422, 42208),
}
# The error_code of a subject, and of a version; their status is 404.
DELETED = {"registry.deleted": (40404, 40406), "registry.not_deleted": (40405, 40407)}


class _Answer(JSONResponse):
    media_type = MEDIA_TYPE


class _Text(_Answer):
    """A schema's own text, which is JSON in Avro alone."""

    def render(self, content: str) -> bytes:
        return content.encode()


class Refusal(BaseModel):
    """What every error of the dialect is told as."""

    error_code: int = Field(description="see the table of the dialect")
    message: str


# What is refused before the address is looked at is told as everywhere else.
_REFUSED: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Refusal, "content": PROBLEM, "description": "Refused, by its `error_code`."},
    503: {"model": Refusal, "content": PROBLEM, "description": "Nobody answered; try again."},
}


class _Route(StrictRoute):
    """A route whose errors are told in the dialect."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
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


class _LevelBody(BaseModel):
    """A level as clients send it. What else they could send is not supported, and refused."""

    model_config = ConfigDict(extra="allow")

    compatibility: str | None = Field(None, max_length=64)
    normalize: bool | None = None


class _ModeBody(BaseModel):
    mode: str = Field(max_length=64)


class _SchemaBody(BaseModel):
    """A schema; unknown keys are ignored, as stock clients send more, and null is nothing."""

    text: str = Field(alias="schema", max_length=1_048_576)
    type: str | None = Field(None, alias="schemaType", max_length=40)
    references: list[dict[str, Any]] | None = Field(None, max_length=100)
    metadata: dict[str, Any] | None = None
    rule_set: dict[str, Any] | None = Field(None, alias="ruleSet")
    version: int | None = Field(None, ge=-1, le=_LARGEST)
    id: int | None = Field(None, ge=-1, le=_LARGEST)

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


def _deleted(
    deleted: bool = False,
    only: Annotated[bool, Query(alias="deletedOnly")] = False,
    also: Annotated[bool, Query(alias="deleted_only")] = False,
) -> Deleted:
    return "only" if only or also else "shown" if deleted else "hidden"


_Deleted = Annotated[Deleted, Depends(_deleted)]
_Id = Annotated[int, Path(ge=0, le=_LARGEST)]
_Offset = Annotated[int, Query(ge=0, le=LARGEST)]
_Limit = Annotated[int, Query(ge=-1, le=LARGEST, description="-1 is all")]
_Form = Annotated[Literal["", "serialized", "resolved", "ignore_extensions"], Query(alias="format")]


def router(session: Session) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(
        tags=["registry, Confluent dialect"],
        route_class=_Route,
        default_response_class=_Answer,
        responses=_REFUSED,
    )
    _ids(routes, session)
    _subjects(routes, session)
    _versions(routes, session)
    _writes(routes, session)
    _compatibility(routes, session)
    _levels(routes, session)
    _modes(routes, session)

    @routes.get("/contexts")
    def contexts() -> list[str]:
        """List the contexts: the default one."""
        return [":.:"]

    @routes.get("/associations/{rest:path}", include_in_schema=False)
    def associations(rest: str) -> None:
        # Clients read 404 as "none", and anything else as a failure.
        raise NotFoundError(
            "there are no associations",
            where=rest[:200],
            remedy="Name subjects after topics, as clients do unless told otherwise.",
            code="registry.no_associations",
        )

    return routes


def _ids(routes: APIRouter, session: Session) -> None:
    registry = session.registry

    @routes.get("/schemas/types")
    def types() -> list[str]:
        """List the schema types."""
        return list(TYPES)

    @routes.get("/schemas/ids/{identifier}", response_model=None, responses=SCHEMA)
    def by_id(
        identifier: _Id,
        subject: str | None = None,
        form: _Form = "",
        with_greatest: Annotated[bool, Query(alias="fetchMaxId")] = False,
    ) -> dict[str, Any]:
        """Return the schema with this id."""
        found = registry.by_id(identifier, None if subject is None else _plain(subject))
        document = _schema(session, found, form)
        return document | ({"maxId": registry.greatest_id()} if with_greatest else {})

    @routes.get("/schemas/ids/{identifier}/schema", response_class=_Text, response_model=None)
    def text_by_id(identifier: _Id, subject: str | None = None, form: _Form = "") -> _Text:
        """Return the text of the schema with this id."""
        found = registry.by_id(identifier, None if subject is None else _plain(subject))
        return _text(session, found, form)

    @routes.get("/schemas/ids/{identifier}/subjects")
    def subjects_by_id(
        identifier: _Id, deleted: _Deleted, offset: _Offset = 0, limit: _Limit = -1
    ) -> list[str]:
        """List the subjects that have this id."""
        names = sorted({subject for subject, _ in registry.uses(identifier, deleted=deleted)})
        return _page(names, offset, limit)

    @routes.get("/schemas/ids/{identifier}/versions")
    def versions_by_id(
        identifier: _Id,
        deleted: _Deleted,
        subject: str | None = None,
        offset: _Offset = 0,
        limit: _Limit = -1,
    ) -> list[dict[str, Any]]:
        """List the subjects and versions that have this id."""
        found = [
            {"subject": name, "version": number}
            for name, number in registry.uses(identifier, deleted=deleted)
            if subject is None or name == _plain(subject)
        ]
        return _page(found, offset, limit)


def _subjects(routes: APIRouter, session: Session) -> None:
    registry = session.registry

    @routes.get("/subjects")
    def subjects(
        deleted: _Deleted,
        prefix: Annotated[str, Query(alias="subjectPrefix", max_length=255)] = "",
        offset: _Offset = 0,
        limit: _Limit = -1,
    ) -> list[str]:
        """List the subjects."""
        begins = _plain(prefix.removeprefix(_ANY_CONTEXT))
        most = None if limit < 0 else limit
        return registry.subjects(begins, deleted=deleted, limit=most, offset=offset)

    @routes.get("/subjects/{subject}/versions")
    def versions(
        subject: str, deleted: _Deleted, offset: _Offset = 0, limit: _Limit = -1
    ) -> list[int]:
        """List a subject's version numbers."""
        found = registry.versions(_subject(subject), deleted=deleted)
        return _page([each.number for each in found], offset, limit)

    @routes.get("/subjects/{subject}/metadata", response_model=None, responses=LOOKED_UP)
    def by_metadata(
        subject: str,
        deleted: _Deleted,
        keys: Annotated[list[str], Query(alias="key", max_length=50)],
        values: Annotated[list[str], Query(alias="value", max_length=50)],
        form: _Form = "",
    ) -> dict[str, Any]:
        """Return the newest version whose metadata properties have these values."""
        if len(keys) != len(values):
            raise InputError("as many keys as values", where="query", remedy="Repeat both.")
        wanted = dict(zip(keys, values, strict=True))
        for version in reversed(registry.versions(_subject(subject), deleted=deleted)):
            if wanted.items() <= dict(version.contract.properties).items():
                return _document(session, version, form)
        raise NotFoundError(
            "no version has these metadata",
            where=_subject(subject),
            remedy="List them with `spine schema versions`.",
            code="registry.unknown_schema",
        )


def _versions(routes: APIRouter, session: Session) -> None:
    registry = session.registry

    @routes.get("/subjects/{subject}/versions/{number}", response_model=None, responses=LOOKED_UP)
    def version(subject: str, number: str, deleted: _Deleted, form: _Form = "") -> dict[str, Any]:
        """Return one version, or the ``latest``."""
        found = registry.version(_subject(subject), _number(number), deleted=deleted)
        return _document(session, found, form)

    @routes.get(
        "/subjects/{subject}/versions/{number}/schema", response_class=_Text, response_model=None
    )
    def version_text(subject: str, number: str, deleted: _Deleted, form: _Form = "") -> _Text:
        """Return the text of one version."""
        found = registry.version(_subject(subject), _number(number), deleted=deleted)
        return _text(session, found, form)

    @routes.get("/subjects/{subject}/versions/{number}/referencedby")
    def referenced_by(
        subject: str, number: str, offset: _Offset = 0, limit: _Limit = -1
    ) -> list[int]:
        """List the ids of the schemas that refer to a version."""
        found = registry.version(_subject(subject), _number(number), deleted="shown")
        ids = {each.id for each in registry.referenced_by(found.subject, found.number)}
        return _page(sorted(ids), offset, limit)


def _writes(routes: APIRouter, session: Session) -> None:
    @routes.post("/subjects/{subject}/versions", responses=REGISTERED)
    def register(subject: str, body: _SchemaBody, normalize: bool = False) -> Response:
        """Register a schema; a known one answers its id without a decision.

        Schemas are always compared in their canonical form, so ``normalize`` changes nothing.
        """
        outcome = schema_publish.publish(session, body.proposal(_subject(subject)))
        timing = {"Server-Timing": outcome.timing.header()}
        if outcome.version is None:
            return _denied(session, outcome, timing)
        version = outcome.version
        return _Answer({"id": version.id, "version": version.number}, headers=timing)

    @routes.post("/subjects/{subject}", response_model=None, responses=LOOKED_UP)
    def look_up(
        subject: str,
        body: _SchemaBody,
        deleted: _Deleted,
        normalize: bool = False,
        form: _Form = "",
    ) -> dict[str, Any]:
        """Return the version of a subject that holds this schema."""
        proposal = body.proposal(_subject(subject))
        found = schema_registry.look_up(session, proposal, deleted=deleted)
        return _document(session, found, form)

    @routes.delete("/subjects/{subject}")
    def delete_subject(subject: str, permanent: bool = False) -> list[int]:
        """Delete every version of a subject: hidden first, and gone with ``permanent``."""
        return schema_registry.delete(session, _subject(subject), permanent=permanent)

    @routes.delete("/subjects/{subject}/versions/{number}")
    def delete_version(subject: str, number: str, permanent: bool = False) -> int:
        """Delete one version: hidden first, and gone with ``permanent``."""
        (gone,) = schema_registry.delete(
            session, _subject(subject), _number(number), permanent=permanent
        )
        return gone


def _compatibility(routes: APIRouter, session: Session) -> None:
    def answer(
        subject: str, body: _SchemaBody, number: int | str | None, verbose: bool
    ) -> dict[str, Any]:
        proposal = body.proposal(_subject(subject))
        comparison = schema_registry.compatibility(session, proposal, number)
        messages = {"messages": list(comparison.messages)} if verbose else {}
        return {"is_compatible": comparison.compatible, **messages}

    @routes.post(
        "/compatibility/subjects/{subject}/versions", response_model=None, responses=COMPATIBILITY
    )
    def with_all(
        subject: str, body: _SchemaBody, verbose: bool = False, normalize: bool = False
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
        body: _SchemaBody,
        verbose: bool = False,
        normalize: bool = False,
    ) -> dict[str, Any]:
        """Say whether a schema is compatible with one version."""
        return answer(subject, body, _number(number), verbose)


def _levels(routes: APIRouter, session: Session) -> None:
    settings = session.subject_settings

    @routes.get("/config", response_model=None, responses=LEVEL)
    def level() -> dict[str, Any]:
        """Return the level that holds where a subject has none."""
        return {"compatibilityLevel": settings.level()}

    @routes.put("/config", response_model=None, responses=LEVEL_SET)
    def put_level(body: _LevelBody) -> dict[str, Any]:
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
        name = _subject(subject)
        own = settings.level(name) if inherited else settings.own_level(name)
        if own is None:
            raise _unset("compatibility level", name, "registry.level_unset")
        return {"compatibilityLevel": own}

    @routes.put("/config/{subject}", response_model=None, responses=LEVEL_SET)
    def put_subject_level(subject: str, body: _LevelBody) -> dict[str, Any]:
        """Set a subject's level."""
        return _put_level(session, _subject(subject), body)

    @routes.delete("/config/{subject}", response_model=None, responses=LEVEL)
    def delete_subject_level(subject: str) -> dict[str, Any]:
        """Take a subject's level back, and return what it was."""
        name = _subject(subject)
        if settings.own_level(name) is None:
            raise _unset("compatibility level", name, "registry.level_unset")
        return {"compatibilityLevel": schema_registry.set_level(session, name, None)}


def _put_level(session: Session, subject: str, body: _LevelBody) -> dict[str, Any]:
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


def _modes(routes: APIRouter, session: Session) -> None:
    settings = session.subject_settings

    def put(subject: str, body: _ModeBody, force: bool) -> dict[str, Any]:
        schema_registry.set_mode(session, subject, body.mode.upper(), force=force)
        return {"mode": body.mode.upper()}

    @routes.get("/mode", response_model=None, responses=MODE)
    def mode() -> dict[str, Any]:
        """Return the mode that holds where a subject has none."""
        return {"mode": settings.mode()}

    @routes.put("/mode", response_model=None, responses=MODE)
    def put_mode(body: _ModeBody, force: bool = False) -> dict[str, Any]:
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
        name = _subject(subject)
        own = settings.mode(name) if inherited else settings.own_mode(name)
        if own is None:
            raise _unset("mode", name, "registry.mode_unset")
        return {"mode": own}

    @routes.put("/mode/{subject}", response_model=None, responses=MODE)
    def put_subject_mode(subject: str, body: _ModeBody, force: bool = False) -> dict[str, Any]:
        """Set a subject's mode."""
        return put(_subject(subject), body, force)

    @routes.delete("/mode/{subject}", response_model=None, responses=MODE)
    def delete_subject_mode(subject: str) -> dict[str, Any]:
        """Take a subject's mode back, and return what it was."""
        name = _subject(subject)
        if settings.own_mode(name) is None:
            raise _unset("mode", name, "registry.mode_unset")
        return {"mode": schema_registry.set_mode(session, name, None)}


def _subject(value: str) -> str:
    return _plain(segment(value))


def _plain(subject: str) -> str:
    return subject.removeprefix(_CONTEXT)


def _number(text: str) -> int | str:
    return "latest" if text in ("latest", "-1") else text


def _page(found: list[_Item], offset: int, limit: int) -> list[_Item]:
    return found[offset:] if limit < 0 else found[offset : offset + limit]


def _schema(session: Session, version: Version, form: str) -> dict[str, Any]:
    """Return a schema as the dialect tells it: AVRO, and what is empty, are left out."""
    document: dict[str, Any] = {"schema": schema_registry.text_of(session, version, form)}
    if version.type != "AVRO":
        document["schemaType"] = version.type
    if version.references:
        document["references"] = [dict(each) for each in version.references]
    return document | version.contract.document()


def _document(session: Session, version: Version, form: str) -> dict[str, Any]:
    own = {"subject": version.subject, "id": version.id, "version": version.number}
    return own | _schema(session, version, form)


def _text(session: Session, version: Version, form: str) -> _Text:
    text = schema_registry.text_of(session, version, form)
    return _Text(text)


def _unset(what: str, subject: str, code: str) -> NotFoundError:
    return NotFoundError(f"{subject} has no {what} of its own", remedy="Set one.", code=code)


def _denied(session: Session, outcome: Outcome, headers: Mapping[str, str]) -> Response:
    decision = outcome.decision
    violations = [v for v in decision.violations if v.denies] if decision is not None else []
    message = "; ".join(f"{v.code} {v.path}: {v.message}" for v in violations)
    status, code = 403, 40301
    if decision is None or decision.policy is None:
        status, code = 503, 50301
    elif {v.code for v in violations} == {"contract.incompatible"}:
        status, code = 409, session.workspace.settings.incompatible_code
    return _tell(status, code, message, headers)


def _refuse(error: DataSpineError, *, is_version: bool = False) -> Response:
    if isinstance(error, DeniedError):
        return _tell(403, 40301, error.problem)
    if error.code in DELETED:
        return _tell(404, DELETED[error.code][is_version], str(error))
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
    return _tell(status, code, str(error))


def _tell(
    status: int, code: int, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    body = json.dumps({"error_code": code, "message": message})
    return Response(body, status, dict(headers or {}), MEDIA_TYPE)
