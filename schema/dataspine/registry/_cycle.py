"""Types that contain themselves: what a field that closes a cycle is classified as.

A schema is spelled out, each named type where it is used, but for the type that is open already:
there the walk ends. Such a field holds all that the open type holds, so it is at least as
classified, and kept no longer.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace

from dataspine.registry._json import invalid
from dataspine.registry.field import Annotations, Field, distinct

__all__ = ["Cycles", "closed"]

# Classifications that are repeated at the fields that close cycles, for one schema.
MAX_REPEATED = 200_000
_DURATION = re.compile(
    r"P(?:([0-9]{1,6})Y)?(?:([0-9]{1,6})M)?(?:([0-9]{1,6})W)?(?:([0-9]{1,6})D)?(?:T([0-9]{1,6})H)?"
)
_SECONDS = (31_556_952, 2_629_746, 604_800, 86_400, 3_600)


class Cycles:
    """The types that are open while a schema is spelled out, and the fields that close cycles."""

    def __init__(self) -> None:
        self._open: dict[Hashable, int] = {}
        self._spans: dict[int, int] = {}
        self._closing: dict[int, list[int]] = {}

    def is_open(self, key: Hashable) -> bool:
        """Tell whether the walk is inside of this type."""
        return key in self._open

    def enter(self, key: Hashable, start: int) -> None:
        """Begin a type whose first field will be the one at ``start``."""
        self._open[key] = start

    def leave(self, key: Hashable, end: int) -> None:
        """End a type: its last field was the one before ``end``."""
        self._spans[self._open.pop(key)] = end

    def close(self, key: Hashable, index: int) -> None:
        """Note that the field at ``index`` holds the type that is open."""
        self._closing.setdefault(index, []).append(self._open[key])

    def finish(self, fields: Sequence[Field]) -> tuple[Field, ...]:
        """Return the fields, those that close cycles with what they hold."""
        found = list(fields)
        for index, starts in self._closing.items():
            spans = tuple((start, self._spans[start]) for start in sorted(set(starts)))
            found[index] = replace(found[index], holds=spans)
        return closed(found)


def closed(fields: Sequence[Field]) -> tuple[Field, ...]:
    """Return the fields, each that closes a cycle as classified as all that its type holds.

    Raises ``InputError`` when that would repeat too many classifications.
    """
    closing = [index for index, field in enumerate(fields) if field.holds]
    outermost = _outermost(fields, closing)
    contents = {
        span: _contents(fields[span[0] : span[1]]) for span in sorted(set(outermost.values()))
    }
    found = list(fields)
    repeated = 0
    for index in closing:
        all_of_it = [contents[outermost[start]] for start, _ in fields[index].holds]
        names = distinct(name for each in all_of_it for name in each.classifications)
        repeated += len(names)
        if repeated > MAX_REPEATED:
            raise invalid(
                f"types that contain themselves repeat more than {MAX_REPEATED} classifications",
                fields[index].line,
                "Use fewer tags, or fewer types that contain themselves.",
            )
        found[index] = _held(fields[index], names, [each.retention for each in all_of_it])
    return tuple(found)


def _outermost(fields: Sequence[Field], closing: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Return, by the start of each type in a cycle, the outermost type that it leads to.

    A cycle leads out to a type around it, which holds all that is inside of it.
    """
    spans = dict(span for index in closing for span in fields[index].holds)
    found: dict[int, tuple[int, int]] = {}
    for start, end in sorted(spans.items()):
        inside = closing[bisect.bisect_left(closing, start) : bisect.bisect_left(closing, end)]
        around = {s for index in inside for s, _ in fields[index].holds if s < start}
        found[start] = min((found[s] for s in around), default=(start, end))
    return found


def _contents(fields: Sequence[Field]) -> Annotations:
    names = distinct(name for field in fields for name in field.classifications)
    return Annotations(
        tuple(name for name in names if name != "Public"),
        _shortest(field.retention for field in fields),
    )


def _held(field: Field, names: tuple[str, ...], retentions: Iterable[str | None]) -> Field:
    kept = field.retention
    # One that cannot be compared stays as it is written, for a policy to judge.
    if kept is None or _seconds(kept) is not None:
        kept = _shortest((kept, *retentions))
    held = replace(field, retention=kept)
    return held.noted(Annotations(names), tagged=False) if names else held


def _shortest(retentions: Iterable[str | None]) -> str | None:
    lengths = [(_seconds(text), text) for text in distinct(text for text in retentions if text)]
    return min(((size, text) for size, text in lengths if size is not None), default=(0, None))[1]


def _seconds(text: str) -> int | None:
    """Return how long a duration is, as the rules measure it; None is no duration."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        return None
    return sum(int(number) * size for number, size in zip(match.groups("0"), _SECONDS, strict=True))
