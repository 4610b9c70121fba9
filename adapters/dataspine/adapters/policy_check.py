"""Everything that must hold for Rego before it may enter a bundle, as parts with findings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from dataspine.adapters.finding import Finding
from dataspine.adapters.policy_lint import COMPILE, CONVENTIONS, FORMAT, REGAL, SCHEMAS
from dataspine.adapters.policy_part import Part, Result, Skipped
from dataspine.adapters.policy_tests import COVERAGE, ENTRIES, FILTERS, FIRING, RUN
from dataspine.adapters.rule_library import Library

__all__ = ["ALL", "FAST", "LINT", "TESTS", "Part", "Result", "run_parts"]

MAX_FINDINGS = 200

LINT = (FORMAT, COMPILE, SCHEMAS, REGAL, CONVENTIONS)
# Nothing runs that does not compile with the shipped built-ins alone.
TESTS = (COMPILE, COVERAGE, FIRING, ENTRIES, FILTERS)
FAST = (FORMAT, COMPILE, SCHEMAS, CONVENTIONS, RUN)
ALL = (*LINT, *TESTS[1:])


def run_parts(
    library: Library,
    parts: Sequence[Part],
    told: Callable[[Result], None],
    begins: Callable[[Part], None] = lambda _: None,
) -> tuple[Finding, ...]:
    """Run the parts in order, tell each result, and return all findings."""
    found: list[Finding] = []
    for part in parts:
        begins(part)
        begun = time.monotonic()
        skipped = ""
        findings: tuple[Finding, ...] = ()
        try:
            findings = tuple(part.find(library))[:MAX_FINDINGS]
        except Skipped as reason:
            skipped = str(reason)
        found += findings
        told(Result(part, findings, time.monotonic() - begun, skipped))
        if part.gate and findings:
            break
    return tuple(found)
