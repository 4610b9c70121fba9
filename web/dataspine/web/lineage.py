"""Lineage: OpenLineage in, graphs and runs out, and the page that draws them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from dataspine.core.errors import DataSpineError, InputError, NotFoundError
from dataspine.lineage import LineageStore, Outbox, validate
from dataspine.web.answers import EVENT, EVENTS
from dataspine.web.body import read_json
from dataspine.web.guard import LARGEST, segment

__all__ = ["router"]

MAX_EVENT = 1_048_576
MAX_BATCH = 8 * 1_048_576
MAX_EVENTS = 1_000
# No inline script or style, nothing from elsewhere, no frame around it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_MEDIA = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}

Depth = Annotated[int, Query(ge=1, le=50)]
Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=LARGEST)]
Budget = Annotated[int, Query(ge=1, le=2000)]
Node = Annotated[str, Query(alias="nodeId", min_length=1, max_length=8192)]
Direction = Literal["both", "upstream", "downstream"]


def router(store: LineageStore, outbox: Outbox, *, permit: Callable[[], None]) -> APIRouter:
    """Return the routes of ingest, reading and the page.

    ``permit`` raises when whoever calls may not write lineage.
    """
    routes = APIRouter(tags=["lineage"])
    _add_ingest(routes, store, permit)
    _add_reading(routes, store)
    _add_page(routes, store, outbox)
    return routes


def _add_ingest(routes: APIRouter, store: LineageStore, permit: Callable[[], None]) -> None:
    @routes.post("/api/v1/lineage", status_code=201, openapi_extra=EVENT)
    async def ingest(request: Request) -> JSONResponse:
        """Take one run, job or dataset event; a known one is taken again without effect."""
        event = await read_json(request, max_bytes=MAX_EVENT)
        return await run_in_threadpool(_ingest, store, event, permit)

    @routes.post("/api/v1/lineage/batch", openapi_extra=EVENTS)
    async def ingest_batch(request: Request) -> dict[str, Any]:
        """Take an array of events; each that cannot be used is named, the others are kept."""
        events = await read_json(request, max_bytes=MAX_BATCH)
        if not isinstance(events, list) or len(events) > MAX_EVENTS:
            raise InputError(
                f"a batch is an array of at most {MAX_EVENTS} events",
                where="body",
                remedy="Send the bare array, in parts when it is longer.",
            )
        return await run_in_threadpool(_ingest_batch, store, events, permit)


def _ingest(store: LineageStore, event: Any, permit: Callable[[], None]) -> JSONResponse:
    permit()
    remarks = validate(event)
    return JSONResponse({"id": store.ingest(event), "warnings": remarks}, status_code=201)


def _ingest_batch(
    store: LineageStore, events: list[Any], permit: Callable[[], None]
) -> dict[str, Any]:
    permit()
    good, failed = [], []
    for index, event in enumerate(events):
        try:
            validate(event)
            good.append(event)
        except DataSpineError as error:
            failed.append({"index": index, "reason": str(error), "retriable": False})
    store.ingest_many(good)
    return {
        "status": "partial_success" if failed else "success",
        "summary": {
            "received": len(events),
            "successful": len(good),
            "failed": len(failed),
            "retriable": 0,
            "non_retriable": len(failed),
        },
        "failed_events": failed,
    }


def _add_reading(routes: APIRouter, store: LineageStore) -> None:
    @routes.get("/api/v1/lineage")
    def lineage(node: Node, depth: Depth = 20, direction: Direction = "both") -> dict[str, Any]:
        """Return what a node came from and goes to, in the form that Marquez's clients read."""
        return _marquez(store.graph(node, depth=depth, direction=direction, budget=2000))

    @routes.get("/api/v1/namespaces")
    def namespaces() -> dict[str, Any]:
        """List the namespaces."""
        return {"namespaces": [{"name": name} for name in store.namespaces()]}

    @routes.get("/api/v1/namespaces/{namespace}/datasets")
    def datasets(namespace: str, limit: Limit = 100, offset: Offset = 0) -> dict[str, Any]:
        """List a namespace's datasets."""
        return {"datasets": store.datasets(segment(namespace), limit=limit, offset=offset)}

    @routes.get("/api/v1/namespaces/{namespace}/jobs")
    def namespace_jobs(namespace: str, limit: Limit = 100, offset: Offset = 0) -> dict[str, Any]:
        """List a namespace's jobs."""
        return {"jobs": store.jobs(segment(namespace), limit=limit, offset=offset)}

    @routes.get("/api/v1/jobs")
    def jobs(limit: Limit = 100, offset: Offset = 0) -> dict[str, Any]:
        """List all jobs."""
        return {"jobs": store.jobs(limit=limit, offset=offset)}

    @routes.get("/api/v1/runs")
    def runs(node: Node, limit: Limit = 50) -> dict[str, Any]:
        """List the runs of a job, or of the jobs beside a dataset."""
        return {"runs": store.runs(node, limit=limit)}

    @routes.get("/api/v1/runs/{run_id}")
    def run(run_id: str) -> dict[str, Any]:
        """Return a run with its events."""
        return store.run(run_id)

    @routes.get("/api/v1/search")
    def search(
        q: Annotated[str, Query(min_length=1, max_length=200)], limit: Limit = 20
    ) -> dict[str, Any]:
        """Find datasets and jobs by a part of their names."""
        found = store.search(q, limit=limit)
        return {"totalCount": len(found), "results": found}


def _marquez(graph: dict[str, Any]) -> dict[str, Any]:
    incoming: dict[str, list[dict[str, str]]] = {}
    outgoing: dict[str, list[dict[str, str]]] = {}
    for edge in graph["edges"]:
        pair = {"origin": edge["source"], "destination": edge["target"]}
        incoming.setdefault(edge["target"], []).append(pair)
        outgoing.setdefault(edge["source"], []).append(pair)
    return {
        "graph": [
            {
                "id": node["id"],
                "type": node["kind"].upper(),
                "data": {
                    "id": {"namespace": node["namespace"], "name": node["name"]},
                    "namespace": node["namespace"],
                    "name": node["name"],
                    "facets": node["facets"],
                    "updatedAt": node["updated_at"],
                },
                "inEdges": incoming.get(node["id"], []),
                "outEdges": outgoing.get(node["id"], []),
            }
            for node in graph["nodes"]
        ],
        "hidden": graph["hidden"],
        "cut": graph["cut"],
    }


def _add_page(routes: APIRouter, store: LineageStore, outbox: Outbox) -> None:
    @routes.get("/lineage", include_in_schema=False)
    def page() -> Response:
        """Return the page."""
        return _static("index.html")

    @routes.get("/lineage/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        """Return a file of the page."""
        return _static(name)

    @routes.get("/lineage/graph")
    def graph(
        node: Annotated[str | None, Query(max_length=8192)] = None,
        depth: Depth = 3,
        direction: Direction = "both",
        budget: Budget = 200,
    ) -> dict[str, Any]:
        """Return nodes with their places, edges, and how many events are on their way."""
        found = store.graph(node, depth=depth, direction=direction, budget=budget)
        return {**found, "delivery": outbox.counts()}


def _static(name: str) -> Response:
    folder = files("dataspine.web").joinpath("static/lineage")
    # Only names that the package lists: no path of the caller's is ever opened.
    known = {entry.name: entry for entry in folder.iterdir()}
    if name not in known:
        raise NotFoundError("no such file", where=name[:200], remedy="See /lineage.")
    suffix = name.rpartition(".")[2]
    return Response(
        known[name].read_bytes(),
        media_type=_MEDIA.get(suffix, "application/octet-stream"),
        headers={
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        },
    )
