"""The route file: sources, sinks, where parked rows live; every fault with its line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataspine.cdc.sink_table import fold
from dataspine.core.document import Document, load_document
from dataspine.core.errors import InputError

__all__ = ["Route", "Sink", "Source", "Table", "differences", "load_route", "read_route"]

_PURPOSE = "analytics"
_LAG_TARGET = "60s"


@dataclass(frozen=True, slots=True)
class Table:
    """One captured table: whose rows it holds, and where a row says so.

    ``homes`` is a tuple of geographies or ``"allowed"``; ``home`` is ``{"column": …}`` or
    ``{"constant": …}``. ``line`` is where the table stands in the file.
    """

    name: str
    subject: str | None
    homes: str | tuple[str, ...]
    home: Mapping[str, str]
    line: int

    @property
    def guard_columns(self) -> tuple[str, ...]:
        """The columns that a row rule reads."""
        return (self.home["column"],) if "column" in self.home else ()

    @property
    def short_name(self) -> str:
        """The name without its schema, as sinks and masks use it."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Source:
    """A database; ``dsn`` is a reference (``env:`` or ``file:``), never the connection string."""

    name: str
    engine: str
    region: str
    dsn: str
    tables: tuple[Table, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Sink:
    """Where rows go; ``masks`` maps ``<table>.<column>`` to a method."""

    name: str
    kind: str
    region: str
    path: str
    purpose: str
    masks: Mapping[str, str]
    line: int

    def table_masks(self, table: str) -> dict[str, str]:
        """Return the masked columns of one table (its short name) and their methods."""
        prefix = f"{table}."
        return {
            name.removeprefix(prefix): method
            for name, method in self.masks.items()
            if name.startswith(prefix)
        }


@dataclass(frozen=True, slots=True)
class Route:
    """One CDC flow, checked; ``document`` is the file's content with every default filled in."""

    name: str
    sources: tuple[Source, ...]
    sinks: tuple[Sink, ...]
    dead_letter_region: str
    dead_letter_line: int
    lag_target_seconds: int
    path: Path
    document: Mapping[str, Any]

    def table(self, short_name: str) -> Table:
        """Return the table of that short name; raises ``KeyError`` when the route has none."""
        for source in self.sources:
            for table in source.tables:
                if table.short_name == short_name:
                    return table
        raise KeyError(short_name)


def load_route(path: Path) -> Route:
    """Read and check a route file; raise ``InputError`` with the line of the first fault."""
    document = load_document(path, "route")
    route = _route(document, path)
    _require_unique(document, "source", ((s.name, s.line) for s in route.sources))
    _require_unique(document, "sink", ((s.name, s.line) for s in route.sinks))
    paths = ((os.path.normpath(s.path), s.line) for s in route.sinks)
    _require_unique(document, "sink path", paths)
    tables = [t for s in route.sources for t in s.tables]
    _require_table_names(document, tables)
    _require_masked_tables(document, route, {t.short_name for t in tables})
    return route


def read_route(value: Mapping[str, Any], path: Path) -> Route:
    """Return the route whose ``document`` this was; ``path`` is where its file lay."""
    return _route(Document(value, str(path), {}), path)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Name what differs between two documents: ``sinks.lake.masks.orders.note``, never values."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    changed = [path for path in old.keys() | new.keys() if old.get(path) != new.get(path)]
    return [".".join(path) for path in sorted(changed)]


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
        # In which order named things stand means nothing.
        parts = [(item["name"], item) for item in value]
    else:
        yield path, value
        return
    for key, child in parts:
        yield from _leaves(child, (*path, key))


def _route(document: Document, path: Path) -> Route:
    value = _complete(document.value)
    return Route(
        name=value["name"],
        sources=tuple(_source(document, i, item) for i, item in enumerate(value["sources"])),
        sinks=tuple(_sink(document, i, item) for i, item in enumerate(value["sinks"])),
        dead_letter_region=value["dead-letter"]["region"],
        dead_letter_line=document.line("/dead-letter/region"),
        lag_target_seconds=_seconds(value["slo"]["cdc-lag-p95"]),
        path=path,
        document=value,
    )


def _complete(value: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the defaults: what is left out and what is spelled out are the same route."""
    sinks = [
        {**sink, "purpose": sink.get("purpose", _PURPOSE), "masks": dict(sink.get("masks") or {})}
        for sink in value["sinks"]
    ]
    return {
        **value,
        "sinks": sinks,
        "slo": {"cdc-lag-p95": _LAG_TARGET, **(value.get("slo") or {})},
    }


def _source(document: Document, index: int, value: Mapping[str, Any]) -> Source:
    at = f"/sources/{index}"
    tables = tuple(
        Table(
            name=item["name"],
            subject=item.get("subject"),
            homes=item["homes"] if isinstance(item["homes"], str) else tuple(item["homes"]),
            home=dict(item["home"]),
            line=document.line(f"{at}/tables/{i}"),
        )
        for i, item in enumerate(value["tables"])
    )
    return Source(
        value["name"], value["engine"], value["region"], value["dsn"], tables, document.line(at)
    )


def _sink(document: Document, index: int, value: Mapping[str, Any]) -> Sink:
    return Sink(
        name=value["name"],
        kind=value["kind"],
        region=value["region"],
        path=value["path"],
        purpose=value["purpose"],
        masks=value["masks"],
        line=document.line(f"/sinks/{index}"),
    )


def _seconds(text: str) -> int:
    return int(text[:-1]) * (60 if text.endswith("m") else 1)


def _require_unique(document: Document, what: str, named: Iterable[tuple[str, int]]) -> None:
    seen: set[str] = set()
    for name, line in named:
        if name in seen:
            raise InputError(
                f"the {what} {name!r} stands twice",
                where=f"{document.name}:{line}",
                remedy="Name each once.",
            )
        seen.add(name)


def _require_table_names(document: Document, tables: Iterable[Table]) -> None:
    seen: dict[str, Table] = {}
    for table in tables:
        other = seen.setdefault(fold(table.short_name), table)
        if other is not table:
            raise InputError(
                f"the tables {other.name} and {table.name} are both {table.short_name} at a sink,"
                " which has no schemas and no case",
                where=f"{document.name}:{table.line}",
                remedy="Capture one of them by another route, into another sink file; or rename"
                " it at the source.",
                code="cdc.names_equal",
            )


def _require_masked_tables(document: Document, route: Route, tables: set[str]) -> None:
    for index, sink in enumerate(route.sinks):
        for name in sink.masks:
            if name.partition(".")[0] not in tables:
                raise InputError(
                    f"the mask {name!r} names no table of the route",
                    where=f"{document.name}:{document.line(f'/sinks/{index}/masks/{name}')}",
                    remedy=f"Write <table>.<column>; tables: {', '.join(sorted(tables))}.",
                )
