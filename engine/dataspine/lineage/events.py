"""OpenLineage 2-0-2 documents of what Data Spine does, each with the decision it was done under.

A subject is the dataset ``spine://<workspace>``, ``<subject>``. A route's table is named as the
OpenLineage naming specification says (``postgres://host:port``, ``db.schema.table``) when its
``Origin`` is known, and carries its subject's name in the ``symlinks`` facet, so both are one node.
A route is one job; deploying, running, flushing and replaying it are runs of that job.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dataspine.core.clock import rfc3339
from dataspine.decisions.decision import Decision

__all__ = [
    "DECISION_FACET",
    "PRODUCER",
    "Origin",
    "bundle_promoted",
    "dataset",
    "dead_letters_replayed",
    "decision_facet",
    "flush_applied",
    "new_run_id",
    "route_deployed",
    "route_ran",
    "schema_published",
]

Document = dict[str, Any]

PRODUCER = "https://data-spine.dev/lineage/1-0-0"
DECISION_FACET = "dataSpine_policyDecision"
OPERATION_FACET = "dataSpine_operation"
SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json"
OWN = "https://data-spine.dev/schemas/lineage/1-0-0"
_FACETS = "https://openlineage.io/spec/facets"
_SCHEMAS = {
    "columnLineage": f"{_FACETS}/1-2-0/ColumnLineageDatasetFacet.json",
    "errorMessage": f"{_FACETS}/1-0-1/ErrorMessageRunFacet.json",
    "jobType": f"{_FACETS}/2-0-3/JobTypeJobFacet.json",
    "schema": f"{_FACETS}/1-2-0/SchemaDatasetFacet.json",
    "symlinks": f"{_FACETS}/1-0-1/SymlinksDatasetFacet.json",
    "tags": f"{_FACETS}/1-0-0/TagsDatasetFacet.json",
    "version": f"{_FACETS}/1-0-1/DatasetVersionDatasetFacet.json",
    DECISION_FACET: f"{OWN}/DataSpinePolicyDecisionRunFacet.json",
    OPERATION_FACET: f"{OWN}/DataSpineOperationRunFacet.json",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a route's source is: ``postgres://host:port`` and the database's name."""

    namespace: str
    database: str


def new_run_id(at: datetime, *, random_bits: Callable[[int], int] = secrets.randbits) -> str:
    """Return a UUIDv7: sorts by time."""
    value = int(at.timestamp() * 1000) & ((1 << 48) - 1)
    value = value << 80 | 0x7 << 76 | random_bits(12) << 64 | 0b10 << 62 | random_bits(62)
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def dataset(namespace: str, name: str, facets: Mapping[str, Document] | None = None) -> Document:
    """Return a dataset as events name it; each facet gets its producer and schema."""
    document: Document = {"namespace": namespace, "name": name}
    if facets:
        document["facets"] = {key: _facet(key, value) for key, value in facets.items()}
    return document


def decision_facet(decision: Decision) -> Document:
    """Return the run facet ``dataSpine_policyDecision``."""
    return _facet(
        DECISION_FACET,
        {
            "decisionId": decision.decision_id,
            "policyPackage": f"dataspine.main.{decision.point.replace('.', '_')}",
            "bundleRevision": decision.policy.revision if decision.policy else None,
            "result": "allow" if decision.allow else "deny",
            "reasons": [
                {"code": v.code, "severity": v.severity, "message": v.message}
                for v in decision.violations
            ],
            "inputDigest": decision.input_digest,
            "evaluatedAt": rfc3339(decision.evaluated_at),
        },
    )


def schema_published(
    *,
    workspace: str,
    subject: str,
    version: str,
    fields: Sequence[Mapping[str, Any]],
    decision: Decision,
    at: datetime,
) -> list[Document]:
    """Return the run that published a version, and the DatasetEvent of what it published."""
    namespace = f"spine://{workspace}"
    published = dataset(
        namespace,
        subject,
        {
            "schema": _schema(fields, lambda f: str(f["path"])),
            "tags": _tags(fields, lambda f: str(f["path"])),
            "version": {"datasetVersion": version},
        },
    )
    run = _run_event(
        "COMPLETE",
        at=at,
        run_id=new_run_id(at),
        job=_job(namespace, f"publish.{subject}", "PUBLISH"),
        facets=_run_facets("publish", decision, {"version": version}),
    )
    run["outputs"] = [dataset(namespace, subject)]
    return [run, {**_event("DatasetEvent", at), "dataset": published}]


def bundle_promoted(
    *,
    workspace: str,
    channel: str,
    revision: str,
    sequence: int,
    decision: Decision,
    at: datetime,
) -> Document:
    """Return the run that made a bundle what a channel serves."""
    namespace = f"spine://{workspace}"
    return _run_event(
        "COMPLETE",
        at=at,
        run_id=new_run_id(at),
        job=_job(namespace, f"promote.{channel}", "PROMOTE"),
        facets=_run_facets(
            "promote", decision, {"revision": revision, "sequence": sequence, "channel": channel}
        ),
    )


def route_deployed(
    *,
    workspace: str,
    route: str,
    facts: Mapping[str, Any],
    decision: Decision,
    at: datetime,
    origins: Mapping[str, Origin] | None = None,
) -> Document:
    """Return the run that deployed a route: its tables, sinks, columns and masks.

    ``facts`` are those of ``route.deploy``; ``origins`` says by source name where a source is.
    """
    inputs, outputs = _flow(workspace, route, facts, origins or {}, described=True)
    event = _run_event(
        "COMPLETE",
        at=at,
        run_id=new_run_id(at),
        job=_route_job(workspace, route),
        facets=_run_facets("deploy", decision, {}),
    )
    return event | {"inputs": inputs, "outputs": outputs}


def route_ran(  # noqa: PLR0913 - named facts of one event
    event_type: str,
    *,
    workspace: str,
    route: str,
    run_id: str,
    facts: Mapping[str, Any],
    at: datetime,
    decision: Decision | None = None,
    error: str | None = None,
    origins: Mapping[str, Origin] | None = None,
) -> Document:
    """Return START, RUNNING, COMPLETE, FAIL or ABORT of a running route.

    ``error`` is a sentence for people without row values.
    """
    inputs, outputs = _flow(workspace, route, facts, origins or {}, described=False)
    facets = _run_facets("run", decision, {})
    if error is not None:
        facets["errorMessage"] = _facet(
            "errorMessage", {"message": error, "programmingLanguage": "PYTHON"}
        )
    event = _run_event(
        event_type, at=at, run_id=run_id, job=_route_job(workspace, route), facets=facets
    )
    return event | {"inputs": inputs, "outputs": outputs}


def flush_applied(  # noqa: PLR0913 - named facts of one event
    *,
    workspace: str,
    route: str,
    facts: Mapping[str, Any],
    counts: Mapping[str, int | str],
    at: datetime,
    decision: Decision | None = None,
    origins: Mapping[str, Origin] | None = None,
) -> Document:
    """Return the run of one flush; ``counts`` are its outcomes and its position."""
    return _moved("flush", workspace, route, facts, counts, at, decision, origins)


def dead_letters_replayed(  # noqa: PLR0913 - named facts of one event
    *,
    workspace: str,
    route: str,
    facts: Mapping[str, Any],
    counts: Mapping[str, int | str],
    at: datetime,
    decision: Decision | None = None,
    origins: Mapping[str, Origin] | None = None,
) -> Document:
    """Return the run that put parked rows through the gate again."""
    return _moved("replay", workspace, route, facts, counts, at, decision, origins)


def _moved(  # noqa: PLR0913 - what both kinds of movement say
    operation: str,
    workspace: str,
    route: str,
    facts: Mapping[str, Any],
    counts: Mapping[str, int | str],
    at: datetime,
    decision: Decision | None,
    origins: Mapping[str, Origin] | None,
) -> Document:
    inputs, outputs = _flow(workspace, route, facts, origins or {}, described=False)
    event = _run_event(
        "FAIL" if decision is not None and not decision.allow else "COMPLETE",
        at=at,
        run_id=new_run_id(at),
        job=_route_job(workspace, route),
        facets=_run_facets(operation, decision, {"counts": dict(counts)}),
    )
    return event | {"inputs": inputs, "outputs": outputs}


def _flow(
    workspace: str,
    route: str,
    facts: Mapping[str, Any],
    origins: Mapping[str, Origin],
    *,
    described: bool,
) -> tuple[list[Document], list[Document]]:
    """Return what a route reads and writes; ``described`` adds schemas, tags and columns."""
    inputs, outputs = [], []
    for table in facts["tables"]:
        origin = origins.get(table["source"])
        source = (
            (origin.namespace, f"{origin.database}.{table['name']}")
            if origin
            else (f"spine://{workspace}/{route}", f"{table['source']}.{table['name']}")
        )
        inputs.append(
            dataset(*source, _table_facets(workspace, facts, table) if described else None)
        )
        for sink in facts["sinks"]:
            written = dataset(
                f"spine://{workspace}/{route}/{sink['name']}",
                str(table["name"]),
                _sink_facets(source, table, sink) if described else None,
            )
            outputs.append(written)
    return inputs, outputs


def _table_facets(
    workspace: str, facts: Mapping[str, Any], table: Mapping[str, Any]
) -> dict[str, Document]:
    region = next((s["region"] for s in facts["sources"] if s["name"] == table["source"]), None)
    columns = table["columns"]
    facets = {
        "schema": _schema(columns, lambda c: str(c["path"])),
        "tags": _tags(columns, lambda c: str(c["path"]), region),
    }
    if table.get("subject"):
        identifier = {"namespace": f"spine://{workspace}", "name": table["subject"]}
        facets["symlinks"] = {"identifiers": [{**identifier, "type": "SCHEMA"}]}
    return facets


def _sink_facets(
    source: tuple[str, str], table: Mapping[str, Any], sink: Mapping[str, Any]
) -> dict[str, Document]:
    masks = {
        column["path"]: sink["masks"].get(f"{table['name']}.{column['path']}")
        for column in table["columns"]
    }
    # A label ends only at a mask; every other column brings its labels along.
    clear = [c for c in table["columns"] if masks[c["path"]] is None]
    return {
        "schema": _schema(table["columns"], lambda c: str(c["path"])),
        "tags": _tags(clear, lambda c: str(c["path"]), sink["region"]),
        "columnLineage": {
            "fields": {
                path: {
                    "inputFields": [
                        {
                            "namespace": source[0],
                            "name": source[1],
                            "field": path,
                            "transformations": [_transformation(method)],
                        }
                    ]
                }
                for path, method in masks.items()
            }
        },
    }


def _transformation(method: str | None) -> Document:
    return {
        "type": "DIRECT",
        "subtype": "TRANSFORMATION" if method else "IDENTITY",
        "description": method or "",
        "masking": method is not None,
    }


def _schema(
    fields: Iterable[Mapping[str, Any]], name: Callable[[Mapping[str, Any]], str]
) -> Document:
    described = []
    for field in fields:
        entry: Document = {"name": name(field)}
        for key, target in (("type", "type"), ("doc", "description")):
            if field.get(key):
                entry[target] = str(field[key])
        described.append(entry)
    return {"fields": described}


def _tags(
    fields: Iterable[Mapping[str, Any]],
    name: Callable[[Mapping[str, Any]], str],
    region: str | None = None,
) -> Document:
    tags: list[Document] = [
        {"key": "classification", "value": label, "source": "DATA_SPINE", "field": name(field)}
        for field in fields
        for label in field["classifications"]
    ]
    if region:
        tags.append({"key": "region", "value": region, "source": "DATA_SPINE"})
    return {"tags": tags}


def _run_facets(
    operation: str, decision: Decision | None, details: Mapping[str, Any]
) -> dict[str, Document]:
    facets = {OPERATION_FACET: _facet(OPERATION_FACET, {"operation": operation, **details})}
    if decision is not None:
        facets[DECISION_FACET] = decision_facet(decision)
    return facets


def _route_job(workspace: str, route: str) -> Document:
    return _job(f"spine://{workspace}", f"route.{route}", "ROUTE")


def _job(namespace: str, name: str, kind: str) -> Document:
    processing = "STREAMING" if kind == "ROUTE" else "BATCH"
    facet = {"processingType": processing, "integration": "DATA_SPINE", "jobType": kind}
    return {"namespace": namespace, "name": name, "facets": {"jobType": _facet("jobType", facet)}}


def _run_event(
    event_type: str, *, at: datetime, run_id: str, job: Document, facets: Mapping[str, Document]
) -> Document:
    return {
        **_event("RunEvent", at),
        "eventType": event_type,
        "run": {"runId": run_id, "facets": dict(facets)},
        "job": job,
    }


def _event(kind: str, at: datetime) -> Document:
    return {
        "eventTime": rfc3339(at),
        "producer": PRODUCER,
        "schemaURL": f"{SPEC}#/$defs/{kind}",
    }


def _facet(key: str, value: Mapping[str, Any]) -> Document:
    return {"_producer": PRODUCER, "_schemaURL": _SCHEMAS[key], **value}
