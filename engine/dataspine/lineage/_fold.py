"""Folding events into jobs, runs, datasets, aliases and edges, many at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from dataspine.core.canonical import canonical
from dataspine.core.statement import upsert
from dataspine.lineage._tables import aliases, datasets, edges, events, jobs, runs
from dataspine.lineage.validate import event_time, kind_of

__all__ = ["Fold", "dataset_node", "job_node"]

Row = dict[str, Any]

_FINAL = frozenset({"COMPLETE", "FAIL", "ABORT"})
_STATES = {
    "START": "RUNNING",
    "RUNNING": "RUNNING",
    "COMPLETE": "COMPLETED",
    "FAIL": "FAILED",
    "ABORT": "ABORTED",
}


def dataset_node(value: Mapping[str, Any]) -> str:
    """Return a dataset's node id."""
    return f"dataset:{value['namespace']}:{value['name']}"


def job_node(value: Mapping[str, Any]) -> str:
    """Return a job's node id."""
    return f"job:{value['namespace']}:{value['name']}"


class Fold:
    """Adds events to what is stored: reads the rows they touch once, writes each once."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._jobs: dict[str, Row] = {}
        self._datasets: dict[str, Row] = {}
        self._runs: dict[str, Row] = {}
        self._edges: dict[tuple[str, str], Row] = {}
        self._aliases: dict[str, str] = {}

    def add(self, entries: Mapping[str, tuple[str, dict[str, Any]]]) -> None:
        """Add new events, id to (text, document)."""
        if not entries:
            return
        self._read([event for _, event in entries.values()])
        told = [self._fold(identity, *entry) for identity, entry in entries.items()]
        self._connection.execute(sa.insert(events), told)
        self._write(jobs, self._jobs.values(), ("node",))
        self._write(datasets, self._datasets.values(), ("node",))
        self._write(runs, self._runs.values(), ("run_id",))
        self._write(edges, self._edges.values(), ("source", "target"))
        links = [{"alias": alias, "node": node} for alias, node in self._aliases.items()]
        self._write(aliases, links, ("alias",))

    def _read(self, documents: Iterable[dict[str, Any]]) -> None:
        job_nodes, dataset_nodes, run_ids = set(), set(), set()
        for event in documents:
            if "job" in event:
                job_nodes.add(job_node(event["job"]))
            if "run" in event:
                run_ids.add(event["run"]["runId"])
            dataset_nodes |= {dataset_node(d) for d in _datasets_of(event)}
        for table, key, wanted, into in (
            (jobs, "node", job_nodes, self._jobs),
            (datasets, "node", dataset_nodes, self._datasets),
            (runs, "run_id", run_ids, self._runs),
        ):
            for row in self._select(table, table.c[key], wanted):
                into[row[key]] = {**row, "facets": json.loads(row["facets"])}
        for row in self._select(edges, edges.c.target, dataset_nodes | job_nodes):
            self._edges[row["source"], row["target"]] = row | {"masked": json.loads(row["masked"])}
        rows = self._connection.execute(sa.select(aliases))
        self._aliases = {row.alias: row.node for row in rows}

    def _select(self, table: sa.Table, column: sa.Column[Any], wanted: Iterable[str]) -> list[Row]:
        names = sorted(wanted)
        rows: list[Row] = []
        for start in range(0, len(names), 500):
            statement = sa.select(table).where(column.in_(names[start : start + 500]))
            rows += [dict(row) for row in self._connection.execute(statement).mappings()]
        return rows

    def _write(self, table: sa.Table, rows: Iterable[Row], key: tuple[str, ...]) -> None:
        values = [
            {
                name: canonical(value).decode() if isinstance(value, dict | list) else value
                for name, value in row.items()
            }
            for row in rows
        ]
        if not values:
            return
        changed = [column.name for column in table.c if column.name not in key]
        upsert(self._connection, table, values, key=key, change=changed)

    def _fold(self, identity: str, body: str, event: dict[str, Any]) -> Row:
        at = event_time(event)
        kind = kind_of(event)
        run_id = None
        for dataset in _datasets_of(event):
            self._dataset(dataset, at)
        if kind == "DatasetEvent":
            node = dataset_node(event["dataset"])
            self._columns_without_job(event["dataset"], at)
        else:
            node = job_node(event["job"])
            self._thing(self._jobs, node, event["job"], at)
            for dataset in event.get("inputs") or ():
                self._edge(dataset_node(dataset), node, None, at)
            for dataset in event.get("outputs") or ():
                self._edge(node, dataset_node(dataset), _masked(dataset), at)
        if kind == "RunEvent":
            run_id = str(event["run"]["runId"])
            self._run(run_id, node, event, at)
        return {
            "id": identity,
            "kind": kind,
            "event_type": event.get("eventType") or "OTHER",
            "event_time": at,
            "run_id": run_id,
            "node": node,
            "body": body,
        }

    def _thing(self, into: dict[str, Row], node: str, value: Mapping[str, Any], at: str) -> None:
        row = into.setdefault(
            node,
            {
                "node": node,
                "namespace": value["namespace"],
                "name": value["name"],
                "facets": {},
                "updated_at": at,
            },
        )
        row["updated_at"] = max(row["updated_at"], at)
        _merge(row["facets"], value.get("facets") or {})

    def _dataset(self, value: Mapping[str, Any], at: str) -> None:
        node = dataset_node(value)
        self._thing(self._datasets, node, value, at)
        links = ((value.get("facets") or {}).get("symlinks") or {}).get("identifiers")
        for link in links if isinstance(links, list) else ():
            if not (isinstance(link, dict) and {"namespace", "name"} <= link.keys()):
                continue
            alias = dataset_node(link)
            # The first to claim a name keeps it, and a claim that would close a circle is void.
            if alias not in self._aliases and self._resolved(node) != alias:
                self._aliases[alias] = node

    def _resolved(self, node: str) -> str:
        while node in self._aliases:
            node = self._aliases[node]
        return node

    def _run(self, run_id: str, node: str, event: Mapping[str, Any], at: str) -> None:
        kind = event.get("eventType") or "OTHER"
        row = self._runs.setdefault(
            run_id,
            {
                "run_id": run_id,
                "node": node,
                "state": "RUNNING",
                "started_at": None,
                "ended_at": None,
                "updated_at": at,
                "facets": {},
            },
        )
        if kind in _FINAL:
            row["ended_at"] = at
        # Events may come late: a run that has ended does not start again.
        if kind in _FINAL or row["ended_at"] is None:
            row["state"] = _STATES.get(kind, row["state"])
        row["started_at"] = min(row["started_at"] or at, at)
        row["updated_at"] = max(row["updated_at"], at)
        _merge(row["facets"], event["run"].get("facets") or {})

    def _edge(self, source: str, target: str, masked: list[str] | None, at: str) -> None:
        row = self._edges.setdefault(
            (source, target), {"source": source, "target": target, "masked": [], "updated_at": at}
        )
        row["updated_at"] = max(row["updated_at"], at)
        if masked is not None:
            row["masked"] = masked

    def _columns_without_job(self, dataset: Mapping[str, Any], at: str) -> None:
        """Draw edges that a dataset itself declares, as a view does."""
        target = dataset_node(dataset)
        for origin in _origins(dataset):
            self._thing(self._datasets, dataset_node(origin), origin, at)
            self._edge(dataset_node(origin), target, _masked(dataset), at)


def _datasets_of(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    own = [event["dataset"]] if kind_of(event) == "DatasetEvent" else []
    return [
        *own,
        *(event.get("inputs") or ()),
        *(event.get("outputs") or ()),
        *({**origin} for dataset in own for origin in _origins(dataset)),
    ]


def _origins(dataset: Mapping[str, Any]) -> list[dict[str, str]]:
    found = {(str(f["namespace"]), str(f["name"])) for _, f in _input_fields(dataset) if _named(f)}
    return [{"namespace": namespace, "name": name} for namespace, name in sorted(found)]


def _named(field: Mapping[str, Any]) -> bool:
    return isinstance(field.get("namespace"), str) and isinstance(field.get("name"), str)


def _masked(dataset: Mapping[str, Any]) -> list[str] | None:
    """Return the columns of which every input is masked, or None when nothing is said."""
    told: dict[str, bool] = {}
    for column, field in _input_fields(dataset):
        steps = field.get("transformations")
        steps = [s for s in steps if isinstance(s, dict)] if isinstance(steps, list) else []
        hidden = any(step.get("masking") is True for step in steps)
        told[column] = told.get(column, True) and hidden
    return sorted(column for column, hidden in told.items() if hidden) if told else None


def _input_fields(dataset: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return (column, input field) pairs of the column lineage; other shapes are passed over."""
    facet = (dataset.get("facets") or {}).get("columnLineage") or {}
    fields = facet.get("fields")
    pairs = []
    for column, entry in fields.items() if isinstance(fields, dict) else ():
        inputs = entry.get("inputFields") if isinstance(entry, dict) else None
        for field in inputs if isinstance(inputs, list) else ():
            if isinstance(field, dict):
                pairs.append((str(column), field))
    return pairs


def _merge(into: Row, facets: Mapping[str, Any]) -> None:
    """Replace facets whole, by name, as the specification says; ``_deleted`` removes one."""
    for name, facet in facets.items():
        if facet.get("_deleted") is True:
            into.pop(name, None)
        else:
            into[name] = facet
