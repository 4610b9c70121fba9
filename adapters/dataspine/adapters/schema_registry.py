"""What clients of a registry do beside publishing: look up, compare, delete, set level and mode."""

from __future__ import annotations

from dataspine.adapters import access
from dataspine.adapters.schema_publish import (
    Proposal,
    compare_with,
    find,
    mode_refuses,
    parse_proposal,
    parse_version,
)
from dataspine.adapters.session import Session
from dataspine.core.errors import ConflictError, NotFoundError
from dataspine.registry import ALL, Comparison, Deleted, Version

__all__ = ["compatibility", "delete", "look_up", "set_level", "set_mode", "text_of"]


def look_up(session: Session, proposal: Proposal, *, deleted: Deleted = "hidden") -> Version:
    """Return the version that holds this schema, or raise ``NotFoundError``.

    A Protobuf schema without comments is also found where it was published with them: serializers
    look up the descriptors of generated code, which have none.
    """
    parsed = parse_proposal(session, proposal)
    versions = session.registry.versions(proposal.subject, deleted=deleted)
    found = find(session, proposal, parsed, deleted=deleted)
    if found is None and parsed.type == "PROTOBUF":
        stored = (parse_version(session, version) for version in reversed(versions))
        described = (schema for schema in stored if schema.is_described_by(parsed))
        same = (find(session, proposal, schema, deleted=deleted) for schema in described)
        found = next(filter(None, same), None)
    if found is None:
        raise NotFoundError(
            "the subject has no such schema",
            where=proposal.subject,
            remedy="Publish it first.",
            code="registry.unknown_schema",
        )
    return found


def compatibility(session: Session, proposal: Proposal, number: int | str | None) -> Comparison:
    """Compare a schema, at the subject's level, with one version or (None) as publishing would.

    With the latest version of a subject that has none it is compatible.
    """
    level = session.subject_settings.level(proposal.subject)
    parsed = parse_proposal(session, proposal)
    registry = session.registry
    if registry.latest(proposal.subject) is None:
        if number in (None, "latest"):
            return compare_with(session, [], parsed, level)
        # Stock clients are told that the version is missing, not the subject.
        raise NotFoundError(
            f"there is no version {number}",
            where=proposal.subject,
            remedy="Publish a first version.",
            code="registry.unknown_version",
        )
    if number is None:
        previous = registry.versions(proposal.subject)
    else:
        previous = [registry.version(proposal.subject, number)]
    return compare_with(session, previous, parsed, level)


def text_of(session: Session, version: Version, form: str = "") -> str:
    """Return a version's text in the form that a stock client asks for."""
    return parse_version(session, version).text_as(form) if form else version.text


def delete(
    session: Session, subject: str, number: int | str | None = None, *, permanent: bool = False
) -> list[int]:
    """Delete a subject or one of its versions, and return the numbers of what was deleted."""
    _require_writable(session, subject)
    if number is not None:
        number = session.registry.version(subject, number, deleted="shown").number
    access.require(session, access.ERASE, subject)
    with session.database.begin() as connection:
        return session.registry.delete(
            connection, subject, number, permanent=permanent, at=session.clock()
        )


def set_level(session: Session, subject: str, level: str | None) -> str:
    """Set the level of a subject, or of all (``ALL``); return what held before."""
    _check(session, subject)
    _require_writable(session, subject)
    access.require(session, access.CONFIGURE, subject or access.EVERYTHING)
    before = session.subject_settings.level(subject)
    session.subject_settings.set_level(subject, level, actor=session.actor, at=session.clock())
    return before


def set_mode(session: Session, subject: str, mode: str | None, *, force: bool = False) -> str:
    """Set the mode of a subject, or of all (``ALL``); return what held before.

    ``IMPORT`` gives versions ids of another registry: where versions are, it has to be forced.
    """
    _check(session, subject)
    if mode == "IMPORT" and not force:
        # The subject itself is the first that begins with its name.
        taken = session.registry.subjects(subject, deleted="shown", limit=1)
        if taken and subject in (ALL, *taken):
            raise ConflictError(
                "versions are there already, and an import could contradict them",
                where=subject or "all subjects",
                remedy="Import into an empty registry, or use force=true.",
                code="registry.not_permitted",
            )
    access.require(session, access.CONFIGURE, subject or access.EVERYTHING)
    before = session.subject_settings.mode(subject)
    session.subject_settings.set_mode(subject, mode, actor=session.actor, at=session.clock())
    return before


def _check(session: Session, subject: str) -> None:
    if subject != ALL:
        session.registry.check_subject(subject)


def _require_writable(session: Session, subject: str) -> None:
    mode = session.subject_settings.mode(subject)
    if mode.startswith("READONLY"):
        raise mode_refuses(mode, subject or "all subjects")
