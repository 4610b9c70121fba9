"""The deletion of versions: hidden first, and gone when asked again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from dataspine.core.clock import rfc3339
from dataspine.core.errors import ConflictError, NotFoundError
from dataspine.registry._query import OF_SUBJECT, referring, select_versions, version_of
from dataspine.registry._refusal import unknown_subject
from dataspine.registry._tables import schema_references, schema_removals, schema_versions
from dataspine.registry.version import Version

__all__ = ["delete"]


def delete(
    connection: sa.Connection,
    subject: str,
    number: int | None = None,
    *,
    permanent: bool = False,
    at: datetime,
) -> list[int]:
    """Delete versions, and return their numbers: what ``Registry.delete`` promises."""
    query = select_versions().where(OF_SUBJECT).order_by(schema_versions.c.number)
    found = connection.execute(query, {"subject": subject}).mappings()
    every = [version_of(row) for row in found]
    chosen = [each for each in every if number in (None, each.number)]
    if not every:
        raise unknown_subject(subject)
    if not chosen:
        raise NotFoundError(
            f"there is no version {number}",
            where=subject,
            remedy="List them with `spine schema versions`.",
            code="registry.unknown_version",
        )
    if permanent:
        return _remove(connection, chosen, number)
    chosen = [each for each in chosen if not each.is_deleted]
    if not chosen:
        raise _state("is deleted already", "registry.deleted", subject, number)
    for each in chosen:
        _require_unreferenced(connection, each)
    numbers = [each.number for each in chosen]
    connection.execute(
        sa.update(schema_versions)
        .where(schema_versions.c.subject == subject, schema_versions.c.number.in_(numbers))
        .values(deleted_at=rfc3339(at))
    )
    return numbers


def _remove(connection: sa.Connection, chosen: Sequence[Version], number: int | None) -> list[int]:
    subject, numbers = chosen[0].subject, [each.number for each in chosen]
    if not all(each.is_deleted for each in chosen):
        raise _state("was not deleted before", "registry.not_deleted", subject, number)
    for table in (schema_versions, schema_references):
        connection.execute(
            sa.delete(table).where(table.c.subject == subject, table.c.number.in_(numbers))
        )
    gone = [{"schema_id": each} for each in sorted({each.id for each in chosen})]
    connection.execute(sa.insert(schema_removals), gone)
    return numbers


def _require_unreferenced(connection: sa.Connection, version: Version) -> None:
    for each in referring(connection, version.subject, version.number):
        raise ConflictError(
            f"{each.subject} version {each.number} refers to it",
            where=f"{version.subject} version {version.number}",
            remedy="Delete what refers to it first.",
            code="registry.referenced",
        )


def _state(problem: str, code: str, subject: str, number: int | None) -> ConflictError:
    what = "the subject" if number is None else f"version {number}"
    remedy = (
        "Delete it first, then permanently."
        if code == "registry.not_deleted"
        else "Delete it permanently, or publish it again."
    )
    return ConflictError(f"{what} {problem}", where=subject, remedy=remedy, code=code)
