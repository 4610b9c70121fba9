"""For operators: is it alive, is it ready, what does it count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from dataspine.adapters.session import Session
from dataspine.core.errors import DataSpineError

__all__ = ["router"]


def router(session: Session) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["operations"])
    metrics = CollectorRegistry(auto_describe=False)
    metrics.register(_Collector(session))

    @routes.get("/healthz")
    def healthz() -> dict[str, bool]:
        """Answer while the process serves."""
        return {"ok": True}

    @routes.get("/readyz")
    def readyz() -> JSONResponse:
        """Answer 200 when the database is up and a bundle was active once."""
        checks = {"database": _database(session), "bundle": session.active.revision}
        ready = checks["database"] == "up"
        return JSONResponse({"ready": ready, **checks}, status_code=200 if ready else 503)

    @routes.get("/metrics")
    def prometheus() -> Response:
        """Return the metrics in Prometheus's text form."""
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    @routes.get("/v1/summary")
    def summary() -> dict[str, Any]:
        """Return what the service counts, for people and for the demo."""
        return {
            "decisions": session.journal.counts(),
            "lineage": session.outbox.counts(),
            "revision": session.active.revision,
        }

    return routes


def _database(session: Session) -> str:
    try:
        session.database.require_current()
    except DataSpineError as error:
        return error.problem
    return "up"


class _Collector(Collector):
    """Reads the database when it is asked, so several processes report the same."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def collect(self) -> Iterator[Metric]:
        """Yield the current values."""
        decisions = CounterMetricFamily(
            "spine_decisions", "Decisions of the journal.", labels=("point", "result")
        )
        for point, counted in self._session.journal.counts().items():
            for result, number in counted.items():
                decisions.add_metric((point, result), number)
        yield decisions
        lineage = GaugeMetricFamily(
            "spine_lineage_events", "Lineage events by state.", labels=("state",)
        )
        counts = self._session.outbox.counts()
        lineage.add_metric(("delivered",), counts["delivered"])
        lineage.add_metric(("pending",), counts["pending"])
        lineage.add_metric(("dead",), counts["dead"])
        yield lineage
