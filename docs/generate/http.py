"""``http.md``: every address of ``spine serve``, from its own OpenAPI document."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docs.generate.text import table
from starlette.testclient import TestClient

from dataspine.adapters.init import init
from dataspine.adapters.session import Session
from dataspine.web.app import create_app

__all__ = ["page"]

INTRODUCTION = """\
# HTTP

Generated from the service's `/openapi.json` by `make docs`.

Errors are problem JSON (RFC 9457) with `code`, `problem`, `where`, `remedy`, `retry` and
`exit_code`: see [errors](errors.md). A segment of a path is decoded once, so `%2F` may stand in a
subject or namespace.
"""

Document = Mapping[str, Any]
EXACT = 2**53


def page() -> str:
    """Return the page."""
    document = _openapi()
    lines = [INTRODUCTION]
    for tag, entries in sorted(_by_tag(document).items()):
        lines += [f"## {tag.capitalize()}", ""]
        for title, operation in entries:
            lines += _section(document, title, operation)
    return "\n".join(lines).rstrip() + "\n"


def _openapi() -> Document:
    # The routes need an opened workspace, but no engine: nothing is asked.
    with tempfile.TemporaryDirectory() as folder:
        workspace = init(Path(folder) / "shop", name="shop", told=lambda _: None)
        with Session(workspace) as session:
            client = TestClient(create_app(session), base_url="http://127.0.0.1")
            found: Document = client.get("/openapi.json").json()
            return found


def _by_tag(document: Document) -> dict[str, list[tuple[str, Document]]]:
    found: dict[str, list[tuple[str, Document]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["other"])[0]
            found.setdefault(tag, []).append((f"{method.upper()} {path}", operation))
    return found


def _section(document: Document, title: str, operation: Document) -> Iterator[str]:
    yield from (f"### `{title}`", "", _words(operation), "")
    parameters = [p for p in operation.get("parameters", ()) if p["in"] != "path"]
    yield from table(
        (parameters[0]["in"] if parameters else "", "type", "meaning"),
        (
            (f"`{p['name']}`", _type(document, p["schema"]), p.get("description", ""))
            for p in parameters
        ),
    )
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body:
        schema = _resolved(document, body["schema"])
        required = schema.get("required", ())
        yield from table(
            ("body", "type", ""),
            (
                (f"`{name}`", _type(document, each), "required" if name in required else "")
                for name, each in schema.get("properties", {}).items()
            ),
        )


def _words(operation: Document) -> str:
    text: str = operation.get("description", operation["summary"])
    return text.replace("``", "`")


def _resolved(document: Document, schema: Document) -> Document:
    if "$ref" not in schema:
        return schema
    found: Document = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _type(document: Document, schema: Document) -> str:
    schema = _resolved(document, schema)
    if "anyOf" in schema:
        kinds = [_type(document, each) for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(kinds)
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    text = str(schema.get("type", "any"))
    if "minimum" in schema:
        # The framework writes bounds as floats; no float holds the largest number of a column.
        most = schema.get("maximum", EXACT)
        end = f" to {_number(most)}" if most < EXACT else " or more"
        text += f", {_number(schema['minimum'])}{end}"
    if schema.get("default") is not None:
        text += f", default `{schema['default']}`"
    return text
