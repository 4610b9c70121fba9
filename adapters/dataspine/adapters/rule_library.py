"""The Rego that is checked: the product's rules in a checkout, or a workspace's own."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataspine.adapters.policy import content_of
from dataspine.adapters.tools.opa import Annotation, Opa
from dataspine.core.document import load_document
from dataspine.core.errors import InputError
from dataspine.core.scratch import scratch
from dataspine.core.workspace import Workspace

__all__ = ["Library", "custom_library", "is_test", "product_library", "walk"]

Tree = Mapping[str, Any]
RULE_ROOTS = frozenset({("dataspine", "rules"), ("dataspine", "custom")})
CONTROLS = "policies/controls.yaml"


def is_test(name: str) -> bool:
    """Tell whether a file holds tests, which never enter a bundle."""
    return name.endswith("_test.rego")


@dataclass(frozen=True)
class Library:
    """Rego and data by their names in the bundle, tests included.

    ``own`` are the files that a check is about; the others are there because those need them.
    ``root`` is the folder that the names of own files are relative to. ``controls`` maps the
    controls that a rule may name to their titles.
    """

    root: Path
    files: Mapping[str, bytes]
    own: frozenset[str]
    controls: Mapping[str, str]
    opa: Opa

    @functools.cached_property
    def rules(self) -> dict[str, str]:
        """The own rules: code to name of the file, such as ``pii.untagged_field``."""
        found = {}
        for name in sorted(self.own):
            parts = tuple(name.split("/"))
            if parts[:2] in RULE_ROOTS and len(parts) == 5 and not is_test(name):
                found[f"{parts[2]}.{parts[3]}"] = name
        return found

    @functools.cached_property
    def trees(self) -> dict[str, Tree]:
        """The syntax tree of every Rego file; raises ``InputError`` for one that is no Rego."""
        return {
            name: _parsed(self.opa, raw)
            for name, raw in self.files.items()
            if name.endswith(".rego")
        }

    @functools.cached_property
    def annotations(self) -> tuple[Annotation, ...]:
        """Every METADATA block."""
        with self.written() as folder:
            return self.opa.annotations(folder)

    def shown(self, name: str) -> str:
        """Return where a file lies, as the user finds it."""
        path = self.root / name
        return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)

    def document(self, name: str) -> Any:
        """Return the data at ``dataspine/<name>/data.json``, or None."""
        raw = self.files.get(f"dataspine/{name}/data.json")
        return json.loads(raw) if raw is not None else None

    @contextlib.contextmanager
    def written(self, names: Iterable[str] | None = None) -> Iterator[Path]:
        """Write all files, or those named, to a folder that lasts as long as the context."""
        with scratch("rego") as folder:
            for name in self.files if names is None else names:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.files[name])
            yield folder

    def needed(self, names: Iterable[str]) -> frozenset[str]:
        """Return the files with all data and all Rego that they read, directly or not."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self._read_by[name])
        return frozenset(found | {name for name in self.files if not name.endswith(".rego")})

    @functools.cached_property
    def packages(self) -> dict[str, tuple[str, ...]]:
        """The package of every Rego file, without ``data``."""
        return {
            name: tuple(str(part["value"]) for part in tree["package"]["path"][1:])
            for name, tree in self.trees.items()
        }

    @functools.cached_property
    def _read_by(self) -> dict[str, frozenset[str]]:
        """The Rego that each file reads, directly."""
        return {name: frozenset(self._reads(tree)) for name, tree in self.trees.items()}

    def _reads(self, tree: Tree) -> Iterator[str]:
        references = {
            path
            for node in walk(tree)
            if node.get("type") == "ref" and (path := _data_path(node["value"]))
        }
        for other, package in self.packages.items():
            for path in references:
                shorter = min(len(path), len(package))
                if path[:shorter] == package[:shorter]:
                    yield other


# OPA parses one file a process, and most files are parsed again unchanged.
@functools.lru_cache(maxsize=1_000)
def _parsed(opa: Opa, raw: bytes) -> Tree:
    with scratch("rego") as folder:
        path = folder / "rule.rego"
        path.write_bytes(raw)
        return opa.parse(path)


def walk(node: object) -> Iterator[dict[str, Any]]:
    """Yield every object inside a syntax tree, parents first."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def _data_path(terms: list[dict[str, Any]]) -> tuple[str, ...]:
    head, *rest = terms
    if head.get("type") != "var" or head.get("value") != "data":
        return ()
    path = []
    for term in rest:
        if term["type"] != "string":
            break
        path.append(term["value"])
    return tuple(path)


def product_library(policies: Path, opa: Opa) -> Library:
    """Read a ``policies/`` folder with ``.manifest``: rules, data and tests."""
    files = {
        path.relative_to(policies).as_posix(): path.read_bytes()
        for path in sorted((policies / "dataspine").rglob("*"))
        if path.suffix == ".rego" or path.name == "data.json"
    }
    if not files:
        raise InputError(
            "there are no rules",
            where=str(policies),
            remedy="Name the folder that holds dataspine/.",
            code="policy.no_rules",
        )
    controls = json.loads(files.get("dataspine/controls/data.json", b"{}"))
    own = frozenset(name for name in files if name.endswith(".rego"))
    return Library(policies.resolve(), files, own, controls, opa)


def custom_library(workspace: Workspace, opa: Opa) -> Library:
    """Read a workspace's own rules and tests, with the product's rules and the workspace's data.

    Raises ``InputError`` for a rule at a wrong place or with a product's code.
    """
    root = workspace.root / "policies"
    files = dict(content_of(workspace).files)
    own = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(workspace.custom_path.rglob("*.rego"))
    }
    controls = json.loads(files.get("dataspine/controls/data.json", b"{}"))
    if (workspace.root / CONTROLS).exists():
        controls |= load_document(workspace.root / CONTROLS, "controls").value
    return Library(root, {**files, **own}, frozenset(own), controls, opa)
