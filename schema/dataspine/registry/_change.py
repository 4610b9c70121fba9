"""One change between two schemas, and whom it breaks: what both formats' comparisons yield."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["BACKWARD", "FORWARD", "WORDS", "Change", "Fault", "told"]

BACKWARD = "backward"
FORWARD = "forward"

# Changes of these are about people, or about where something stands: no data read otherwise.
WORDS = frozenset(
    {"doc", "classifications", "retention", "order", "sort order", "import", "annotations"}
)


class Fault(NamedTuple):
    """Why a change breaks readers, and what its author can do."""

    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Change:
    """A change at one place.

    ``kind`` is ``added``, ``removed`` or ``changed``; ``what`` names the part: ``field``, ``type``,
    ``name``, ``default`` and so on. ``line`` stands in the new schema, of what was removed in the
    old one. ``backward`` says why readers of the new schema fail on old data, ``forward`` why
    readers of the old schema fail on new data; None is that they do not.
    """

    kind: str
    what: str
    path: str
    line: int | None = None
    before: str | None = None
    after: str | None = None
    backward: Fault | None = None
    forward: Fault | None = None

    def fault(self, direction: str) -> Fault | None:
        """Return why the change breaks readers in one direction."""
        return self.backward if direction == BACKWARD else self.forward


def told(path: str, line: int | None, fault: Fault) -> str:
    """Return a fault as one line for people: where, what is wrong, what to do."""
    place = f" (line {line})" if line is not None else ""
    return f"{path or 'schema'}: {fault.problem}{place}; {fault.remedy}"
