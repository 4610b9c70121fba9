"""What the registry answers about what it does not hold, or holds already."""

from __future__ import annotations

from dataspine.core.errors import ConflictError, NotFoundError
from dataspine.registry.subject import MAX_SUBJECT

__all__ = ["taken", "unknown_schema", "unknown_subject"]


def unknown_subject(subject: str) -> NotFoundError:
    """Return that no version of a subject is there."""
    return NotFoundError(
        "the subject is unknown",
        where=subject[:MAX_SUBJECT],
        remedy="List them with `spine schema subjects`.",
        code="registry.unknown_subject",
    )


def unknown_schema(identifier: int | str) -> NotFoundError:
    """Return that no schema has this id, or this guid."""
    return NotFoundError(
        f"there is no schema {identifier}",
        remedy="List them with `spine schema subjects`.",
        code="registry.unknown_schema",
    )


def taken(what: str) -> ConflictError:
    """Return that something was given to something else."""
    return ConflictError(
        f"{what} is taken",
        remedy="Import into a registry that has not given it to something else.",
        code="registry.taken",
    )
