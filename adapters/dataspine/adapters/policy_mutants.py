"""Change one thing in a rule, and see whether a test notices: mutation testing of Rego.

A mutant that does not compile does not count. One that every test passes survived: either a test
is missing, or the change changes no answer, which ``survivors.yaml`` says with its reason.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataspine.adapters.finding import Finding
from dataspine.adapters.mutant_verdicts import Verdicts
from dataspine.adapters.rego_source import RegoSource, operator, rule_name
from dataspine.adapters.rule_library import Library, is_test, walk
from dataspine.adapters.tools.opa import Answered, Tested
from dataspine.core.document import load_document
from dataspine.core.errors import InputError, UnavailableError

__all__ = ["SURVIVORS", "Mutant", "Outcome", "mutants", "survivors", "try_mutants"]

SURVIVORS = "survivors.yaml"
WORKERS = max(2, os.cpu_count() or 2)
_COMPARISONS = {
    "equal": ("==", "!="),
    "neq": ("!=", "=="),
    "lt": ("<", "<="),
    "lte": ("<=", "<"),
    "gt": (">", ">="),
    "gte": (">=", ">"),
    "and": ("&", "|"),
    "or": ("|", "&"),
    "minus": ("-", "+"),
    "plus": ("+", "-"),
}
_KILLED, _SURVIVED, _INVALID = "killed", "survived", "invalid"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change to one file; ``mutation`` names it without its place, so that it stays the same.

    ``start`` and ``end`` are offsets into the file's bytes.
    """

    rule: str
    file: str
    line: int
    mutation: str
    start: int
    end: int
    replacement: bytes

    def applied(self, source: bytes) -> bytes:
        """Return the file with the change."""
        return source[: self.start] + self.replacement + source[self.end :]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant: ``killed``, ``survived``, or ``invalid`` when it is no Rego."""

    mutant: Mutant
    fate: str


def mutants(library: Library) -> tuple[Mutant, ...]:
    """Return every mutant of the own rules, in the order of files and lines."""
    found: list[Mutant] = []
    for name in sorted(name for name in library.own if not is_test(name)):
        found.extend(_numbered(_File(library, name).mutants()))
    return tuple(found)


def try_mutants(
    library: Library,
    chosen: Sequence[Mutant],
    verdicts: Verdicts,
    told: Callable[[Outcome], None] = lambda _: None,
) -> tuple[Outcome, ...]:
    """Run the tests over each mutant: those beside it, then all others that reach it.

    Raises ``InputError`` when the tests fail without any mutant.
    """
    by_file: dict[str, list[Mutant]] = {}
    for mutant in chosen:
        by_file.setdefault(mutant.file, []).append(mutant)
    bench = _Bench(library, verdicts)
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        jobs = [
            pool.submit(_try_file, bench, name, some[at::WORKERS], told)
            for name, some in by_file.items()
            for at in range(WORKERS)
            if some[at::WORKERS]
        ]
        try:
            for job in jobs:
                outcomes.extend(job.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    order = {mutant: at for at, mutant in enumerate(chosen)}
    return tuple(sorted(outcomes, key=lambda outcome: order[outcome.mutant]))


def survivors(library: Library, outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    """Yield survivors that nobody explained, and explanations that explain none.

    Raises ``InputError`` when the explanations are not as their schema says.
    """
    path = library.root / SURVIVORS
    document = load_document(path, "survivors") if path.is_file() else None
    survived = {(o.mutant.rule, o.mutant.mutation): o for o in outcomes if o.fate == _SURVIVED}
    unexplained = dict(survived)
    for i, entry in enumerate(document.value if document else ()):
        key = (entry["rule"], entry["mutation"])
        if unexplained.pop(key, None) is None:
            why = "it is listed twice" if key in survived else "a test notices it, or it is gone"
            yield Finding(
                "policy.survivor_stale",
                f"{why}: {key[0]}: {key[1]}",
                library.shown(SURVIVORS),
                document.line(f"/{i}") if document else None,
                "Remove the entry.",
            )
    for (rule, mutation), outcome in unexplained.items():
        yield Finding(
            "policy.mutant",
            f"no test notices a change to {rule}: {mutation}",
            library.shown(outcome.mutant.file),
            outcome.mutant.line,
            "Add a test that does, remove what no answer needs, "
            f"or list it with its reason in {library.shown(SURVIVORS)}.",
        )


def _try_file(
    bench: _Bench, name: str, some: Sequence[Mutant], told: Callable[[Outcome], None]
) -> list[Outcome]:
    outcomes = []
    library = bench.library
    with contextlib.ExitStack() as folders:
        suites = [
            _Suite(bench, name, tests, needed, folders.enter_context(library.written(needed)))
            for tests, needed in _judges(library, name)
        ]
        for mutant in some:
            changed = mutant.applied(library.files[name])
            fates = (suite.fate(changed) for suite in suites)
            fate = next((each for each in fates if each != _SURVIVED), _SURVIVED)
            outcomes.append(Outcome(mutant, fate))
            told(outcomes[-1])
    return outcomes


def _judges(library: Library, name: str) -> Iterator[tuple[tuple[str, ...], frozenset[str]]]:
    """Yield the tests that reach a file, with all that they need: those beside it come first."""
    beside = f"{name.removesuffix('.rego')}_test.rego"
    if beside in library.files:
        yield (beside,), library.needed([name, beside])
    others = tuple(
        each
        for each in sorted(library.files)
        if is_test(each) and each != beside and name in library.needed([each])
    )
    if others or beside not in library.files:
        yield others, library.needed([name, *others])


@dataclass(frozen=True, slots=True)
class _Bench:
    """The rules, what is known of their mutants, and the tests that passed without one.

    Many files are reached by the same tests, which then run once for all of them.
    """

    library: Library
    verdicts: Verdicts
    _passed: dict[tuple[tuple[str, ...], frozenset[str]], _Passed] = field(default_factory=dict)
    _bases: dict[tuple[tuple[str, ...], frozenset[str]], str] = field(default_factory=dict)

    def basis(self, tests: tuple[str, ...], needed: frozenset[str]) -> str:
        """Return the digest of what these tests' verdicts rest on, but for the change."""
        key = (tests, needed)
        if key not in self._bases:
            files = {name: self.library.files[name] for name in needed}
            self._bases[key] = self.verdicts.basis(files, tests)
        return self._bases[key]

    def passed(self, tests: tuple[str, ...], needed: frozenset[str], folder: Path) -> _Passed:
        """Return the tests of these files, which pass in the folder as long as it is unchanged."""
        key = (tests, needed)
        if key not in self._passed:
            packages = {".".join(self.library.packages[each]) for each in tests}
            only = f"^({'|'.join(re.escape(f'data.{each}.') for each in sorted(packages))})"
            # A suite that fails anyway would kill everything; of no test, the pattern matches all.
            tested = self.library.opa.test(folder, only=only) if packages else Tested()
            if not tested.passed:
                raise InputError(
                    "tests fail, or there are none, before anything is changed",
                    where=", ".join(map(self.library.shown, tests)) or "policies",
                    remedy="Run `spine policy test` first.",
                    code="policy.tests_fail",
                )
            queries = tuple(sorted({f"[value | value := {case.path}]" for case in tested.cases}))
            answered = self.library.opa.answers(folder, queries)
            if answered.faults:
                raise _stopped(answered)
            self._passed[key] = _Passed(queries, answered.values)
        return self._passed[key]


@dataclass(frozen=True, slots=True)
class _Passed:
    """Tests as queries, each with what it answers when it passes: true, or true for every case.

    `opa test` traces whatever it evaluates, which takes many times as long as to evaluate it.
    """

    queries: tuple[str, ...]
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Suite:
    """Some tests that reach a file.

    ``fate`` raises ``InputError`` when the tests fail, or are none, without a change.
    """

    bench: _Bench
    name: str
    tests: tuple[str, ...]
    needed: frozenset[str]
    folder: Path

    def fate(self, changed: bytes) -> str:
        """Return what becomes of the file when it is changed to this."""
        return self.bench.verdicts.of(
            self.bench.basis(self.tests, self.needed), self.name, changed, self._judged
        )

    def _judged(self, changed: bytes) -> str:
        passed = self.bench.passed(self.tests, self.needed, self.folder)
        (self.folder / self.name).write_bytes(changed)
        answered = self.bench.library.opa.answers(self.folder, passed.queries)
        codes = {each.code.partition("_")[0] for each in answered.faults}
        if codes == {"rego"}:
            return _INVALID
        if codes - {"eval"}:
            raise _stopped(answered)
        return _SURVIVED if answered.values == passed.values else _KILLED


def _stopped(answered: Answered) -> UnavailableError:
    # An OPA that was killed, or found no memory, has judged nothing.
    return UnavailableError(
        f"the tests did not run: {answered.faults[0].message}",
        where="opa eval",
        remedy="Run it again.",
    )


def _numbered(found: Iterator[Mutant]) -> Iterator[Mutant]:
    seen: Counter[tuple[str, str]] = Counter()
    for each in sorted(set(found), key=lambda m: (m.start, m.end, m.mutation)):
        key = (each.rule, each.mutation)
        seen[key] += 1
        name = each.mutation if seen[key] == 1 else f"{each.mutation} ({seen[key]})"
        yield Mutant(each.rule, each.file, each.line, name, each.start, each.end, each.replacement)


class _File:
    """One file, and every change to it."""

    def __init__(self, library: Library, name: str) -> None:
        self._name = name
        self._source = RegoSource(library.files[name], library.trees[name])
        self._package = ".".join(library.packages[name])

    def mutants(self) -> Iterator[Mutant]:
        rules = self._source.tree.get("rules") or ()
        named = Counter(rule_name(rule) for rule in rules)
        for rule in rules:
            path = f"{self._package}.{rule_name(rule)}"
            if named[rule_name(rule)] > 1:
                yield from self._change(path, rule, "drop", b"")
            for node in walk({key: rule[key] for key in rule if key != "annotations"}):
                yield from self._of_node(path, node)

    def _of_node(self, path: str, node: Mapping[str, Any]) -> Iterator[Mutant]:
        if "index" in node and "terms" in node and not node.get("generated"):
            yield from self._of_expression(path, node)
        if node.get("type") == "call":
            yield from self._of_operator(path, node["value"], node)
        elif node.get("type") in {"string", "number", "boolean"}:
            yield from self._of_constant(path, node)
        if isinstance(node.get("else"), dict):
            yield from self._change(path, node["else"], "drop", b"")

    def _of_expression(self, path: str, node: Mapping[str, Any]) -> Iterator[Mutant]:
        terms = node["terms"]
        if isinstance(terms, dict) and terms.get("symbols", [{}])[0].get("type") == "var":
            return  # without `some x` alone, x is declared all the same
        yield from self._change(path, node, "drop", b"true")
        if node.get("negated"):
            text = self._source.text(node)
            if text is not None and text.startswith(b"not "):
                yield from self._change(path, node, "negate", text.removeprefix(b"not "))
        elif isinstance(terms, dict) and "symbols" in terms:
            pass  # a declaration has no opposite
        elif not (isinstance(terms, list) and operator(terms[0]) == "assign"):
            text = self._source.text(node)
            if text is not None:
                yield from self._change(path, node, "negate", b"not " + text)
        if isinstance(terms, list):
            yield from self._of_operator(path, terms, node)

    def _of_operator(
        self, path: str, terms: Sequence[Mapping[str, Any]], whole: Mapping[str, Any]
    ) -> Iterator[Mutant]:
        swap = _COMPARISONS.get(operator(terms[0]))
        text = self._source.text(terms[0])
        if swap is not None and text == swap[0].encode():
            named = " ".join((self._source.text(whole) or text).decode().split())
            yield from self._change(path, terms[0], f"{swap[1]} in", swap[1].encode(), named)

    def _of_constant(self, path: str, node: Mapping[str, Any]) -> Iterator[Mutant]:
        text = self._source.text(node)
        if text is None:
            return
        if node["type"] == "boolean":
            yield from self._change(path, node, "flip", b"false" if text == b"true" else b"true")
        elif node["type"] == "number" and text.isdigit():
            yield from self._change(path, node, "raise", str(int(text) + 1).encode())
        elif text[:1] == b'"' and text[-1:] == b'"':
            yield from self._change(path, node, "change", text[:-1] + b'~"')

    def _change(
        self, path: str, node: Mapping[str, Any], verb: str, to: bytes, named: str | None = None
    ) -> Iterator[Mutant]:
        span = self._source.span(node)
        if span is None:
            return
        start, end = span
        text = " ".join(self._source.raw[start:end].decode("utf-8", "replace").split())
        yield Mutant(
            path,
            self._name,
            node["location"]["row"],
            f"{verb} {named or _short(text)}",
            start,
            end,
            to,
        )


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."
