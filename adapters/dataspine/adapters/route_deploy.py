"""Point ``route.deploy``: may this CDC route be deployed?"""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from dataspine.adapters import access, applied_route, at_rest, route_sinks
from dataspine.adapters.own_state import own_key
from dataspine.adapters.routes import open_letters
from dataspine.adapters.session import Session
from dataspine.bundles import verify
from dataspine.cdc.postgres import CatalogTable, PostgresSource
from dataspine.cdc.route import Route, Source, Table, load_route, read_route
from dataspine.cdc.sink_table import require_names
from dataspine.cdc.state import RouteStore, StoredRoute, applied
from dataspine.core import secret
from dataspine.core.errors import ConflictError, InputError
from dataspine.decisions.decision import Decision, DecisionInput
from dataspine.lineage import events

__all__ = [
    "Forgotten",
    "Plan",
    "apply",
    "destroy",
    "forget",
    "open_source",
    "origins",
    "plan",
    "question",
    "question_again",
    "slot_name",
    "unfiltered_rules",
]

POINT = "route.deploy"
UNFILTERED = "row-rules-without-filter"
_TAG_LENGTH = 12
_WORDS_LENGTH = 63 - len("spine__") - _TAG_LENGTH


@dataclass(frozen=True, slots=True)
class Plan:
    """A route file, what was asked about it, and what was decided."""

    route: Route
    facts: dict[str, Any]
    decision: Decision
    asks_per_class: tuple[str, ...]
    applied: bool = False

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return {
            **self.decision.document(),
            "route": self.route.name,
            "applied": self.applied,
            "asks_per_class": list(self.asks_per_class),
        }


def plan(session: Session, path: Path) -> Plan:
    """Say whether the route may be deployed; change nothing but the journal."""
    route = load_route(path)
    described = _describe(session, route)
    asked = _question(session, route, described)
    _require_sinks(session, route, asked, described)
    decision = session.decide(asked)
    with session.database.begin() as connection:
        session.journal.record(
            connection, decision, name=route.name, actor=session.principal, acted=False
        )
    return Plan(route, dict(asked.facts), decision, unfiltered_rules(session))


def apply(session: Session, path: Path) -> Plan:
    """Record the route as desired when policy allows it; the runner creates slot and sink.

    Route, journal row and lineage event are one transaction; a denial writes its journal row alone.
    """
    route = load_route(path)
    access.require(session, access.DEPLOY, route.name)
    described = _describe(session, route)
    asked = _question(session, route, described)
    _require_sinks(session, route, asked, described)
    decision = session.decide(asked)
    with session.database.begin() as connection:
        session.journal.record(
            connection, decision, name=route.name, actor=session.principal, acted=decision.allow
        )
        if decision.allow:
            RouteStore(session.database).save(
                connection,
                applied(
                    route,
                    {name: list(table.attributes) for name, table in described.items()},
                    asked.facts,
                    decision.decision_id,
                    session.clock(),
                ),
            )
            session.outbox.write(
                connection,
                events.route_deployed(
                    workspace=session.workspace.name,
                    route=route.name,
                    facts=asked.facts,
                    decision=decision,
                    at=session.clock(),
                    origins=origins(session, route),
                ),
            )
    return Plan(
        route, dict(asked.facts), decision, unfiltered_rules(session), applied=decision.allow
    )


def _require_sinks(
    session: Session,
    route: Route,
    asked: DecisionInput,
    described: Mapping[str, CatalogTable],
) -> None:
    """Refuse sinks that are another route's, and rows here or there that would stay as they are."""
    _require_letters(session, route)
    route_sinks.require_usable(session, route)
    relations = {name: table.relation for name, table in described.items()}
    at_rest.require_allowed(session, route, asked.facts["tables"], relations)


def _require_letters(session: Session, route: Route) -> None:
    """Refuse to move a route's dead letters to another region while rows are parked in this one."""
    stored = RouteStore(session.database).find(route.name)
    if stored is None or stored.facts["dead_letter"]["region"] == route.dead_letter_region:
        return
    with open_letters(session, stored) as letters:
        parked = letters.counts().get("parked", 0) if letters else 0
    if parked:
        region = stored.facts["dead_letter"]["region"]
        raise ConflictError(
            f"rows of the route are parked in {region}, where it would not find them: {parked:,}",
            where=str(route.path),
            remedy="Stop the route, erase them (`spine cdc dlq purge --parked --older-than 1s`), "
            "destroy it, then apply and run it: its snapshot parks rows anew.",
            code="cdc.letters_left",
        )


def unfiltered_rules(session: Session) -> tuple[str, ...]:
    """Return the codes of custom row rules that the compiled filter leaves out.

    Beside one of these OPA is asked for each class of rows. ``*`` is any rule: nothing is known.
    """
    current = session.source.current()
    if current is None:
        return ("*",)
    return tuple(verify(current[1], session.trust).metadata.get(UNFILTERED) or ())


def destroy(session: Session, path: Path) -> str:
    """Drop what the route made at its sources, forget that it is desired, and return its name.

    Of an applied route it is what was applied that is dropped, whatever the file says by now.
    """
    route = load_route(path)
    access.require(session, access.DEPLOY, route.name)
    routes = RouteStore(session.database)
    stored = routes.find(route.name)
    if stored is not None and stored.document is not None:
        route = read_route(stored.document, stored.path)
    for source in route.sources:
        with contextlib.closing(open_source(session, route, source.name)) as opened:
            opened.destroy()
    routes.remove(route.name)
    return route.name


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A route that is desired no more, and what it left: a slot and a publication per source."""

    route: str
    slots: Mapping[str, str]
    parked: int

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        left = {
            source: [
                f"SELECT pg_drop_replication_slot('{slot}')",
                f"DROP PUBLICATION IF EXISTS {slot}",
            ]
            for source, slot in self.slots.items()
        }
        return {"route": self.route, "forgotten": True, "parked": self.parked, "left": left}


def forget(session: Session, path: Path) -> Forgotten:
    """Forget that a route is desired, without asking its sources, which may be gone for good."""
    name = load_route(path).name
    access.require(session, access.DEPLOY, name)
    routes = RouteStore(session.database)
    stored = routes.get(name)
    with open_letters(session, stored) as letters:
        parked = sum(rows for rows, _ in letters.parked_by_sink().values()) if letters else 0
    sources = [source["name"] for source in stored.facts["sources"]]
    slots = {each: slot_name(session.workspace.state, name, each) for each in sources}
    routes.remove(name)
    return Forgotten(name, slots, parked)


def question(session: Session, route: Route) -> DecisionInput:
    """Translate a route, its tables' columns and their registered classifications into facts."""
    return _question(session, route, _describe(session, route))


def _describe(session: Session, route: Route) -> dict[str, CatalogTable]:
    described: dict[str, CatalogTable] = {}
    for source in route.sources:
        with contextlib.closing(open_source(session, route, source.name)) as opened:
            described |= {table.relation.name: table for table in opened.check()}
    return described


def _question(
    session: Session, route: Route, described: Mapping[str, CatalogTable]
) -> DecisionInput:
    tables = []
    for source in route.sources:
        for table in source.tables:
            relation = described[table.short_name].relation
            require_names(relation, f"{route.path}:{table.line}")
            keys = {c.name for c in relation.columns if c.key}
            names = [c.name for c in relation.columns]
            tables.append(_table_facts(session, source.name, table, names, keys))
    return DecisionInput(
        POINT,
        session.clock(),
        {
            "name": route.name,
            "sources": [
                {"name": s.name, "region": s.region, "line": s.line} for s in route.sources
            ],
            "tables": tables,
            "sinks": [
                {"name": s.name, "region": s.region, "line": s.line, "masks": dict(s.masks)}
                for s in route.sinks
            ],
            "dead_letter": {
                "region": route.dead_letter_region,
                "line": route.dead_letter_line,
            },
        },
    )


def question_again(session: Session, stored: StoredRoute) -> DecisionInput:
    """Ask about an applied route as of now: its columns as they are classified by now."""
    tables = applied_route.classified_now(session, stored)
    return DecisionInput(POINT, session.clock(), {**stored.facts, "tables": tables})


def _column_facts(
    session: Session, table: Table, names: list[str], keys: set[str]
) -> list[dict[str, Any]]:
    """Return each column with its classifications; a column in no registered schema has none."""
    classifications = applied_route.column_classifications(session, table.subject)
    return [
        {
            "path": name,
            "classifications": classifications(name),
            "key": name in keys,
            "line": table.line,
        }
        for name in names
    ]


def open_source(session: Session, route: Route, name: str) -> PostgresSource:
    """Open a route's source; its address comes from the reference in the route file."""
    source = next(s for s in route.sources if s.name == name)
    slot = slot_name(session.workspace.state, route.name, name)
    return PostgresSource(
        _address(session, source),
        [t.name for t in source.tables],
        slot=slot,
        publication=slot,
        label=f"route {route.name}, source {name}",
    )


def _address(session: Session, source: Source) -> str:
    text = secret.resolve(source.dsn, root=session.workspace.root)
    if not secret.comes_from_file(source.dsn):
        return text
    own = {"password": "", **_parsed(text, source.dsn)}
    return str(make_dsn(**{**own, "passfile": secret.PASSFILE}))


def slot_name(state: Path, route: str, source: str) -> str:
    """Return what slot and publication are called: 63 characters at most, PostgreSQL's limit.

    A new snapshot drops what has this name. So nobody else may have it: not a route of that name in
    another workspace or clone, nor ``a-b`` of ``c`` where this is ``a`` of ``b-c``. The end of the
    name is keyed with what only this workspace's state has.
    """
    key = own_key(state, "slot.key")
    tag = hmac.digest(key, f"{route}\0{source}".encode(), "sha256").hex()[:_TAG_LENGTH]
    words = f"{route}_{source}".replace("-", "_")[:_WORDS_LENGTH]
    return f"spine_{words}_{tag}"


def origins(session: Session, route: Route) -> dict[str, events.Origin]:
    """Return where each source is, as lineage names it; a unix socket is ``localhost``."""
    found = {}
    for source in route.sources:
        dsn = _parsed(secret.resolve(source.dsn, root=session.workspace.root), source.dsn)
        host = dsn.get("host", "localhost")
        address = "localhost" if host.startswith("/") else host
        found[source.name] = events.Origin(
            f"postgres://{address}:{dsn.get('port', '5432')}", dsn.get("dbname", "postgres")
        )
    return found


def _parsed(text: str, where: str) -> dict[str, str]:
    try:
        return parse_dsn(text)
    except psycopg2.ProgrammingError:  # which quotes it
        raise InputError(
            "the connection string cannot be read",
            where=where,
            remedy="Write postgresql://user:password@host:port/database, or key=value pairs.",
            code="cdc.dsn_invalid",
        ) from None


def _table_facts(
    session: Session, source: str, table: Table, names: list[str], keys: set[str]
) -> dict[str, Any]:
    return {
        "name": table.short_name,
        "source": source,
        "subject": table.subject,
        "line": table.line,
        "homes": table.homes if isinstance(table.homes, str) else list(table.homes),
        "home": dict(table.home),
        "guard_columns": list(table.guard_columns),
        "columns": _column_facts(session, table, names, keys),
    }
