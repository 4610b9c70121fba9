"""``files.md``: every file that people write, from the JSON Schemas that check them."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from docs.generate.text import table

from dataspine.core.document import schema

__all__ = ["page"]

INTRODUCTION = """\
# Files

Generated from the JSON Schemas that check the files, by `make docs`. An unknown key is refused with
the line it stands on. YAML is read without tags and aliases, and a key may stand only once.

`a.b` is a key in a mapping, `a[]` an item of a list, `a{}` a value of a mapping whose keys you
choose.
"""
SUFFIX = ".schema.json"

Schema = Mapping[str, Any]


def page() -> str:
    """Return the page."""
    lines = [INTRODUCTION]
    names = sorted(entry.name for entry in files("dataspine.core").joinpath("schemas").iterdir())
    for name in (each.removesuffix(SUFFIX) for each in names if each.endswith(SUFFIX)):
        whole = schema(name)
        title, _, rest = str(whole.get("title", name)).partition(":")
        lines += [f"## {title.strip()}", "", (rest.strip() or whole.get("description", "")), ""]
        rows = list(_rows(whole, whole, "", required=True, depth=0))
        lines += table(("key", "value", "", "meaning"), rows)
    return "\n".join(lines).rstrip() + "\n"


def _rows(
    whole: Schema, node: Schema, path: str, *, required: bool, depth: int
) -> Iterator[tuple[str, str, str, str]]:
    node = _resolved(whole, node)
    if path:
        text = "required" if required else ""
        yield f"`{path}`", _value(whole, node), text, str(node.get("description", ""))
    if depth > 8:
        return
    wanted = node.get("required", ())
    for key, each in node.get("properties", {}).items():
        below = f"{path}.{key}" if path else key
        yield from _rows(whole, each, below, required=key in wanted, depth=depth + 1)
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        each = node.get(key)
        if isinstance(each, Mapping) and _is_deep(_resolved(whole, each)):
            yield from _rows(whole, each, path + mark, required=False, depth=depth + 1)
    for each in (*node.get("oneOf", ()), *node.get("anyOf", ())):
        if "properties" in _resolved(whole, each):
            for key, value in _resolved(whole, each)["properties"].items():
                below = f"{path}.{key}" if path else key
                yield from _rows(whole, value, below, required=False, depth=depth + 1)


def _is_deep(node: Schema) -> bool:
    return bool(node.keys() & {"properties", "items", "oneOf", "anyOf", "description"}) or (
        isinstance(node.get("additionalProperties"), Mapping)
    )


def _value(whole: Schema, node: Schema) -> str:
    if "enum" in node:
        return " or ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    kind = node.get("type", "any")
    kind = " or ".join(kind) if isinstance(kind, list) else str(kind)
    words = {"object": "mapping", "array": "list", "string": "text", "any": "one of several"}
    text = words.get(kind, kind)
    for inner in ("items", "additionalProperties"):
        each = node.get(inner)
        if isinstance(each, Mapping) and not _is_deep(_resolved(whole, each)):
            text += f" of {_value(whole, _resolved(whole, each))}"
    if "pattern" in node:
        text += f" like `{node['pattern']}`"
    if "minimum" in node:
        text += f", from {node['minimum']}"
    if "maximum" in node:
        text += f", to {node['maximum']}"
    return text


def _resolved(whole: Schema, node: Schema) -> Schema:
    seen = 0
    while "$ref" in node and seen < 8:
        target = whole["$defs"][node["$ref"].rpartition("/")[2]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
        seen += 1
    return node
