"""Files that people write: YAML or JSON, checked against a JSON Schema, every fault with its line.

Schemas lie in ``dataspine/core/schemas/<name>.schema.json``. No YAML tags, aliases or duplicate
keys: a file must mean what it looks like. YAML 1.2's core scalars only, so that ``NO`` is a country
and ``on`` a word.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

from dataspine.core.errors import InputError
from dataspine.core.files import read_text

__all__ = ["Document", "below", "load_document", "parse_document", "schema", "validator"]

MAX_BYTES = 4 * 1_048_576
_REFERENCE = 'does not match "^(env'  # the pattern of every secret
_CREDENTIALS = re.compile(r"://[^\s\"/]*@")
MAX_DEPTH = 64


@dataclass(frozen=True)
class Document:
    """A parsed file: its ``value``, its ``name``, and the 1-based line of each JSON Pointer."""

    value: Any
    name: str
    lines: dict[str, int]

    def line(self, pointer: str) -> int:
        """Return the line of a JSON Pointer, or of its nearest parent that has one."""
        while pointer not in self.lines and pointer:
            pointer = pointer.rpartition("/")[0]
        return self.lines.get(pointer, 1)


@functools.cache
def schema(name: str) -> dict[str, Any]:
    """Return the shipped JSON Schema called ``name`` (``spine``, ``route``, ``matrix``, …)."""
    text = (
        files("dataspine.core")
        .joinpath("schemas", f"{name}.schema.json")
        .read_text(encoding="utf-8")
    )
    value: dict[str, Any] = json.loads(text)
    return value


@functools.cache
def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    """Return the compiled validator of a shipped schema."""
    return jsonschema_rs.Draft202012Validator(schema(name))


def below(pointer: str, part: str | int) -> str:
    """Return the JSON Pointer of a member or an item of what ``pointer`` names."""
    return f"{pointer}/{str(part).replace('~', '~0').replace('/', '~1')}"


def load_document(path: Path, schema_name: str) -> Document:
    """Read, parse and check a file; raise ``InputError`` with its line for the first fault."""
    text = read_text(path, MAX_BYTES)
    return parse_document(text, str(path), schema_name)


def parse_document(text: str, name: str, schema_name: str) -> Document:
    """Parse and check text as ``load_document`` does."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(
            f"no YAML: {error.problem or error.context}",
            where=f"{name}:{mark.line + 1 if mark else 1}",
            remedy="Correct the syntax there.",
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"no YAML: {error}", where=name, remedy="Correct the file.") from None
    lines: dict[str, int] = {"": 1}
    value = _value(node, "", lines, name, 0) if node is not None else None
    document = Document(value, name, lines)
    _check(document, schema_name)
    return document


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call] # its stubs give no type
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)


_INTEGER = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_TAGS = {
    f"tag:yaml.org,2002:{kind}"
    for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge", "value")
}
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}


def _value(node: yaml.Node, pointer: str, lines: dict[str, int], name: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise InputError(
            f"nested deeper than {MAX_DEPTH}",
            where=f"{name}:{node.start_mark.line + 1}",
            remedy="Flatten the file.",
        )
    lines.setdefault(pointer, node.start_mark.line + 1)
    if node.tag not in _TAGS:
        where = f"{name}:{node.start_mark.line + 1}"
        raise InputError(f"the tag {node.tag} is not allowed", where=where, remedy="Remove it.")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, pointer, lines, name, depth)
    if isinstance(node, yaml.SequenceNode):
        return [
            _value(child, f"{pointer}/{i}", lines, name, depth + 1)
            for i, child in enumerate(node.value)
        ]
    if not node.value.isascii() and any("\ud800" <= each <= "\udfff" for each in node.value):
        where = f"{name}:{node.start_mark.line + 1}"
        raise InputError(
            "half of a character: \\ud800 to \\udfff without its other half",
            where=where,
            remedy="Write whole characters.",
        )
    return _scalar(node)


def _mapping(
    node: yaml.MappingNode, pointer: str, lines: dict[str, int], name: str, depth: int
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, child in node.value:
        line = key_node.start_mark.line + 1
        key = str(key_node.value)
        if not isinstance(key_node, yaml.ScalarNode) or key in result:
            problem = (
                f"the key {key!r} stands twice" if key in result else "a key must be plain text"
            )
            raise InputError(problem, where=f"{name}:{line}", remedy="Keep one.")
        place = below(pointer, key)
        lines[place] = line
        result[key] = _value(child, place, lines, name, depth + 1)
    return result


def _scalar(node: yaml.Node) -> Any:
    text: str = node.value
    if getattr(node, "style", None) is not None:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        return int(text) if len(text) < 64 else text
    return float(text) if _FLOAT.match(text) else text


def _check(document: Document, schema_name: str) -> None:
    errors = list(validator(schema_name).iter_errors(document.value))
    if not errors:
        return
    error = min(errors, key=lambda e: (document.line(_pointer(e.instance_path)), e.message))
    pointer = _pointer(error.instance_path)
    unexpected = re.match(
        r"Additional properties are not allowed \(('.*') (was|were) unexpected\)", error.message
    )
    if unexpected:
        key = unexpected.group(1).split("'")[1]
        place = below(pointer, key)
        raise InputError(
            f"unknown key {key!r} in {pointer or 'the file'}",
            where=f"{document.name}:{document.line(place)}",
            remedy=_known_keys(schema_name, error.schema_path, pointer),
            code="input.unknown_key",
        )
    where = f"{document.name}:{document.line(pointer)}"
    if error.schema_path[-1:] == ["pattern"] and _REFERENCE in error.message:
        # What stands there instead may be the secret itself, so it is not shown.
        raise InputError(
            f"{pointer}: a secret is given by reference",
            where=where,
            remedy="Write env:NAME or file:PATH.",
            code="input.secret_inline",
        )
    raise InputError(
        f"{pointer or 'the file'}: {_CREDENTIALS.sub('://***@', error.message)}",
        where=where,
        remedy="See the file's schema in the reference.",
    )


def _known_keys(schema_name: str, path: list[str | int], pointer: str) -> str:
    node: Any = schema(schema_name)
    for part in path[:-1]:
        node = node[part] if not isinstance(node, dict) or part in node else {}
        if isinstance(node, dict) and "$ref" in node:
            node = schema(schema_name)["$defs"].get(node["$ref"].rpartition("/")[2], {})
    known = sorted(node.get("properties", {})) if isinstance(node, dict) else []
    return (
        f"Known keys: {', '.join(known)}." if known else f"Remove it from {pointer or 'the file'}."
    )


def _pointer(path: list[str | int]) -> str:
    return functools.reduce(below, path, "")
