"""What must hold for Rego when it runs: its tests, what they reach, and what it answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dataspine.adapters.finding import Finding
from dataspine.adapters.policy_part import Part, Skipped, located
from dataspine.adapters.rule_library import Library, is_test
from dataspine.adapters.tools.opa import Annotation
from dataspine.core.errors import DataSpineError
from dataspine.decisions.opa_client import OpaClient

__all__ = ["COVERAGE", "ENTRIES", "FILTERS", "FIRING", "RUN"]

WORKERS = 2


def _tests(library: Library) -> Iterator[Finding]:
    yield from _tested(library, coverage=False)


def _coverage(library: Library) -> Iterator[Finding]:
    yield from _tested(library, coverage=True)


def _tested(library: Library, *, coverage: bool) -> Iterator[Finding]:
    if not any(is_test(name) for name in library.own):
        return
    with library.written() as folder:
        tested = library.opa.test(folder, coverage=coverage)
    yield from located(library, "policy.test", tested.faults, "Correct it there.")
    for case in tested.cases:
        for failed in case.failed:
            yield Finding(
                "policy.test",
                f"{case.name}{failed if failed.startswith('[') else ''} fails",
                library.shown(case.file),
                case.line,
                "Correct the rule or the test.",
            )
    for name, lines in (tested.uncovered or {}).items():
        if name in library.own and not is_test(name):
            for line in lines:
                yield Finding(
                    "policy.coverage",
                    "no test reaches this line",
                    library.shown(name),
                    line,
                    "Add a test that does, or remove the line.",
                )


def _firing(library: Library) -> Iterator[Finding]:
    """Each rule's own tests must make each of its ``deny`` produce a violation."""
    with ThreadPoolExecutor(WORKERS) as pool:
        for found in pool.map(lambda pair: _silent(library, *pair), library.rules.items()):
            yield from found


def _silent(library: Library, code: str, name: str) -> list[Finding]:
    test = f"{name.removesuffix('.rego')}_test.rego"
    heads = [
        rule["head"]["location"]["row"]
        for rule in library.trees[name].get("rules") or ()
        if rule["head"]["ref"][0]["value"] == "deny" and not rule.get("default")
    ]
    if not heads:
        return [_mute(library, code, name, 1, "has no `deny`")]
    if test not in library.files:
        return []
    with library.written(library.needed([name, test])) as folder:
        only = re.escape(f"data.{'.'.join(library.packages[test])}.")
        tested = library.opa.test(folder, only=f"^{only}", coverage=True)
    if tested.uncovered is None:
        return []  # a failing test is a finding of its own
    never = set(tested.uncovered.get(name, ())) & set(heads)
    return [_mute(library, code, name, line, "denies nothing") for line in sorted(never)]


def _mute(library: Library, code: str, name: str, line: int, what: str) -> Finding:
    return Finding(
        "policy.silent",
        f"{code} {what} in its own tests",
        library.shown(name),
        line,
        "Add the input that the rule is there for to its test.",
    )


def _entries(library: Library) -> Iterator[Finding]:
    """No entry point may allow what is no question."""
    entries = [a for a in library.annotations if a.words.get("entrypoint")]
    parts = [
        f'{{"at": {i}, "answer": answer}} | some question in input; '
        f"answer := data.{'.'.join(entry.path)} with input as question"
        for i, entry in enumerate(entries)
    ]
    if not parts:
        return
    query = " | ".join(f"{{{part}}}" for part in parts)
    with _workable(library) as folder:
        answers = library.opa.evaluate(folder, query, [{}, None, [], "", 0, {"facts": {}}])
    for found in answers:
        entry, answer = entries[found["at"]], found["answer"]
        # A filter, a boolean, must be undefined; a decision must say no.
        if not isinstance(answer, dict) or answer.get("allow") is not False:
            yield Finding(
                "policy.open",
                f"{'.'.join(entry.path)} does not deny an empty question",
                library.shown(entry.file),
                entry.line,
                "Ask for the point and the schema before anything else.",
            )


def _filters(library: Library) -> Iterator[Finding]:
    """Filters must stay in the fragment that OPA compiles to SQL and UCAST."""
    entries = [a for a in library.annotations if a.words.get("compile")]
    if not entries:
        return
    with _workable(library) as folder:
        # A call of what is not there does not compile; a reference to it is undefined.
        if library.opa.evaluate(folder, "data.dataspine.lib.fixture_test", {}) is None:
            raise Skipped("the tests' questions are not here")
        question = library.opa.evaluate(folder, "data.dataspine.lib.fixture_test.row({})", {})
        known = {key: value for key, value in question.items() if key != "row"}
        with library.opa.serve(folder) as client:
            for entry in entries:
                problem = _fault_of_filter(client, entry, known)
                if problem:
                    yield Finding(
                        "policy.filter",
                        f"{'.'.join(entry.path)} is no filter on rows: {problem}",
                        library.shown(entry.file),
                        entry.line,
                        "Keep to comparisons of row values with what is known.",
                    )


def _fault_of_filter(client: OpaClient, entry: Annotation, known: object) -> str:
    try:
        answer = client.compile("/".join(entry.path), known, dialect="both")
    except DataSpineError as error:
        return error.problem
    return "" if answer.get("result") else "it answers nothing for a whole question"


def _workable(library: Library) -> AbstractContextManager[Path]:
    """Return the library written out with data that is whole, if it brings none of its own."""
    if library.document("matrix") is not None:
        return library.written()
    with library.written() as folder:
        said = library.opa.evaluate(folder, "data.dataspine.lib.fixture_test.matrix", {})
    data: dict[str, Any] = {"config": {"rules": {}}, "exceptions": [], "matrix": said or {}}
    extra = {f"dataspine/{key}/data.json": json.dumps(it).encode() for key, it in data.items()}
    whole = Library(
        library.root, {**library.files, **extra}, library.own, library.controls, library.opa
    )
    return whole.written()


RUN = Part("tests", "opa test", _tests)
COVERAGE = Part("coverage", "opa test, every line reached", _coverage)
FIRING = Part("firing", "every rule denies something in its own tests", _firing)
ENTRIES = Part("entry points", "an empty question is denied", _entries)
FILTERS = Part("filters", "row filters compile to SQL", _filters)
