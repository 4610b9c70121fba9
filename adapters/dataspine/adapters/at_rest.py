"""Whether rows that are at a sink could go there as their columns are classified by now.

A route moves what changes; what lies at a sink stays as it was decided on then. So where `apply`
would change the classifications of a table, policy is asked about the rows that are there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dataspine.adapters import route_sinks
from dataspine.adapters.applied_route import UNCLASSIFIED
from dataspine.adapters.session import Session
from dataspine.cdc.duckdb_sink import DuckDbSink
from dataspine.cdc.event import Relation
from dataspine.cdc.gate import POINT, Action, typed, verdict_of
from dataspine.cdc.route import Route
from dataspine.cdc.sink_table import fold
from dataspine.cdc.state import RouteStore
from dataspine.core.errors import ConflictError, UnavailableError
from dataspine.decisions.decision import DecisionInput

__all__ = ["require_allowed", "row_facts"]

# More homes than this are not asked about one by one.
MAX_HOMES = 1_000

TableFacts = Mapping[str, Any]


def row_facts(route: Route, table: TableFacts, columns: Iterable[str], sink: str) -> dict[str, Any]:
    """Return the facts of ``row.replicate`` for rows of a table with these columns."""
    known = {column["path"]: column["classifications"] for column in table["columns"]}
    into = next(s for s in route.sinks if s.name == sink)
    return {
        "name": route.name,
        "table": table["name"],
        "homes": table["homes"],
        "home": table["home"],
        "columns": [
            {"path": name, "classifications": known.get(name, list(UNCLASSIFIED))}
            for name in columns
        ],
        "guard_columns": list(table["guard_columns"]),
        "sink": {"name": into.name, "region": into.region, "masks": dict(into.masks)},
    }


def require_allowed(
    session: Session,
    route: Route,
    tables: Sequence[TableFacts],
    relations: Mapping[str, Relation],
) -> None:
    """Raise ``ConflictError`` when rows at rest would be parked, of tables classified otherwise.

    ``tables`` are the facts that are about to be applied. Without an applied route nothing is
    asked: a first run empties the sink's tables.
    """
    stored = RouteStore(session.database).find(route.name)
    if stored is None:
        return
    before = {table["name"]: table for table in stored.facts["tables"]}
    changed = [t for t in tables if t["name"] in before and _differs(before[t["name"]], t)]
    for sink in route_sinks.sinks(session, route) if changed else ():
        for table, homes in _at_rest(sink, changed):
            columns = [column["path"] for column in before[table["name"]]["columns"]]
            facts = row_facts(route, table, columns, sink.name)
            _require_homes(session, sink, facts, relations[table["name"]], homes)


def _differs(before: TableFacts, now: TableFacts) -> bool:
    known = {column["path"]: set(column["classifications"]) for column in now["columns"]}
    return any(
        set(column["classifications"]) != known[column["path"]]
        for column in before["columns"]
        if column["path"] in known
    )


def _at_rest(
    sink: DuckDbSink, tables: Sequence[TableFacts]
) -> Iterator[tuple[TableFacts, list[tuple[str | None, ...]] | None]]:
    """Yield each table with rows at the sink, and the values of its guard column; None: unknown."""
    if not sink.path.exists():
        return
    found: list[tuple[TableFacts, list[tuple[str | None, ...]] | None]] = []
    with sink.open() as inside:  # and no longer: a running route waits for it
        for table in tables:
            there = inside.described(table["name"])
            if not there.has_rows:
                continue
            homes: list[tuple[str | None, ...]] | None = [()]
            for column in table["guard_columns"]:
                homes = None
                masked = column in sink.masks.get(table["name"], {})
                if masked or fold(column) not in there.columns:
                    continue
                values = inside.values(table["name"], column, MAX_HOMES + 1)
                homes = [(v,) for v in values] if len(values) <= MAX_HOMES else None
            found.append((table, homes))
    yield from found


def _require_homes(
    session: Session,
    sink: DuckDbSink,
    facts: dict[str, Any],
    relation: Relation,
    homes: list[tuple[str | None, ...]] | None,
) -> None:
    table, masks = relation.name, sink.masks.get(relation.name, {})
    kinds = {column.name: column.type for column in relation.columns}
    if homes is None:
        raise _differing(sink, table, "and their homes cannot be read there")
    for home in homes:
        row = {
            name: typed(kinds.get(name, "text"), value)
            for name, value in zip(facts["guard_columns"], home, strict=True)
        }
        decision = session.decide(DecisionInput(POINT, session.clock(), facts, row))
        if decision.policy is None:
            raise UnavailableError(
                "the decision engine gave no answer about the rows at the sink",
                where=str(sink.path),
                remedy="Try again; nothing was applied.",
                code="cdc.gate_unavailable",
            )
        verdict = verdict_of(decision, masks)
        if verdict.action is not Action.ALLOW:
            why = ", ".join(verdict.codes) or verdict.action.value
            raise _differing(
                sink, table, f"and rows of home {_shown(home)} may not be there: {why}"
            )


def _shown(home: tuple[str | None, ...]) -> str:
    return ", ".join(str(value)[:40] for value in home) or "of the whole table"


def _differing(sink: DuckDbSink, table: str, why: str) -> ConflictError:
    return ConflictError(
        f"columns of {table} are classified otherwise than when its rows went to the sink, {why}",
        where=str(sink.path),
        remedy=f"Destroy the route, remove the table {table} at the sink, then apply it.",
        code="cdc.at_rest_differs",
    )
