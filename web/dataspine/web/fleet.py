"""The fleet of sidecars, and what their OPAs logged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict, Field

from dataspine.adapters import sidecar
from dataspine.adapters.session import Session
from dataspine.core.clock import parse_rfc3339
from dataspine.core.errors import InputError
from dataspine.decisions.decision_log import LogSearch
from dataspine.web.body import StrictRoute
from dataspine.web.guard import LARGEST

__all__ = ["FleetMetrics", "router"]


class Release(BaseModel):
    """An order to offer a bundle again, and why."""

    model_config = ConfigDict(extra="forbid")
    sequence: int = Field(ge=1, le=LARGEST)
    reason: str = Field(max_length=1_000)


def router(session: Session) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["fleet"], route_class=StrictRoute)

    @routes.get("/v1/fleet")
    def fleet() -> dict[str, Any]:
        """Return which instance decides by which revision, what it refused, and what is held."""
        return {"instances": session.fleet.instances(), "holds": session.fleet.holds.every()}

    @routes.post("/v1/channels/{channel}/release", status_code=204)
    def release(channel: str, asked: Release) -> None:
        """Offer a bundle again to whom it was held from."""
        sidecar.release(session, channel, asked.sequence, reason=asked.reason)

    @routes.get("/v1/decision-log")
    def search(  # noqa: PLR0913 - one for each thing to look for
        point: str | None = None,
        code: str | None = None,
        revision: str | None = None,
        name: str | None = None,
        since: str | None = None,
        until: str | None = None,
        clock: bool = False,
        before: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> dict[str, Any]:
        """Return what OPAs logged, the newest first; ``next`` continues it as ``before``."""
        wanted = LogSearch(
            point, code, revision, name, _time(since), _time(until), clock, _place(before)
        )
        found = session.decision_log.search(wanted, limit=limit)
        last = found[-1] if len(found) == limit else None
        return {
            "decisions": [each.document() for each in found],
            "next": None if last is None else f"{last.at} {last.decision_id}",
        }

    @routes.get("/v1/decision-log/{decision_id}")
    def event(decision_id: str) -> Mapping[str, Any]:
        """Return one event as OPA sent it."""
        return session.decision_log.get(decision_id)

    return routes


class FleetMetrics(Collector):
    """Counts of the fleet, read when they are asked for."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def collect(self) -> Iterator[Metric]:
        """Yield the current values."""
        instances = self._session.fleet.instances()
        channels = sorted({each["channel"] or "" for each in instances})
        revisions = GaugeMetricFamily(
            "dataspine_fleet_instances",
            "Sidecars by channel and the revision that decides there.",
            labels=("channel", "revision"),
        )
        # What was never published is a claim, and claims have no end.
        by = Counter(
            (e["channel"] or "", e["revision"] if e["sequence"] is not None else "unknown")
            for e in instances
        )
        for labels, number in sorted(by.items()):
            revisions.add_metric(labels, number)
        yield revisions
        for name, words, column in (
            ("stale", "Sidecars without a report or the newest bundle for too long.", "stale"),
            ("alarms", "Sidecars that went back, or decide by what nobody published.", "alarm"),
            ("refusals", "Sidecars that refused a bundle.", "failed_etag"),
        ):
            gauge = GaugeMetricFamily(f"dataspine_fleet_{name}", words, labels=("channel",))
            for channel in channels:
                mine = [e for e in instances if (e["channel"] or "") == channel]
                gauge.add_metric((channel,), sum(bool(e[column]) for e in mine))
            yield gauge
        held = GaugeMetricFamily(
            "dataspine_fleet_held", "Bundles that a channel holds back.", labels=("channel",)
        )
        running = [
            h["channel"] for h in self._session.fleet.holds.every() if h["released_at"] is None
        ]
        for channel, number in sorted(Counter(running).items()):
            held.add_metric((channel,), number)
        yield held
        yield CounterMetricFamily(
            "dataspine_decision_log_refused",
            "Events of OPA's logs that were over a limit or without id or time.",
            value=self._session.decision_log.refused,
        )


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_rfc3339(text)


def _place(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    at, _, decision_id = text.partition(" ")
    if not decision_id:
        raise InputError("no place to continue from", where="before", remedy="Send `next`.")
    return at, decision_id
