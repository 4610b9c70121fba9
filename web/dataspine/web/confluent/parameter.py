"""What a request of the dialect names: subjects, numbers, ids, pages."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from fastapi import Depends, Path, Query

from dataspine.registry import Deleted
from dataspine.web.guard import LARGEST, segment

__all__ = [
    "MAX_ID",
    "DeletedQuery",
    "Form",
    "Id",
    "Limit",
    "Offset",
    "number_of",
    "page",
    "plain",
    "subject_of",
]

# A subject of the default context may be written with it.
_CONTEXT = ":.:"
MAX_ID = 2**31 - 1

_Item = TypeVar("_Item")


def _deleted(
    deleted: bool = False,
    only: Annotated[bool, Query(alias="deletedOnly")] = False,
    also: Annotated[bool, Query(alias="deleted_only")] = False,
) -> Deleted:
    return "only" if only or also else "shown" if deleted else "hidden"


DeletedQuery = Annotated[Deleted, Depends(_deleted)]
Id = Annotated[int, Path(ge=0, le=MAX_ID)]
Offset = Annotated[int, Query(ge=0, le=LARGEST)]
Limit = Annotated[int, Query(ge=-1, le=LARGEST, description="-1 is all")]
Form = Annotated[Literal["", "serialized", "resolved", "ignore_extensions"], Query(alias="format")]


def subject_of(value: str) -> str:
    """Return the subject that a segment of a path names."""
    return plain(segment(value))


def plain(subject: str) -> str:
    """Return a subject without the default context."""
    return subject.removeprefix(_CONTEXT)


def number_of(text: str) -> int | str:
    """Return the number of a version; stock clients write -1 for the latest."""
    return "latest" if text in ("latest", "-1") else text


def page(found: list[_Item], offset: int, limit: int) -> list[_Item]:
    """Return ``limit`` items from ``offset`` on; -1 is all of them."""
    return found[offset:] if limit < 0 else found[offset : offset + limit]
