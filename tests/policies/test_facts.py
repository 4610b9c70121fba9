"""Rules read what adapters send; a rule that waits for a fact serves no control yet."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataspine.adapters.policy_lint import _with_choices
from dataspine.adapters.rule_library import Library, product_library
from dataspine.adapters.rules_reference import rules_pages
from dataspine.adapters.tools.opa import Opa

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
# Where facts are put together, and what brings those of fields.
SENDERS = [
    *(ROOT / "adapters/dataspine/adapters").glob("*.py"),
    ROOT / "schema/dataspine/registry/field.py",
]


@pytest.fixture(scope="module")
def library(opa: Path) -> Library:
    return product_library(ROOT / "policies", Opa(opa))


def _keys(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        keys: list[ast.expr | None] = node.keys if isinstance(node, ast.Dict) else []
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            keys = [node.slice]
        for key in keys:
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value


def _optional(schema: Any) -> Iterator[str]:
    """Yield the facts that may be left out; without the others a question is refused."""
    if isinstance(schema, dict):
        # Of a choice, such as a home by column or by constant, one is required.
        if "minProperties" not in schema:
            yield from schema.get("properties", {}).keys() - set(schema.get("required", ()))
        for value in schema.values():
            yield from _optional(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _optional(each)


def _without(schema: Any, names: set[str]) -> Any:
    if isinstance(schema, list):
        return [_without(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {key: _without(value, names) for key, value in schema.items()}
    if "properties" in whole:
        whole["properties"] = {k: v for k, v in whole["properties"].items() if k not in names}
    return whole


def _unsent(library: Library) -> set[str]:
    schemas = library.document("schemas")
    optional = {
        name for each in schemas.values() for name in _optional(each["properties"]["facts"])
    }
    sent = {key for path in SENDERS for key in _keys(ast.parse(path.read_text()))}
    return optional - sent


def _waiting(library: Library) -> dict[str, str]:
    packages = {package: name for name, package in library.packages.items()}
    codes = {name: code for code, name in library.rules.items()}
    return {
        codes[packages[each.path]]: each.words["labels"]["waits-for"]
        for each in library.annotations
        if "waits-for" in each.words.get("labels", {})
    }


def test_a_rule_that_reads_what_no_adapter_sends_waits_for_it(library: Library) -> None:
    unsent = _unsent(library)
    schemas = _with_choices(_without(library.document("schemas"), unsent))
    rego = sorted(name for name in library.trees if not name.endswith("_test.rego"))

    with library.written(rego) as folder:
        (folder / "schema.json").write_text(json.dumps({"anyOf": list(schemas.values())}))
        faults = library.opa.check(folder, rego, schema=folder / "schema.json")

    codes = {name: code for code, name in library.rules.items()}
    readers = {codes[each.file] for each in faults if each.file in codes}
    assert unsent == {name.rpartition(".")[2] for name in _waiting(library).values()}
    assert readers == _waiting(library).keys()


def test_a_rule_that_waits_serves_no_control(library: Library) -> None:
    waiting = _waiting(library)
    pages = rules_pages(library)

    assert waiting == {"residency.inherited_label": "tables[].columns[].inherited"}
    for code, fact in waiting.items():
        assert code not in pages["controls.md"]
        page = pages[f"rules/{code.replace('.', '/')}.md"]
        assert f"| controls | none yet: no adapter sends `{fact}` |" in page
