"""For operators: is it alive, is it ready, what does it count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from dataspine.adapters.readiness import require_ready
from dataspine.adapters.routes import RouteView, views
from dataspine.adapters.session import Session
from dataspine.core.identity import acting
from dataspine.web.fleet import FleetMetrics

__all__ = ["router"]

_SINK = ("route", "sink", "region")
_SOURCE = ("route", "source")


def router(session: Session, cut: Mapping[str, int]) -> APIRouter:
    """Return the routes; ``cut`` counts connections that were closed, by reason."""
    routes = APIRouter(tags=["operations"])
    metrics = CollectorRegistry(auto_describe=False)
    metrics.register(_Connections(cut))
    metrics.register(_Collector(session))
    metrics.register(FleetMetrics(session))

    @routes.get("/healthz")
    async def healthz() -> dict[str, bool]:
        """Answer while the process serves, however busy its workers are."""
        return {"ok": True}

    @routes.get("/readyz")
    def readyz() -> dict[str, Any]:
        """Answer 200 when the database is up and a bundle was active once.

        Else 503: `where` is what is not ready, `database`, `opa` or `bundle`. With `auth` only who
        sends a token learns which bundle it is.
        """
        require_ready(session)
        ready: dict[str, Any] = {"ready": True, "database": "up"}
        if session.workspace.settings.tokens and acting() is None:
            return ready
        return {**ready, "bundle": session.revision}

    @routes.get("/metrics", response_class=PlainTextResponse)
    def prometheus() -> Response:
        """Return the metrics in Prometheus's text form."""
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    @routes.get("/v1/summary")
    def summary() -> dict[str, Any]:
        """Return what the service counts, for people and for the demo."""
        return {
            "decisions": session.journal.counts(),
            "lineage": session.outbox.counts(),
            "revision": session.revision,
        }

    return routes


class _Connections(Collector):
    def __init__(self, cut: Mapping[str, int]) -> None:
        self._cut = cut

    def collect(self) -> Iterator[Metric]:
        counter = CounterMetricFamily(
            "dataspine_connections_cut",
            "Connections that were closed on clients that were late, too many, or sent too much.",
            labels=("reason",),
        )
        for reason, number in self._cut.items():
            counter.add_metric((reason,), number)
        yield counter


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
        found = views(self._session)
        yield from _routes(found)
        ages = GaugeMetricFamily(
            "dataspine_policy_age_seconds",
            "Since when OPA heard nothing of its control plane; a route has an OPA of its own.",
            labels=("route",),
        )
        told = {"": self._session.policy_age.seconds() if self._session.decides else None}
        for route, age in (told | {v.stored.name: v.policy_age for v in found}).items():
            if age is not None:
                ages.add_metric((route,), age)
        yield ages


_GAUGES = (
    ("cdc_lag_p95", "Source commit to sink commit, or what waits longer; seconds.", _SINK),
    ("cdc_lag_p50", "Source commit to sink commit; seconds.", _SINK),
    ("cdc_dlq_parked", "Rows that wait in the dead letter.", _SINK),
    ("cdc_dlq_oldest_age_seconds", "Since when the oldest parked row waits.", _SINK),
    ("cdc_clock_skew_seconds", "By how much the source's clock is ahead.", _SOURCE),
    ("cdc_slot_lag_bytes", "Log that the source keeps for the route.", _SOURCE),
    ("cdc_route_running", "1 while a process runs the desired route.", ("route",)),
    ("cdc_route_state", "1 for the state that the route is in.", ("route", "state")),
    ("cdc_status_age_seconds", "How old the route's own status is.", ("route",)),
)


def _routes(found: list[RouteView]) -> Iterator[Metric]:
    gauges = {name: GaugeMetricFamily(name, text, labels=of) for name, text, of in _GAUGES}
    records = CounterMetricFamily(
        "cdc_records", "Captured records by outcome.", labels=("route", "sink", "outcome")
    )
    for view in found:
        name = view.stored.name
        gauges["cdc_route_running"].add_metric((name,), view.is_running)
        gauges["cdc_route_state"].add_metric((name, view.state), 1)
        gauges["cdc_status_age_seconds"].add_metric((name,), view.age)
        for sink, region in view.regions.items():
            for share in ("p50", "p95"):
                lag = view.lag[sink][share]
                gauges[f"cdc_lag_{share}"].add_metric((name, sink, region), lag)
            if view.parked is not None:
                rows, age = view.parked.get(sink, (0, 0.0))
                gauges["cdc_dlq_parked"].add_metric((name, sink, region), rows)
                gauges["cdc_dlq_oldest_age_seconds"].add_metric((name, sink, region), age)
        for what, metric in (
            ("clock_skew", "cdc_clock_skew_seconds"),
            ("slot_lag_bytes", "cdc_slot_lag_bytes"),
        ):
            for source, value in view.sampled(what).items():
                gauges[metric].add_metric((name, source), value)
        for sink, words in view.outcomes.items():
            for word, number in words.items():
                records.add_metric((name, sink, word), number)
    yield from gauges.values()
    yield records
