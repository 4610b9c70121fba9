"""The sidecars that follow our channels: what each gets, what decides there, how it is.

What an instance without a token claims holds nothing back but for itself, and takes a bounded
place.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dataspine.bundles import BundleStore, Publication
from dataspine.bundles.store import etag_of
from dataspine.core.clock import Clock, parse_rfc3339, rfc3339, utc_now
from dataspine.core.database import Database
from dataspine.core.errors import InputError, NotFoundError
from dataspine.core.statement import upsert
from dataspine.core.workspace import FleetSettings
from dataspine.decisions._tables import discovery, fleet_instances
from dataspine.decisions.control import BUNDLE, matches, refusal
from dataspine.decisions.fleet_holds import MAX_ERROR, FleetHolds
from dataspine.decisions.fleet_tokens import Caller, FleetTokens, is_name

__all__ = ["Fleet", "Offer"]

_logger = logging.getLogger(__name__)

_MAX_LABELS = 32
_MAX_TEXT = 200
# What says nothing new is not written again before this: a flood of reports costs no writes.
_FRESH_SECONDS = 10.0
_OLDER_DISCOVERY = "it went back to an older discovery bundle"
_OF_CHANNEL = ("served_etag", "active_etag", "sequence", "alarm", "failed_etag", "error")


@dataclass(frozen=True, slots=True)
class Offer:
    """What an instance gets of a channel; ``data`` is None when it has that already."""

    etag: str
    data: bytes | None


class Fleet:
    """Reads and writes the fleet of one database; every number that judges is in ``settings``.

    ``tokens`` say who calls, ``holds`` what was refused too often.
    """

    def __init__(
        self,
        database: Database,
        bundles: BundleStore,
        settings: FleetSettings,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._bundles = bundles
        self._settings = settings
        self._clock = clock
        self.tokens = FleetTokens(database, clock)
        self.holds = FleetHolds(database, bundles, settings.hold_after, clock)

    def offer(self, caller: Caller, channel: str, known: str | None) -> Offer:
        """Return what this instance gets, which had ``known`` (``If-None-Match``) before.

        It is the channel's newest bundle, without what the instance refused or is held; never one
        that is older than what it has. Raises ``NotFoundError`` when nothing is left.
        """
        row = self._row(caller)
        moved = row is not None and row.channel not in {None, channel}
        failed = None if row is None or moved else row.failed_etag
        chosen = self._choose(channel, known, failed)
        if chosen is None:
            raise NotFoundError(
                "the channel has no bundle for this instance",
                where=channel,
                remedy="Publish one with `spine bundle publish`, or release it from its hold.",
            )
        etag = etag_of(chosen)
        # What was so in another channel says nothing about this one.
        told: dict[str, Any] = dict.fromkeys(_OF_CHANNEL) if moved else {}
        told["channel"] = channel
        if matches(known, etag):
            newest = self._bundles.active(channel)
            # Who has the newest has overcome what it refused before.
            if newest is not None and etag_of(newest) == etag:
                told |= {"failed_etag": None, "error": None}
            self._seen(caller, **{**told, "active_etag": etag})
            return Offer(etag, None)
        self._seen(caller, **{**told, "served_etag": etag})
        return Offer(etag, self._bundles.bytes_of(channel, chosen.sequence))

    def report(self, caller: Caller, document: Mapping[str, Any]) -> None:
        """Take a status report: remember what decides there, hold back what was refused."""
        labels = _labels(document.get("labels"))
        if not caller.name and is_name(labels.get("id", "")):
            caller = Caller(labels["id"], authenticated=False)
        if not caller.name:
            raise InputError(
                "a status report names no instance",
                where="/labels/id",
                remedy="Give the sidecar a label `id`; see `spine opa config`.",
            )
        bundle = _part(document.get("bundles"), BUNDLE)
        row = self._row(caller)
        channel = row.channel if row is not None else None
        told: dict[str, Any] = {
            "labels": {k: v for k, v in labels.items() if k not in {"id", "version"}},
            "version": labels.get("version"),
            "process": _process(labels, _part(document, "discovery")),
            **self._active(row, channel, bundle.get("active_revision")),
        }
        astray = self._astray(row, _part(document, "discovery").get("active_revision"))
        if astray is not None:
            told["alarm"] = astray
        refused = refusal(bundle)
        if row is not None and row.process not in {None, told["process"]}:
            # Started again, or with other keys: what it refused before it may take now.
            told |= {"failed_etag": None, "error": None}
            if caller.authenticated:
                self.holds.forget(caller.name)
        elif refused is not None:
            told["error"] = refused[:MAX_ERROR]
            # The report does not say which bundle: it is the one that was served last.
            if row is not None and row.served_etag != row.active_etag:
                told["failed_etag"] = row.served_etag
        self._seen(caller, reported=True, **told)
        failed = told.get("failed_etag")
        if caller.authenticated and channel is not None and failed is not None:
            self.holds.refuse(channel, failed, caller.name, told["error"])

    def note_clock(self, caller: Caller, seconds: int | None) -> None:
        """Remember by how much an instance's clock differs; within the tolerance it does not."""
        if caller.name and seconds is not None:
            large = abs(seconds) > self._settings.clock_tolerance
            self._seen(caller, clock=seconds if large else None)

    def instances(self) -> list[dict[str, Any]]:
        """Return what is known of each instance, and whether it is stale."""
        now = self._clock()
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(fleet_instances).order_by(
                    fleet_instances.c.channel.nulls_first(), fleet_instances.c.name
                )
            ).mappings()
            found = [dict(row) for row in rows]
        newest = {
            channel: next(iter(self._bundles.history(channel)), None)
            for channel in {row["channel"] for row in found if row["channel"] is not None}
        }
        for row in found:
            row["age_seconds"] = round((now - parse_rfc3339(row["seen_at"])).total_seconds())
            row["stale"] = self._is_stale(row, newest.get(row["channel"]), now)
        return found

    def _choose(self, channel: str, known: str | None, failed: str | None) -> Publication | None:
        held = self.holds.held(channel)
        if failed is not None:
            held.add(failed)
        for publication in self._bundles.history(channel):
            etag = etag_of(publication)
            if matches(known, etag) or etag not in held:
                return publication
        return None

    def _row(self, caller: Caller) -> sa.Row[Any] | None:
        with self._database.read() as connection:
            return connection.execute(
                sa.select(fleet_instances).where(*_mine(caller))
            ).one_or_none()

    def _seen(self, caller: Caller, *, reported: bool = False, **told: Any) -> None:
        if not caller.name:
            return
        now = self._clock()
        row = self._row(caller)
        if row is not None and all(getattr(row, name) == value for name, value in told.items()):
            last = row.reported_at if reported else row.seen_at
            if last is not None and (now - parse_rfc3339(last)).total_seconds() < _FRESH_SECONDS:
                return
        told["seen_at"] = rfc3339(now)
        if reported:
            told["reported_at"] = told["seen_at"]
        with self._database.begin() as connection:
            if row is None and not caller.authenticated:
                self._make_room(connection)
            identity = {"name": caller.name, "authenticated": caller.authenticated}
            values = {"labels": {}, **told, **identity}
            upsert(connection, fleet_instances, values, key=tuple(identity), change=told)

    def _make_room(self, connection: sa.Connection) -> None:
        # Anybody on this machine can claim names without end.
        columns = fleet_instances.c
        oldest = (
            sa.select(columns.name)
            .where(~columns.authenticated)
            .order_by(columns.seen_at.desc(), columns.name)
            .offset(self._settings.max_unauthenticated - 1)
        )
        connection.execute(
            fleet_instances.delete().where(~columns.authenticated, columns.name.in_(oldest))
        )

    def _active(
        self, row: sa.Row[Any] | None, channel: str | None, revision: object
    ) -> dict[str, Any]:
        if not isinstance(revision, str) or not revision:
            return {}
        before = row.sequence if row is not None else None
        told: dict[str, Any] = {"revision": revision[:_MAX_TEXT]}
        if row is None or row.revision != told["revision"]:
            told["activated_at"] = rfc3339(self._clock())
        if channel is None:
            return told
        published = self._bundles.history(channel)
        # A rollback publishes a revision again: the newest of that name is what it may have.
        sequence = max((p.sequence for p in published if p.revision == revision), default=None)
        told["sequence"] = sequence
        if sequence is None:
            told["alarm"] = "it decides by a revision that was never published to its channel"
        elif before is not None and sequence < before:
            told["alarm"] = f"it went back from sequence {before} to {sequence} without an order"
        elif sequence == published[0].sequence:
            told["alarm"] = None
        if told.get("alarm") and (row is None or row.alarm != told["alarm"]):
            _logger.warning("%s: %s", row.name if row is not None else "", told["alarm"])
        return told

    def _astray(self, row: sa.Row[Any] | None, followed: object) -> str | None:
        """Return what is wrong with the discovery bundle that an instance follows.

        OPA takes any that was signed once, so an old one could choose an old channel or old keys.
        """
        if not isinstance(followed, str) or not followed:
            return None
        before = row.process.partition(" ")[2] if row is not None and row.process else ""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(discovery.c.digest, discovery.c.published_at))
            times = {row.digest: row.published_at for row in rows}
        if followed not in times:
            return "it follows a discovery bundle that was never published"
        went_back = times[followed] < times.get(before, "")
        stays_back = row is not None and row.alarm == _OLDER_DISCOVERY
        if went_back or (stays_back and times[followed] < max(times.values())):
            return _OLDER_DISCOVERY
        return None

    def _is_stale(self, row: Mapping[str, Any], newest: Publication | None, now: datetime) -> bool:
        limit = self._settings.stale_after
        if row["age_seconds"] > limit:
            return True
        if newest is None or row["sequence"] == newest.sequence:
            return False
        return (now - parse_rfc3339(newest.published_at)).total_seconds() > limit


def _mine(caller: Caller) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        fleet_instances.c.name == caller.name,
        fleet_instances.c.authenticated == caller.authenticated,
    )


def _process(labels: Mapping[str, str], discovery: Mapping[str, Any]) -> str:
    return f"{labels.get('id', '')} {discovery.get('active_revision', '')}"[:_MAX_TEXT]


def _part(value: object, name: str) -> Mapping[str, Any]:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    pairs = [(str(k)[:_MAX_TEXT], v[:_MAX_TEXT]) for k, v in value.items() if isinstance(v, str)]
    return dict(sorted(pairs)[:_MAX_LABELS])
