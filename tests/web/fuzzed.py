"""Requests made from the service's own OpenAPI document, and what is wrong with their answers.

The document says what may be sent and what is answered; schemathesis makes requests that keep to
it and requests that break it. Random text is no schema and no subject, so that half of the requests
are given ones that are, and reach what lies behind.
"""

from collections.abc import Iterator
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient
from starlette.types import ASGIApp

__all__ = ["TAGS", "faults", "tags"]

BASE = "http://127.0.0.1"
TAGS = (
    "bundles",
    "cdc",
    "decisions",
    "fleet",
    "lineage",
    "operations",
    "registry",
    "registry, Confluent dialect",
    "sidecars",
)
AVRO = '{"type": "record", "name": "A", "fields": [{"name": "size", "type": "int"}]}'
WIDER = AVRO.replace("]", ', {"name": "width", "type": "int", "default": 0}]')
UNTAGGED = AVRO.replace("size", "email")
PROTOBUF = 'syntax = "proto3"; message A { int32 size = 1; }'
TEXTS = (AVRO, WIDER, UNTAGGED, PROTOBUF, '"int"', "[]", "null", "message A {")
KNOWN = {
    "subject": ("fuzz.a", "fuzz.b", ":.:fuzz.a", ":.other:fuzz.a", "a%2Fb", "%F0%9F%90%9F"),
    "number": ("1", "2", "latest", "-1"),
    "identifier": ("1", "2"),
    "point": ("schema.publish", "route.deploy"),
    "channel": ("dev", "candidate"),
    "name": ("dev",),
}
# What makes every request after it uninteresting is taken back before the next operation.
RESET = (
    ("PUT", "/mode", {"mode": "READWRITE"}),
    *(("DELETE", f"/{what}/fuzz.{name}", None) for what in ("mode", "config") for name in "ab"),
    ("DELETE", "/config", None),
    *(("POST", f"/subjects/fuzz.{name}/versions", {"schema": AVRO}) for name in "ab"),
)
# Not that all is accepted that keeps to the document: what a schema or a digest must be, none says.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
schemathesis.serializer.alias("application/gzip", "application/octet-stream")
_SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def tags(app: ASGIApp) -> set[str]:
    """Return the tags of the document."""
    paths = _document(app)["paths"].values()
    return {tag for path in paths for operation in path.values() for tag in operation["tags"]}


def faults(app: ASGIApp, tag: str, *, examples: int) -> Iterator[str]:
    """Yield what is wrong, a sentence for each operation of a tag; none are expected."""
    schema = schemathesis.openapi.from_dict(_document(app))
    schema.app = app
    every: Any = schema.get_all_operations()
    for operation in (result.ok() for result in every):
        if tag not in operation.tags:
            continue
        for method, path, body in RESET:
            TestClient(app, base_url=BASE).request(method, path, json=body)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                _run(operation, mode, examples)
            except Unsatisfiable:
                # What takes nothing, or any text, cannot be sent anything that breaks it.
                if mode == GenerationMode.POSITIVE:
                    raise
            except (Exception, FailureGroup) as error:
                yield f"{operation.label}, {mode.value}: {error}"


def _document(app: ASGIApp) -> dict[str, Any]:
    found: dict[str, Any] = TestClient(app, base_url=BASE).get("/openapi.json").json()
    return found


def _run(operation: Any, mode: GenerationMode, examples: int) -> None:
    @given(case=_cases(operation, mode))
    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=_SLOW,
    )
    def keeps_to_the_document(case: Any) -> None:
        answer = case.call(base_url=BASE)
        case.validate_response(answer, CHECKS)

    keeps_to_the_document()


@st.composite
def _cases(draw: st.DrawFn, operation: Any, mode: GenerationMode) -> Any:
    case = draw(operation.as_strategy(generation_mode=mode))
    if mode == GenerationMode.NEGATIVE:
        return case
    for name in case.path_parameters or ():
        if name in KNOWN and draw(st.booleans()):
            case.path_parameters[name] = draw(st.sampled_from(KNOWN[name]))
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("schema"), str) and draw(st.booleans()):
        body["schema"] = draw(st.sampled_from(TEXTS))
    return case
