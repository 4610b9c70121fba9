"""``http.md``: every address of ``spine serve``, from its own OpenAPI document."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docs.generate.text import table
from starlette.testclient import TestClient

from dataspine.adapters.asking import MAX_ANSWER
from dataspine.adapters.init import init
from dataspine.adapters.session import Session
from dataspine.decisions.decision_log import FREE_DECISIONS, MAX_DECISIONS, MAX_PLAIN
from dataspine.decisions.journal import MAX_NAME
from dataspine.web.app import create_app
from dataspine.web.body import MAX_MEMBERS, MAX_VALUES, MAX_WIDE
from dataspine.web.confluent import CODES, DELETED_CODES
from dataspine.web.connections import MAX_CONNECTIONS, MAX_HEAD, MAX_WAITING, Patience
from dataspine.web.decisions import MAX_QUESTION
from dataspine.web.guard import MAX_BODIES, MAX_BODY
from dataspine.web.lineage import MAX_EVENTS
from dataspine.web.turnstile import MAX_POLLS, MAX_REQUESTS

__all__ = ["page"]

INTRODUCTION = """\
# HTTP

Generated from the service's `/openapi.json` by `make docs`.

Errors are problem JSON (RFC 9457): a [Problem](#problem), whose codes are in [errors](errors.md).
Each operation may answer `4XX` for what is wrong with the request and `503` when OPA or the
database is not there. A segment of a path is decoded once, so `%2F` may stand in a subject or
namespace. The shapes of answers are [at the end](#shapes).

## Limits

{limits}
A connection that waits for its client may be closed for others: the oldest one of the peer that has
most of them. A connection that is being answered, or that a sidecar waits on, never is. No peer is
refused for what it has open, since behind a load balancer all callers are one peer. What was closed
is counted in `dataspine_connections_cut_total`.
"""
DIALECT = "registry, Confluent dialect"
DIALECT_INTRODUCTION = """\
Errors are told as stock clients read them: a [Refusal](#refusal) of the media type
`application/vnd.schemaregistry.v1+json`. A request that is refused before its address is looked at
(a foreign host, a body over the limit) gets a [Problem](#problem).
"""
# What each operation may answer is said once, above.
COMMON = {"4XX", "503"}

Document = Mapping[str, Any]
EXACT = 2**53
MIB = 1_048_576
REFERENCE = "#/components/schemas/"


def page() -> str:
    """Return the page."""
    document = _openapi()
    lines = [INTRODUCTION.format(limits="\n".join(table(("of", "limit", "over it"), _limits())))]
    for tag, entries in sorted(_by_tag(document).items()):
        lines += [f"## {tag[0].upper()}{tag[1:]}", ""]
        if tag == DIALECT:
            lines += [DIALECT_INTRODUCTION, *_codes()]
        for title, operation in entries:
            lines += _section(document, title, operation)
    lines += ["## Shapes", "", *_shapes(document)]
    return "\n".join(lines).rstrip() + "\n"


def _limits() -> list[tuple[str, ...]]:
    patience = Patience()
    return [
        ("body", f"{MAX_BODY // MIB} MiB", "413"),
        ("all bodies that are being read", f"{MAX_BODIES // MIB} MiB", "503"),
        ("JSON body", f"{MAX_VALUES:,} values, counted by commas and brackets", "413"),
        ("members at the top of a JSON body, where they are named", f"{MAX_MEMBERS}", "422"),
        (
            "JSON body with characters beyond U+FFFF",
            f"{MAX_WIDE // MIB} MiB",
            "413",
        ),
        ("question of a decision", f"{MAX_QUESTION // 1024} KiB", "413"),
        ("its answer", f"{MAX_ANSWER // 1024} KiB", "422"),
        ("a name that is journalled", f"{MAX_NAME} bytes", "422"),
        ("status report, lineage event", "1 MiB", "413"),
        ("lineage batch", f"{MAX_EVENTS:,} events", "422"),
        (
            "decision log",
            f"{MAX_PLAIN // MIB} MiB unpacked; {MAX_DECISIONS:,} decisions, and not more than "
            f"{FREE_DECISIONS:,} and one for each byte as it was sent",
            "204, not kept, counted",
        ),
        ("head of a request", f"{MAX_HEAD // 1024} KiB", "431"),
        ("time for a head", f"{patience.head:.0f} s", "closed"),
        ("time for a body", f"{patience.body:.0f} s", "closed"),
        ("time for a client to read on", f"{patience.answer:.0f} s", "closed"),
        ("connections", f"{MAX_CONNECTIONS:,}, or as many as the process may have", "closed"),
        ("connections that wait for one peer", f"{MAX_WAITING}", "the oldest is closed"),
        ("requests at once, without `/healthz`", f"{MAX_REQUESTS:,}", "503"),
        ("sidecars that wait for a bundle", f"{MAX_POLLS:,}", "503"),
    ]


def _codes() -> Iterator[str]:
    known = [(number, status, code) for code, (status, number) in CODES.items()]
    known += [(number, 404, code) for code, pair in DELETED_CODES.items() for number in pair]
    rows = [(number, status, f"[`{code}`](errors.md)") for number, status, code in known]
    rows += [
        (42201, 422, "any other fault of the request: no schema, a wrong type"),
        (42210, 422, "[`registry.invalid_contract`](errors.md), of a `ruleSet`"),
        (40301, 403, "denied by policy; the message has each violation's code, path and words"),
        (409, 409, "denied for `contract.incompatible` alone; `spine.yaml` may make it 40901"),
        (50301, 503, "`engine.unavailable` and its like: nobody answered"),
    ]
    yield from table(("`error_code`", "status", "of"), sorted(rows, key=lambda row: str(row[0])))


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
    for media, body in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(document, body["schema"])
        if schema.get("type") == "object":
            yield from _fields(document, "body", schema)
        else:
            yield from (f"The body is {_type(document, schema)} (`{media}`).", "")
    yield from table(("answer", "body", "meaning"), _answers(document, operation))


def _answers(document: Document, operation: Document) -> Iterator[tuple[str, str, str]]:
    for status, answer in operation["responses"].items():
        bodies = [
            _type(document, each["schema"]) if each.get("schema") else f"`{media}`"
            for media, each in answer.get("content", {}).items()
            if each.get("schema") or media != "application/json"
        ]
        words = answer["description"]
        if status not in COMMON and (bodies or words != "Successful Response"):
            told = "" if words == "Successful Response" else words
            yield f"`{status}`", " or ".join(bodies), told


def _fields(document: Document, title: str, schema: Document) -> Iterator[str]:
    required = schema.get("required", ())
    yield from table(
        (title, "type", "meaning"),
        (
            (
                f"`{name}`",
                _type(document, each),
                ", ".join(
                    filter(None, ["required" if name in required else "", each.get("description")])
                ),
            )
            for name, each in schema.get("properties", {}).items()
        ),
    )


def _shapes(document: Document) -> Iterator[str]:
    for name in sorted(_answered(document)):
        schema = document["components"]["schemas"][name]
        yield from (f"### {name}", "", schema["description"], "")
        yield from _fields(document, "field", schema)


def _answered(document: Document) -> set[str]:
    """Return the names of the shapes that answers have, and of those inside."""
    todo: list[Any] = [
        operation["responses"] for path in document["paths"].values() for operation in path.values()
    ]
    found: set[str] = set()
    while todo:
        part = todo.pop()
        inner = list(part.values()) if isinstance(part, dict) else part
        if isinstance(inner, list):
            todo += inner
        elif isinstance(part, str) and part.startswith(REFERENCE):
            name = part.removeprefix(REFERENCE)
            todo += [document["components"]["schemas"][name]] if name not in found else []
            found.add(name)
    return found


def _words(operation: Document) -> str:
    text: str = operation.get("description", operation["summary"])
    return text.replace("``", "`")


def _resolved(document: Document, schema: Document) -> Document:
    if "$ref" not in schema:
        return schema
    found: Document = document["components"]["schemas"][schema["$ref"].removeprefix(REFERENCE)]
    return found


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _type(document: Document, schema: Document) -> str:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REFERENCE)
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        kinds = [_type(document, each) for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(kinds)
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    text = str(schema.get("type", "any"))
    if text == "array" and schema.get("items", {}):
        text = f"array of {_type(document, schema['items'])}"
    if "minimum" in schema:
        # The framework writes bounds as floats; no float holds the largest number of a column.
        most = schema.get("maximum", EXACT)
        end = f" to {_number(most)}" if most < EXACT else " or more"
        text += f", {_number(schema['minimum'])}{end}"
    if schema.get("default") is not None:
        text += f", default `{schema['default']}`"
    return text
