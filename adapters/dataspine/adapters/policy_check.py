"""Everything that must hold for Rego before it may enter a bundle, as parts with findings."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any

from dataspine.adapters.finding import Finding
from dataspine.adapters.rule_library import Library, is_test, walk
from dataspine.adapters.tools.opa import Annotation
from dataspine.adapters.tools.program import Diagnostic
from dataspine.adapters.tools.regal import Regal
from dataspine.bundles import check as compile_bundle
from dataspine.core.document import validator
from dataspine.core.errors import DataSpineError, InputError
from dataspine.decisions.opa_client import OpaClient

__all__ = ["ALL", "FAST", "LINT", "TESTS", "Part", "Result", "run_parts"]

WORKERS = 2
MAX_FINDINGS = 200
_COMPILED = re.compile(r"policies/(?P<file>[^\s:]+\.rego):(?P<line>\d+): (?P<message>.*)")


# What a question of a point reaches, by the second part of the package.
_ASKED = frozenset({("main",), ("rules",), ("lib",), ("custom",)})


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


def _format(library: Library) -> Iterator[Finding]:
    with library.written(library.own) as folder:
        for name in library.opa.unformatted(folder):
            yield Finding(
                "policy.format",
                "the file is not as `opa fmt` writes it, or is no Rego",
                library.shown(name),
                None,
                f"Run `opa fmt -w {library.shown(name)}`.",
            )


def _compile(library: Library) -> Iterator[Finding]:
    with library.written() as folder:
        found = library.opa.check(folder)
    yield from _located(library, "policy.compile", found, "Correct it there.")
    if not found:
        yield from _unsafe(library)


def _unsafe(library: Library) -> Iterator[Finding]:
    # The build's own check, so that what passes here is what a bundle may hold.
    shipped = {name: raw for name, raw in library.files.items() if not is_test(name)}
    try:
        compile_bundle(shipped, library.opa.path)
    except InputError as error:
        places = [
            Diagnostic(each["message"], each["file"], int(each["line"]))
            for each in _COMPILED.finditer(error.problem)
        ]
        yield from _located(
            library,
            "policy.capability",
            places or [Diagnostic(error.problem)],
            "A rule reads no clock, no chance, no machine and no network: bring it as a fact.",
        )


def _schemas(library: Library) -> Iterator[Finding]:
    """Compile each group of files with the input schemas of the points that they name.

    A file that names no point, as those of the library, may read what any point sends.
    """
    schemas = library.document("schemas") or {}
    groups: dict[frozenset[str], set[str]] = {}
    rego = sorted(name for name in library.trees if not is_test(name))
    readers = {name for name in rego if _reads_question(library, name)}
    for name in readers:
        points = frozenset(schemas.keys() & set(_strings(library.trees[name])))
        # An entry point answers for one point by the rules of all: it is checked as those are.
        is_entry = library.packages[name] == ("dataspine", "main")
        groups.setdefault(frozenset() if is_entry else points, set()).add(name)
    for points, names in groups.items():
        chosen = [_with_choices(schemas[point]) for point in sorted(points or schemas)]
        with library.written(rego) as folder:
            schema = folder / "schema.json"
            schema.write_text(json.dumps({"anyOf": chosen}), encoding="utf-8")
            found = library.opa.check(folder, rego, schema=schema)
        wanted = [each for each in found if each.file in names]
        yield from _located(
            library,
            "policy.schema",
            wanted,
            f"Read what the schema of {', '.join(sorted(points)) or 'a point'} sends.",
        )


def _with_choices(schema: Any) -> Any:
    """Return a schema with "an object, or null" as OPA's type check reads it: as a choice."""
    if isinstance(schema, list):
        return [_with_choices(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {key: _with_choices(value) for key, value in schema.items()}
    if not isinstance(whole.get("type"), list):
        return whole
    null = {"type": "null"}  # with the properties of the object beside it, it would be one
    return {"anyOf": [null if t == "null" else {**whole, "type": t} for t in whole["type"]]}


def _reads_question(library: Library, name: str) -> bool:
    # Others are asked by OPA itself, or by conftest, which have inputs of their own.
    return library.packages[name][1:2] in _ASKED and any(
        node.get("type") == "var" and node.get("value") == "input"
        for node in walk(library.trees[name])
    )


def _strings(tree: object) -> Iterator[str]:
    for node in walk(tree):
        if node.get("type") == "string":
            yield node["value"]


def _regal(library: Library) -> Iterator[Finding]:
    regal = Regal.find()
    if regal is None:
        raise Skipped("regal is not on this machine")
    shipped = files("dataspine.adapters.tools").joinpath("regal.yaml")
    with as_file(shipped) as general, library.written() as folder:
        own = library.root.parent / ".regal/config.yaml"
        found = regal.lint(folder, configuration=own if own.is_file() else general)
    yield from _located(library, "policy.lint", found, "See regal's page of that name.")


def _conventions(library: Library) -> Iterator[Finding]:
    yield from _placement(library)
    packages = {a.path: a for a in library.annotations if a.words.get("scope") == "package"}
    documents = {a.path for a in library.annotations}
    for name in sorted(name for name in library.own if not is_test(name)):
        package = library.packages[name]
        if package not in packages:
            yield _convention(library, name, 1, "the package has no METADATA")
        for rule, line in _public(library.trees[name]):
            if (*package, rule) not in documents:
                yield _convention(library, name, line, f"{rule} has no METADATA")
    for code, name in library.rules.items():
        words = packages.get(library.packages[name])
        if words is not None:
            yield from _words(library, code, name, words)


def _placement(library: Library) -> Iterator[Finding]:
    product = {
        tuple(name.split("/")[2:4]) for name in library.files if name.startswith("dataspine/rules/")
    }
    for name in sorted(library.own):
        folder = tuple(name.split("/")[:-1])
        package = library.packages[name]
        expected = (*folder[:-1], f"{folder[-1]}_test") if is_test(name) else folder
        if package != expected:
            said = f"the package is {'.'.join(package)}, its folder {'/'.join(folder)}"
            yield _convention(library, name, 1, said)
    for code, name in library.rules.items():
        if f"{name.removesuffix('.rego')}_test.rego" not in library.own:
            yield _convention(library, name, 1, f"{code} has no test beside it")
        if name.startswith("dataspine/custom/") and tuple(name.split("/")[2:4]) in product:
            yield _convention(library, name, 1, f"{code} is a code of the product")


def _words(library: Library, code: str, name: str, said: Annotation) -> Iterator[Finding]:
    words = {key: said.words[key] for key in said.words if key != "scope"}
    for error in validator("rule").iter_errors(words):
        at = ".".join(str(part) for part in error.instance_path) or "METADATA"
        yield _convention(library, name, said.line, f"{code}: {at}: {error.message}")
    for control in (words.get("labels") or {}).get("controls") or ():
        if control not in library.controls:
            problem = f"{code}: the control {control} is described nowhere"
            yield _convention(library, name, said.line, problem)


def _public(tree: Any) -> Iterator[tuple[str, int]]:
    seen = set()
    for rule in tree.get("rules") or ():
        head = rule["head"]
        name = str(head["ref"][0]["value"])
        if not name.startswith("_") and name not in seen:
            seen.add(name)
            yield name, head["ref"][0]["location"]["row"]


def _tests(library: Library) -> Iterator[Finding]:
    yield from _tested(library, coverage=False)


def _coverage(library: Library) -> Iterator[Finding]:
    yield from _tested(library, coverage=True)


def _tested(library: Library, *, coverage: bool) -> Iterator[Finding]:
    if not any(is_test(name) for name in library.own):
        return
    with library.written() as folder:
        tested = library.opa.test(folder, coverage=coverage)
    yield from _located(library, "policy.test", tested.faults, "Correct it there.")
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


def _workable(library: Library) -> Any:
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


def _located(
    library: Library, code: str, found: Iterable[Diagnostic], remedy: str
) -> Iterator[Finding]:
    for each in found:
        if not each.file or each.file in library.own:
            file = library.shown(each.file) if each.file else ""
            yield Finding(code, each.message, file, each.line, remedy)


def _convention(library: Library, name: str, line: int, problem: str) -> Finding:
    remedy = "See docs/how-to/write-a-rule.md."
    return Finding("policy.convention", problem, library.shown(name), line, remedy)


FORMAT = Part("format", "opa fmt", _format, gate=True)
COMPILE = Part("compile", "opa check --strict, shipped capabilities", _compile, gate=True)
SCHEMAS = Part("schemas", "input as its schema says", _schemas)
REGAL = Part("lint", "regal", _regal)
CONVENTIONS = Part("conventions", "METADATA, codes, controls", _conventions)
RUN = Part("tests", "opa test", _tests)
COVERAGE = Part("coverage", "opa test, every line reached", _coverage)
FIRING = Part("firing", "every rule denies something in its own tests", _firing)
ENTRIES = Part("entry points", "an empty question is denied", _entries)
FILTERS = Part("filters", "row filters compile to SQL", _filters)

LINT = (FORMAT, COMPILE, SCHEMAS, REGAL, CONVENTIONS)
TESTS = (COVERAGE, FIRING, ENTRIES, FILTERS)
FAST = (FORMAT, COMPILE, SCHEMAS, CONVENTIONS, RUN)
ALL = (*LINT, *TESTS)
