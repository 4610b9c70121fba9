"""What must hold for Rego before it runs: form, types, capabilities, lint, conventions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import as_file, files
from typing import Any

from dataspine.adapters.finding import Finding
from dataspine.adapters.policy_part import Part, Skipped, located
from dataspine.adapters.rule_library import Library, is_test, walk
from dataspine.adapters.tools.opa import Annotation
from dataspine.adapters.tools.program import Diagnostic
from dataspine.adapters.tools.regal import Regal
from dataspine.bundles import check as compile_bundle
from dataspine.bundles.confined import is_pure, without_schemas
from dataspine.core.document import validator
from dataspine.core.errors import InputError

__all__ = ["COMPILE", "CONVENTIONS", "FORMAT", "REGAL", "SCHEMAS"]

_COMPILED = re.compile(r"policies/(?P<file>[^\s:]+\.rego):(?P<line>\d+): (?P<message>.*)")
_UNDEFINED = re.compile(r"undefined function (?P<name>[\w.]+)")
_FACTS = "A rule reads no clock, no chance, no machine and no network: bring it as a fact."
# What a question of a point reaches, by the second part of the package.
_ASKED = frozenset({("main",), ("rules",), ("lib",), ("custom",)})


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
        own = without_schemas(folder / "capabilities.json")
        # The product's rules match what they are asked with schemas of the bundle.
        strict = () if found else library.opa.check(folder, capabilities=own)
    unsafe = [each for each in found if _is_unsafe(each)]
    unsafe += [each for each in strict if each.file.startswith("dataspine/custom/")]
    faults = [each for each in found if each not in unsafe]
    yield from located(library, "policy.compile", faults, "Correct it there.")
    yield from located(library, "policy.capability", unsafe, _FACTS)
    if not found and not unsafe:
        yield from _unsafe(library)


def _is_unsafe(fault: Diagnostic) -> bool:
    undefined = _UNDEFINED.fullmatch(fault.message)
    return undefined is not None and not is_pure(undefined["name"])


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
        faults = places or [Diagnostic(error.problem)]
        yield from located(library, "policy.compile", faults, "Correct it there.")


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
        yield from located(
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
        # Regal runs the rules of the next .regal/ upwards, and anybody may put one into /tmp.
        (folder / ".regal").mkdir()
        own = library.root.parent / ".regal/config.yaml"
        found = regal.lint(folder, configuration=own if own.is_file() else general)
    yield from located(library, "policy.lint", found, "See regal's page of that name.")


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


def _convention(library: Library, name: str, line: int, problem: str) -> Finding:
    remedy = "See docs/how-to/write-a-rule.md."
    return Finding("policy.convention", problem, library.shown(name), line, remedy)


FORMAT = Part("format", "opa fmt", _format, gate=True)
COMPILE = Part("compile", "opa check --strict, shipped capabilities", _compile, gate=True)
SCHEMAS = Part("schemas", "input as its schema says", _schemas)
REGAL = Part("lint", "regal", _regal)
CONVENTIONS = Part("conventions", "METADATA, codes, controls", _conventions)
