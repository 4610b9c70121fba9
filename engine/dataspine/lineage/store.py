"""The lineage kept here: events as they came, and the jobs, runs, datasets and edges they tell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dataspine.core.clock import Clock, rfc3339, utc_now
from dataspine.core.database import Database
from dataspine.core.errors import NotFoundError
from dataspine.lineage._fold import Fold
from dataspine.lineage._tables import aliases, datasets, edges, events, jobs, runs
from dataspine.lineage.graph import EDGES_PER_NODE, Edge, Walk, layout, walk
from dataspine.lineage.outbox import LOCAL, Event, entry_id, pending, settle

__all__ = ["LineageStore"]

_CHUNK = 500
# Edges of one question; what a node has beyond them is not counted.
MAX_READ = 10_000
_OPERATION = "dataSpine_operation"
_DECISION = "dataSpine_policyDecision"


class LineageStore:
    """What happened to which data, in this workspace.

    Reading first takes over what lies visible in the outbox, so it always shows what was written.
    """

    def __init__(self, database: Database, *, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def ingest(self, event: Event) -> str:
        """Take an event and return its id; one that is known changes nothing.

        Raises ``InputError`` when it cannot be used. Secrets are removed first.
        """
        return self.ingest_many([event])[0]

    def ingest_many(self, several: Iterable[Event]) -> list[str]:
        """Take events in one transaction, all or none, and return their ids."""
        checked = [entry_id(event) for event in several]
        with self._database.begin() as connection:
            _take(connection, [(identity, body) for identity, body, _ in checked])
        return [identity for identity, _, _ in checked]

    def catch_up(self) -> int:
        """Take over what is visible in the outbox, and return how many events that were."""
        taken = 0
        while True:
            with self._database.read() as connection:
                if not pending(connection, LOCAL, limit=1):
                    return taken
            with self._database.begin() as connection:
                entries = pending(connection, LOCAL, limit=_CHUNK)
                _take(connection, [(entry.id, entry.body) for entry in entries])
                outcomes = {entry.seq: ("delivered", "") for entry in entries}
                settle(connection, LOCAL, outcomes, at=rfc3339(self._clock()))
            taken += len(entries)

    def graph(
        self,
        node: str | None = None,
        *,
        depth: int = 3,
        direction: str = "both",
        budget: int = 200,
    ) -> dict[str, Any]:
        """Return nodes with their places, and edges, around a node or of everything.

        ``depth`` counts edges; ``direction`` is ``both``, ``upstream`` or ``downstream``. At most
        ``budget`` nodes are shown, and three times as many edges; each node says how many of its
        neighbours are not, and ``cut`` whether more edges are there. Without a node, the newest are
        shown. Raises ``NotFoundError`` for an unknown node.
        """
        self.catch_up()
        with self._database.read() as connection:
            view = _View(connection)
            if node is None:
                found = view.overview(budget)
            else:
                root = view.root(node)
                found = walk(
                    root,
                    upstream=view.upstream if direction != "downstream" else None,
                    downstream=view.downstream if direction != "upstream" else None,
                    depth=depth,
                    budget=budget,
                )
                node = root
            document = view.document(found.nodes, found.edges)
            # What could not all be read is not all shown either.
            return {"root": node, "hidden": found.hidden, "cut": found.cut or view.cut, **document}

    def namespaces(self) -> list[str]:
        """List the namespaces of datasets and jobs."""
        self.catch_up()
        both = sa.union(sa.select(jobs.c.namespace), sa.select(datasets.c.namespace))
        with self._database.read() as connection:
            return sorted(connection.scalars(both))

    def datasets(
        self, namespace: str | None = None, *, limit: int = 100, offset: int = 0
    ) -> list[dict[str, Any]]:
        """List datasets, newest first."""
        return self._things(datasets, namespace, limit, offset)

    def jobs(
        self, namespace: str | None = None, *, limit: int = 100, offset: int = 0
    ) -> list[dict[str, Any]]:
        """List jobs, newest first."""
        return self._things(jobs, namespace, limit, offset)

    def runs(self, node: str, *, limit: int = 50) -> list[dict[str, Any]]:
        """List the runs of a job, or those of the jobs beside a dataset, newest first."""
        self.catch_up()
        with self._database.read() as connection:
            beside = _View(connection).jobs_of(node)
            statement = sa.select(runs).where(runs.c.node.in_(beside))
            statement = statement.order_by(runs.c.updated_at.desc(), runs.c.run_id.desc())
            return [_run(row) for row in connection.execute(statement.limit(limit)).mappings()]

    def run(self, run_id: str) -> dict[str, Any]:
        """Return a run with its events by time; raise ``NotFoundError`` for an unknown one."""
        self.catch_up()
        with self._database.read() as connection:
            found = connection.execute(sa.select(runs).where(runs.c.run_id == run_id))
            row = found.mappings().one_or_none()
            if row is None:
                raise NotFoundError(
                    "no such run", where=run_id, remedy="GET /api/v1/runs lists the runs there are."
                )
            told = sa.select(events.c.body).where(events.c.run_id == run_id)
            told = told.order_by(events.c.event_time, events.c.seq).limit(1000)
            return {**_run(row), "events": [json.loads(b) for b in connection.scalars(told)]}

    def search(self, text: str, *, limit: int = 20) -> list[dict[str, Any]]:
        """Find datasets and jobs whose name or namespace contains the text."""
        self.catch_up()
        found = []
        with self._database.read() as connection:
            for kind, table in (("dataset", datasets), ("job", jobs)):
                statement = (
                    sa.select(table.c.node, table.c.namespace, table.c.name)
                    .where(
                        sa.or_(
                            table.c.name.icontains(text, autoescape=True),
                            table.c.namespace.icontains(text, autoescape=True),
                        )
                    )
                    .order_by(
                        ~table.c.name.icontains(text, autoescape=True),
                        sa.func.length(table.c.name),
                        table.c.node,
                    )
                    .limit(limit)
                )
                found += [
                    {"id": r.node, "kind": kind, "namespace": r.namespace, "name": r.name}
                    for r in connection.execute(statement)
                ]
        wanted = text.casefold()
        # A hit in the name tells more than one in the namespace.
        found.sort(
            key=lambda one: (wanted not in one["name"].casefold(), len(one["name"]), one["id"])
        )
        return found[:limit]

    def _things(
        self, table: sa.Table, namespace: str | None, limit: int, offset: int
    ) -> list[dict[str, Any]]:
        self.catch_up()
        statement = sa.select(table).order_by(table.c.updated_at.desc(), table.c.node)
        if namespace is not None:
            statement = statement.where(table.c.namespace == namespace)
        with self._database.read() as connection:
            rows = connection.execute(statement.limit(limit).offset(offset)).mappings()
            return [
                {
                    "id": row["node"],
                    "namespace": row["namespace"],
                    "name": row["name"],
                    "facets": json.loads(row["facets"]),
                    "updated_at": row["updated_at"],
                }
                for row in rows
            ]


def _take(connection: sa.Connection, entries: Sequence[tuple[str, str]]) -> None:
    known = set(
        connection.scalars(
            sa.select(events.c.id).where(events.c.id.in_([identity for identity, _ in entries]))
        )
    )
    fold = Fold(connection)
    fresh = {identity: body for identity, body in entries if identity not in known}
    fold.add({identity: (body, json.loads(body)) for identity, body in fresh.items()})


def _run(row: Mapping[Any, Any]) -> dict[str, Any]:
    facets = json.loads(row["facets"])
    return {
        "id": row["run_id"],
        "job": row["node"],
        "state": row["state"],
        "started_at": row["started_at"],
        "ended_at": row["ended_at"],
        "updated_at": row["updated_at"],
        "operation": (facets.get(_OPERATION) or {}).get("operation"),
        "decision": facets.get(_DECISION),
        "facets": facets,
    }


class _View:
    """One snapshot of the edges, with every alias replaced by the node it stands for.

    At most ``most`` edges are read; ``cut`` tells whether there were more.
    """

    def __init__(self, connection: sa.Connection, *, most: int = MAX_READ) -> None:
        self._connection = connection
        self._most = most
        self._left = most  # edges that may yet be read
        self._masked: dict[Edge, list[str]] = {}
        self.cut = False
        rows = connection.execute(sa.select(aliases))
        self._canonical: dict[str, str] = {row.alias: row.node for row in rows}
        self._members: dict[str, list[str]] = {}
        for alias in self._canonical:
            self._members.setdefault(self.canonical(alias), []).append(alias)

    def canonical(self, node: str) -> str:
        seen = {node}
        while (other := self._canonical.get(node)) is not None and other not in seen:
            seen.add(other)
            node = other
        return node

    def root(self, node: str) -> str:
        for table in (datasets, jobs):
            if self._connection.scalar(sa.select(table.c.node).where(table.c.node == node)):
                return self.canonical(node)
        raise NotFoundError(
            "no such dataset or job",
            where=node,
            remedy="Search for it; a node is dataset:NAMESPACE:NAME or job:NAMESPACE:NAME.",
        )

    def upstream(self, nodes: Iterable[str]) -> list[Edge]:
        return self._edges(edges.c.target, nodes)

    def downstream(self, nodes: Iterable[str]) -> list[Edge]:
        return self._edges(edges.c.source, nodes)

    def jobs_of(self, node: str) -> list[str]:
        root = self.root(node)
        if root.startswith("job:"):
            return [root]
        near = {edge[0] for edge in self.upstream([root])}
        near |= {edge[1] for edge in self.downstream([root])}
        return sorted(other for other in near if other.startswith("job:"))

    def overview(self, budget: int) -> Walk:
        newest = sa.union_all(
            sa.select(datasets.c.node, datasets.c.updated_at),
            sa.select(jobs.c.node, jobs.c.updated_at),
        ).subquery()
        ordered = sa.select(newest.c.node).order_by(newest.c.updated_at.desc(), newest.c.node)
        every = dict.fromkeys(self.canonical(n) for n in self._connection.scalars(ordered))
        shown = frozenset(list(every)[:budget])
        between = sorted(edge for edge in self.downstream(sorted(shown)) if edge[1] in shown)
        most = budget * EDGES_PER_NODE
        hidden = len(every) - len(shown)
        return Walk(shown, frozenset(between[:most]), hidden, len(between) > most)

    def document(self, shown: frozenset[str], between: frozenset[Edge]) -> dict[str, Any]:
        places = layout(shown, between)
        self._left = 2 * self._most
        up, down = self.upstream(sorted(shown)), self.downstream(sorted(shown))
        beyond_up = _beyond(((target, source) for source, target in up), shown)
        beyond_down = _beyond(down, shown)
        described = self._described(shown)
        return {
            "nodes": [
                {
                    **described[node],
                    "layer": places[node].layer,
                    "order": places[node].order,
                    "x": places[node].x,
                    "y": places[node].y,
                    "hidden": {
                        "upstream": beyond_up.get(node, 0),
                        "downstream": beyond_down.get(node, 0),
                    },
                }
                for node in sorted(shown, key=lambda n: (places[n].layer, places[n].order, n))
            ],
            "edges": [
                {"source": s, "target": t, "masked": self._masked[(s, t)]}
                for s, t in sorted(between)
            ],
        }

    def _edges(self, end: sa.Column[str], nodes: Iterable[str]) -> list[Edge]:
        """Return the edges that have one of the nodes at the end, and remember what they mask."""
        wanted = [m for node in nodes for m in (node, *self._members.get(node, ()))]
        found: dict[Edge, None] = {}
        for start in range(0, len(wanted), _CHUNK):
            part = wanted[start : start + _CHUNK]
            statement = (
                sa.select(edges).where(end.in_(part)).order_by(edges.c.source, edges.c.target)
            )
            rows = self._connection.execute(statement.limit(self._left + 1)).all()
            self.cut = self.cut or len(rows) > self._left
            for row in rows[: self._left]:
                edge = (self.canonical(row.source), self.canonical(row.target))
                if edge[0] != edge[1]:
                    found[edge] = None
                    columns = json.loads(row.masked)
                    known = self._masked.get(edge, [])
                    self._masked[edge] = sorted({*known, *columns}) if columns else known
            self._left -= min(len(rows), self._left)
        return list(found)

    def _described(self, shown: Iterable[str]) -> dict[str, dict[str, Any]]:
        names = {m: node for node in shown for m in (node, *self._members.get(node, ()))}
        found: dict[str, dict[str, Any]] = {}
        for kind, table in (("dataset", datasets), ("job", jobs)):
            for start in range(0, len(names), _CHUNK):
                part = list(names)[start : start + _CHUNK]
                for row in self._connection.execute(sa.select(table).where(table.c.node.in_(part))):
                    node = names[row.node]
                    entry = found.setdefault(node, _blank(node, kind))
                    facets = json.loads(row.facets)
                    if row.node == node:
                        entry |= {"namespace": row.namespace, "name": row.name}
                        entry["facets"] = {**entry["facets"], **facets}
                    else:
                        entry["aliases"].append({"namespace": row.namespace, "name": row.name})
                        # The registry knows types and meaning; the table's own facets win else.
                        entry["facets"] = _joined(entry["facets"], facets)
                    entry["updated_at"] = max(entry["updated_at"], row.updated_at)
        for node, state in self._states([n for n in found if n.startswith("job:")]).items():
            found[node] |= state
        for entry in found.values():
            entry["labels"] = _labels(entry["facets"])
        return found

    def _states(self, nodes: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the newest run's state and decision of each job."""
        states: dict[str, dict[str, Any]] = {}
        newest = (
            sa.select(runs.c.node, sa.func.max(runs.c.updated_at).label("at"))
            .where(runs.c.node.in_(nodes))
            .group_by(runs.c.node)
            .subquery()
        )
        statement = sa.select(runs).join(
            newest, sa.and_(runs.c.node == newest.c.node, runs.c.updated_at == newest.c.at)
        )
        for row in self._connection.execute(statement.order_by(runs.c.run_id)).mappings():
            run = _run(row)
            decision = run["decision"] or {}
            states[run["job"]] = {
                "state": run["state"],
                "operation": run["operation"],
                "result": decision.get("result"),
            }
        return states


def _blank(node: str, kind: str) -> dict[str, Any]:
    name = node.partition(":")[2]
    return {
        "id": node,
        "kind": kind,
        "namespace": "",
        "name": name,
        "aliases": [],
        "facets": {},
        "updated_at": "",
    }


def _joined(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dataset's facets with those of its other name; described fields are preferred."""
    joined = {**other, **own}
    schema = other.get("schema") or {}
    if any(f.get("type") for f in schema.get("fields") or ()):
        joined["schema"] = schema
    return joined


def _labels(facets: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card shows of the tags: classifications of columns, the region."""
    tags = (facets.get("tags") or {}).get("tags")
    classes: dict[str, int] = {}
    region = None
    for tag in tags if isinstance(tags, list) else ():
        key, value = str(tag.get("key")), str(tag.get("value"))
        if key == "classification":
            classes[value] = classes.get(value, 0) + 1
        elif key == "region":
            region = value
    return {"classifications": classes, "region": region}


def _beyond(pairs: Iterable[Edge], shown: Iterable[str]) -> dict[str, int]:
    """Count for each shown node (first of the pair) the others that are not shown."""
    inside = frozenset(shown)
    others: dict[str, set[str]] = {}
    for node, other in pairs:
        if other not in inside:
            others.setdefault(node, set()).add(other)
    return {node: len(found) for node, found in others.items()}
