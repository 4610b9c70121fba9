"""What changed between two versions of a subject, or between a version and a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataspine.adapters.question import read_text, schema_type
from dataspine.adapters.schema_publish import parse_version
from dataspine.adapters.session import Session
from dataspine.core.errors import InputError
from dataspine.registry import Comparison, ParsedSchema, Version, compare, next_version, parse

__all__ = ["Difference", "difference"]

_SHOWN = ("type", "classifications", "retention", "doc")


@dataclass(frozen=True, slots=True)
class Difference:
    """Two schemas under one subject, and how the second follows the first.

    ``old`` is a version, ``new`` a version or a file; the line of a change stands in ``new``.
    """

    subject: str
    old: Version
    new: Version | Path
    comparison: Comparison
    fields: tuple[Mapping[str, Any], ...]

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
            "fields": [dict(field) for field in self.fields],
        }


def difference(
    session: Session, subject: str, first: str | None = None, second: str | None = None
) -> Difference:
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
    before = parse_version(session, old)
    return Difference(
        subject,
        old,
        new,
        compare(before, after, level=session.subject_settings.level(subject)),
        tuple(_changes(before, after)),
    )


def _is_number(text: str) -> bool:
    return text == "latest" or (text.isascii() and text.isdigit())


def _changes(old: ParsedSchema, new: ParsedSchema) -> list[dict[str, Any]]:
    before = {field.path: field.facts() for field in old.fields}
    after = {field.path: field.facts() for field in new.fields}
    changes: list[dict[str, Any]] = []
    for path in [*after, *(path for path in before if path not in after)]:
        was, now = before.get(path), after.get(path)
        if was is None or now is None:
            kind = "added" if was is None else "removed"
            shown = now or was or {}
            changes.append({"path": path, "change": kind, "type": shown["type"]} | _line(now))
            continue
        parts = {
            name: {"from": was[name], "to": now[name]} for name in _SHOWN if was[name] != now[name]
        }
        if parts:
            changes.append({"path": path, "change": "changed", "parts": parts} | _line(now))
    return changes


def _line(facts: Mapping[str, Any] | None) -> dict[str, int]:
    return {"line": facts["line"]} if facts is not None and "line" in facts else {}
