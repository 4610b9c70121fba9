"""One thing that must hold for Rego, and what was found when it was looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from dataspine.adapters.finding import Finding
from dataspine.adapters.rule_library import Library
from dataspine.adapters.tools.program import Diagnostic

__all__ = ["Part", "Result", "Skipped", "located"]


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that must hold. A ``gate`` that fails ends the check: the rest cannot run."""

    name: str
    says: str
    find: Callable[[Library], Iterable[Finding]]
    gate: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a part found, and how long it took. ``skipped`` says why it did not run."""

    part: Part
    findings: tuple[Finding, ...]
    seconds: float
    skipped: str = ""


class Skipped(Exception):  # noqa: N818 - no error: what a part needs is not on this machine
    """A part cannot run here."""


def located(
    library: Library, code: str, found: Iterable[Diagnostic], remedy: str
) -> Iterator[Finding]:
    """Yield what a tool said of the library's own files, or of no file."""
    for each in found:
        if not each.file or each.file in library.own:
            file = library.shown(each.file) if each.file else ""
            yield Finding(code, each.message, file, each.line, remedy)
