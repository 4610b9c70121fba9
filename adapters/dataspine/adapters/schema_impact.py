"""Which stored subjects would fail another level, or fail the rules that are active now.

A stored version is never revoked; this says what its next publication would meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dataspine.adapters.schema_publish import Proposal, compare_with, parse_version, question
from dataspine.adapters.session import Session
from dataspine.core.errors import DataSpineError, InputError
from dataspine.registry import Version

__all__ = ["Failure", "of_level", "of_rules"]

Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Failure:
    """A version that would fail: with which codes, and why in words."""

    version: Version
    codes: tuple[str, ...]
    messages: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "subject": self.version.subject,
            "version": self.version.number,
            "semver": self.version.semver,
            "codes": list(self.codes),
            "messages": list(self.messages),
        }


def of_level(session: Session, level: str, told: Told = lambda *_: None) -> list[Failure]:
    """Return the versions that are not compatible, at this level, with those before them."""
    found = []
    for versions in _subjects(session, told):
        for index, version in enumerate(versions):
            try:
                parsed = parse_version(session, version)
                comparison = compare_with(session, versions[:index], parsed, level)
            except InputError as error:
                if error.code != "registry.too_costly":
                    raise
                # What cannot be compared any more would fail as well.
                found.append(Failure(version, (error.code,), (str(error),)))
                continue
            if not comparison.compatible:
                found.append(Failure(version, ("contract.incompatible",), comparison.messages))
    return found


def of_rules(session: Session, told: Told = lambda *_: None) -> list[Failure]:
    """Return the newest versions that the active rules would deny, were they published now."""
    found = []
    for versions in _subjects(session, told):
        newest = versions[-1]
        try:
            decision = session.engine.decide(question(session, Proposal.of(newest)))
        except DataSpineError as error:  # what cannot be read any more would fail as well
            found.append(Failure(newest, (error.code,), (str(error),)))
            continue
        if not decision.allow:
            words = tuple(each.message for each in decision.violations if each.denies)
            found.append(Failure(newest, decision.codes, words))
    return found


def _subjects(session: Session, told: Told) -> Iterator[list[Version]]:
    names = session.registry.subjects()
    for done, name in enumerate(names):
        told(done, len(names))
        yield session.registry.versions(name)
