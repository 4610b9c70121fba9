"""Who made a revision, and from what: kept in the signed manifest and beside the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataspine.core.errors import InputError

__all__ = ["Origin", "Results"]

_MAX_TEXT = 400


@dataclass(frozen=True, slots=True)
class Results:
    """The results of the rules' tests."""

    passed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Origin:
    """A revision's author, source commit and test results; None where nobody said.

    ``dirty`` tells that the sources differed from the commit. ``coverage`` is in percent.
    """

    author: str | None = None
    commit: str | None = None
    dirty: bool | None = None
    tests: Results | None = None
    coverage: float | None = None

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        tests = self.tests
        return {
            "author": self.author,
            "commit": self.commit,
            "dirty": self.dirty,
            "tests": None if tests is None else {"passed": tests.passed, "failed": tests.failed},
            "coverage": self.coverage,
        }

    @classmethod
    def of(cls, document: object) -> Origin:
        """Return the origin of a JSON object, of None the unknown one; raise ``InputError``."""
        if document is None:
            return cls()
        try:
            return _parse(document)
        except (KeyError, TypeError, ValueError):
            raise InputError(
                "no origin of a bundle", where="/metadata/origin", remedy="Build the bundle again."
            ) from None


def _parse(document: object) -> Origin:
    if not isinstance(document, Mapping):
        raise TypeError
    tests = document["tests"]
    dirty, coverage = document["dirty"], document["coverage"]
    if not isinstance(dirty, bool | None) or (coverage is not None and not 0 <= coverage <= 100):
        raise ValueError
    return Origin(
        author=_text(document["author"]),
        commit=_text(document["commit"]),
        dirty=dirty,
        tests=None if tests is None else Results(_count(tests["passed"]), _count(tests["failed"])),
        coverage=coverage,
    )


def _text(value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and len(value) <= _MAX_TEXT):
        raise ValueError
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError
    return value
