"""The sink files of a route: each is its own, and what is in them is as the route says."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from pathlib import Path

from dataspine.adapters.own_state import own_key
from dataspine.adapters.session import Session
from dataspine.cdc.duckdb_sink import DuckDbSink
from dataspine.cdc.mask import Masker
from dataspine.cdc.route import Route, read_route
from dataspine.cdc.sink_record import SinkOwner
from dataspine.cdc.state import RouteStore, StoredRoute
from dataspine.core.errors import ConflictError

__all__ = ["require_usable", "sinks"]


def sinks(session: Session, route: Route) -> list[DuckDbSink]:
    """Return the route's sinks with what they mask, and whose they are."""
    state = session.workspace.state
    key = own_key(state, "mask.key")
    # Each workspace and each clone has a key of its own, so two of one name are not one.
    own = hmac.digest(own_key(state, "slot.key"), b"workspace", "sha256").hex()[:16]
    tables = [table.short_name for source in route.sources for table in source.tables]
    return [
        DuckDbSink(
            sink.name,
            session.workspace.root / sink.path,
            {name: sink.table_masks(name) for name in tables},
            Masker(key, sink.purpose),
            SinkOwner(own, route.name, sink.region),
        )
        for sink in route.sinks
    ]


def require_usable(session: Session, route: Route) -> None:
    """Raise ``ConflictError`` when a sink's file is another sink's, or its rows masked otherwise.

    Raises ``UnavailableError`` when somebody has a file open; a running route does for moments.
    """
    stored = {each.name: each for each in RouteStore(session.database).all()}
    previous = _Previous(session, stored.pop(route.name, None))
    taken = dict(_taken(session, stored.values()))
    for opened in sinks(session, route):
        for key in _keys(opened.path):
            if (
                taken.setdefault(key, f"{route.name}/{opened.name}")
                != f"{route.name}/{opened.name}"
            ):
                raise ConflictError(
                    f"the sink file is that of the sink {taken[key]}",
                    where=str(opened.path),
                    remedy="Give each sink a file of its own.",
                    code="cdc.sink_foreign",
                )
        if opened.path.exists():
            with opened.open() as inside:
                for table in opened.masks:
                    inside.require_masks(table, previous.masks(opened, table))


class _Previous:
    """By what the rows at a sink are masked according to what was applied before."""

    def __init__(self, session: Session, route: StoredRoute | None) -> None:
        self._facts = route.facts["sinks"] if route is not None and not route.document else []
        document = route.document if route is not None else None
        before = sinks(session, read_route(document, Path())) if document else []
        self._sinks = {(sink.name, sink.path): sink for sink in before}

    def masks(self, sink: DuckDbSink, table: str) -> dict[str, str] | None:
        """Return mask by column; None when nobody knows."""
        same = self._sinks.get((sink.name, sink.path))
        if same is not None and table in same.masks:
            return same.identities(table)
        # A version that kept only facts applied it: key and purpose cannot have been another's.
        for facts in self._facts:
            if facts["name"] == sink.name:
                methods = {tuple(n.split(".", 1)): method for n, method in facts["masks"].items()}
                return {c: sink.masker.identity(m) for (of, c), m in methods.items() if of == table}
        return None


def _taken(session: Session, routes: Iterable[StoredRoute]) -> Iterator[tuple[object, str]]:
    for stored in routes:
        for sink in read_route(stored.document, Path()).sinks if stored.document else ():
            for key in _keys(session.workspace.root / sink.path):
                yield key, f"{stored.name}/{sink.name}"


def _keys(path: Path) -> list[object]:
    """Return what one file has in common under all its names, links included."""
    keys: list[object] = [path.resolve()]
    if path.exists():
        status = path.stat()
        keys.append((status.st_dev, status.st_ino))
    return keys
