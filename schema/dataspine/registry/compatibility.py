"""Whether a new version may follow the ones before it, and its bump."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dataspine.core.errors import InputError
from dataspine.registry._change import BACKWARD, FORWARD, WORDS, Change, told
from dataspine.registry._comparison import require_narrow
from dataspine.registry._limits import UNLIMITED, Limits
from dataspine.registry.difference import changes
from dataspine.registry.schema import ParsedSchema

__all__ = [
    "LEVEL",
    "LEVELS",
    "Comparison",
    "compare",
    "is_transitive",
    "next_version",
    "require_importable",
    "require_level",
]

LEVEL = "BACKWARD"
FIRST_VERSION = "1.0.0"
# Of the numbers of a version from elsewhere: far from where the next one could not be written.
MAX_IMPORTED = 999_999
# Messages become part of a decision, which is stored: nobody reads thousands.
MAX_MESSAGES = 100
_TRANSITIVE = "_TRANSITIVE"
_DIRECTIONS: dict[str, tuple[str, ...]] = {
    "NONE": (),
    "BACKWARD": (BACKWARD,),
    "FORWARD": (FORWARD,),
    "FULL": (BACKWARD, FORWARD),
}
LEVELS = (
    "NONE",
    "BACKWARD",
    "BACKWARD_TRANSITIVE",
    "FORWARD",
    "FORWARD_TRANSITIVE",
    "FULL",
    "FULL_TRANSITIVE",
)

_SEMVER = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether the new schema is compatible at the subject's level, and what that means.

    ``messages`` are one line per broken place: path, what is wrong, line, what to do. There are 100
    at most. ``bump`` is ``major`` when the schema is not compatible, ``minor`` when the structure
    changed, ``patch`` when only docs, tags or the order did, ``none`` when nothing did.
    """

    level: str
    compatible: bool
    messages: tuple[str, ...]
    bump: str


def require_level(level: str) -> None:
    """Raise ``InputError`` unless it is one of ``LEVELS``."""
    if level not in LEVELS:
        raise InputError(
            f"{level[:40]!r} is no compatibility level",
            remedy=f"Use one of {', '.join(LEVELS)}.",
            code="registry.invalid_level",
        )


def is_transitive(level: str) -> bool:
    """Tell whether a level looks at all versions."""
    return level.endswith(_TRANSITIVE)


def compare(
    previous: Sequence[ParsedSchema] | ParsedSchema | None,
    new: ParsedSchema,
    *,
    level: str = LEVEL,
    logical: bool = False,
    limits: Limits = UNLIMITED,
) -> Comparison:
    """Compare a schema with the versions before it, or raise ``InputError`` for an unknown level.

    ``previous`` are the versions from the oldest to the newest; one schema is the newest, None is
    no version. A transitive level looks at all of them, another one at the newest. ``logical``
    makes a changed logical type of Avro (decimal, date, time, timestamp, uuid) a break as well.
    Raises ``InputError`` for a schema that is too wide, and for what takes longer than the
    ``limits``.
    """
    require_level(level)
    earlier = (previous,) if isinstance(previous, ParsedSchema) else tuple(previous or ())
    if earlier and _identity(earlier[-1]) == _identity(new):
        return Comparison(level, True, (), "none")
    require_narrow(new)
    if not earlier:
        return Comparison(level, True, (), "none")
    directions = _DIRECTIONS[level.removesuffix(_TRANSITIVE)]
    asked = earlier if is_transitive(level) else earlier[-1:]
    # The newest comes first: what breaks it is what the author has just changed.
    compared = changes(asked[::-1], new, directions=directions, logical=logical, limits=limits)
    messages: dict[str, None] = {}
    for back, found in enumerate(compared, 1):
        for message in _messages(found, directions):
            further = f" (against {back} versions back)" if back > 1 else ""
            if message not in messages:
                messages[message + further] = None
    bump = "major" if messages else _bump(compared[0])
    return Comparison(level, not messages, _limited(list(messages)), bump)


def next_version(current: str | None, bump: str) -> str:
    """Return the semantic version that follows; the first one is 1.0.0."""
    if current is None:
        return FIRST_VERSION
    match = _SEMVER.fullmatch(current)
    if match is None:
        raise InputError(
            f"{current!r} is no version", remedy="Write it like 1.2.0.", code="registry.version"
        )
    major, minor, patch = (int(part) for part in match.groups())
    return {
        "major": f"{major + 1}.0.0",
        "minor": f"{major}.{minor + 1}.0",
        "patch": f"{major}.{minor}.{patch + 1}",
        "none": current,
    }[bump]


def require_importable(semver: str, *, where: str) -> None:
    """Raise ``InputError`` unless versions of this registry can follow the one of another."""
    match = _SEMVER.fullmatch(semver)
    if match is None or max(map(int, match.groups())) > MAX_IMPORTED:
        raise InputError(
            f"{semver[:40]!r} is not a version of three numbers up to {MAX_IMPORTED}",
            where=where,
            remedy="Write it like 1.2.0.",
            code="registry.version",
        )


def _messages(found: Sequence[Change], directions: Sequence[str]) -> Iterator[str]:
    for change in found:
        for direction in directions:
            fault = change.fault(direction)
            if fault is not None:
                yield told(change.path, change.line, fault)


def _limited(messages: list[str]) -> tuple[str, ...]:
    if len(messages) <= MAX_MESSAGES:
        return tuple(messages)
    more = len(messages) - MAX_MESSAGES
    return (*messages[:MAX_MESSAGES], f"schema: {more} more places are broken")


def _identity(schema: ParsedSchema) -> tuple[str, str, bytes]:
    # A digest does not cover what a schema refers to.
    return schema.type, schema.digest, schema.structure


def _bump(found: Sequence[Change]) -> str:
    """Return the bump of changes that break nobody; no change leaves only words."""
    return "minor" if any(change.what not in WORDS for change in found) else "patch"
