"""What the registry answers about what it does not hold, or holds already."""

from __future__ import annotations

from dataspine.core.errors import ConflictError, InputError, NotFoundError
from dataspine.registry.subject import MAX_SUBJECT

__all__ = ["out_of_numbers", "taken", "too_high", "unknown_schema", "unknown_subject"]


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


def too_high(what: str, limit: int, *, whole: bool) -> InputError:
    """Return that a number of another registry cannot be taken over."""
    return InputError(
        f"{what} is not between 1 and {limit}",
        remedy="Publish it here without the number: what is higher is kept for this registry's own."
        if whole
        else "Check the number; what lies further is imported with `spine schema import`.",
        code="registry.number_too_high",
    )


def out_of_numbers(what: str) -> ConflictError:
    """Return that there is no number left to give."""
    return ConflictError(
        f"no {what} are left: the greatest that a message can carry was given",
        remedy="Export the registry, leave out what has the greatest one, and import the rest.",
        code="registry.out_of_numbers",
    )
