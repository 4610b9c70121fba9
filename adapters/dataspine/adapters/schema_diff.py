"""What changed between two versions of a subject, or between a version and a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataspine.adapters.question import read_text, schema_type
from dataspine.adapters.schema_publish import compare_with, parse_version
from dataspine.adapters.session import Session
from dataspine.core.errors import InputError
from dataspine.registry import (
    Comparison,
    Difference,
    Limits,
    Version,
    differences,
    next_version,
    parse,
)

__all__ = ["Diff", "difference"]


@dataclass(frozen=True, slots=True)
class Diff:
    """Two schemas under one subject, and how the second follows the first.

    ``old`` is a version, ``new`` a version or a file; the line of a change stands in ``new``.
    """

    subject: str
    old: Version
    new: Version | Path
    comparison: Comparison
    changes: tuple[Difference, ...]

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        stored = isinstance(self.new, Version)
        return {
            "subject": self.subject,
            "from": {"version": self.old.number, "semver": self.old.semver},
            "to": {"version": self.new.number, "semver": self.new.semver}
            if isinstance(self.new, Version)
            else {"file": str(self.new)},
            "compatibility": {
                "level": self.comparison.level,
                "compatible": self.comparison.compatible,
                "messages": list(self.comparison.messages),
            },
            "bump": self.comparison.bump,
            "next": None if stored else next_version(self.old.semver, self.comparison.bump),
            "changes": [asdict(change) for change in self.changes],
        }


def difference(
    session: Session, subject: str, first: str | None = None, second: str | None = None
) -> Diff:
    """Compare two versions, or a version with a file.

    Left out, ``second`` is the newest version and ``first`` the one before it; ``first`` alone may
    name a file, which is compared with the newest version.
    """
    if first is not None and second is None and not _is_number(first):
        first, second = None, first
    new: Version | Path
    if second is None or _is_number(second):
        new = session.registry.version(subject, second or "latest")
        old = session.registry.version(subject, first or str(max(1, new.number - 1)))
        after = parse_version(session, new)
    else:
        new = Path(second)
        old = session.registry.version(subject, first or "latest")
        kind = schema_type(new)
        if kind != old.type:
            raise InputError(
                f"{subject} is {old.type}, not {kind}",
                where=second,
                remedy="Name a file of the same type.",
                code="registry.type_changed",
            )
        after = parse(
            kind,
            read_text(new),
            old.references,
            workers=session.protobuf,
            lookup=session.registry.reference,
        )
    level = session.subject_settings.level(subject)
    comparison = compare_with(session, [old], after, level)
    logical = session.workspace.settings.logical_types
    limits = Limits.of(session.comparisons)
    changes = differences(parse_version(session, old), after, logical=logical, limits=limits)
    return Diff(subject, old, new, comparison, changes)


def _is_number(text: str) -> bool:
    return text == "latest" or (text.isascii() and text.isdigit())
