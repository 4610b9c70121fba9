"""Bundles that sidecars with a token refused: enough of them hold it back from the others."""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa

from dataspine.bundles import BundleStore
from dataspine.bundles.store import etag_of
from dataspine.core.clock import Clock, rfc3339
from dataspine.core.database import Database
from dataspine.core.errors import InputError, NotFoundError
from dataspine.core.statement import upsert
from dataspine.decisions._tables import fleet_failures, fleet_holds, fleet_instances

__all__ = ["MAX_ERROR", "FleetHolds"]

_logger = logging.getLogger(__name__)

MAX_ERROR = 1_000


class FleetHolds:
    """What is held back in which channel; ``hold_after`` instances that refuse a bundle hold it."""

    def __init__(
        self, database: Database, bundles: BundleStore, hold_after: int, clock: Clock
    ) -> None:
        self._database = database
        self._bundles = bundles
        self._hold_after = hold_after
        self._clock = clock

    def held(self, channel: str) -> set[str]:
        """Return the ETags that nobody else gets of a channel."""
        with self._database.read() as connection:
            return set(
                connection.scalars(
                    sa.select(fleet_holds.c.etag).where(
                        fleet_holds.c.channel == channel, fleet_holds.c.released_at.is_(None)
                    )
                )
            )

    def every(self) -> list[dict[str, Any]]:
        """Return every hold, the newest first, with who refused what and why."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(fleet_holds).order_by(fleet_holds.c.id.desc()).limit(100)
            ).mappings()
            holds = [{k: v for k, v in row.items() if k != "id"} for row in rows]
            failures = connection.execute(
                sa.select(fleet_failures).order_by(fleet_failures.c.instance)
            ).all()
        for hold in holds:
            hold["failures"] = [
                {"instance": f.instance, "error": f.error, "at": f.at}
                for f in failures
                if (f.channel, f.etag) == (hold["channel"], hold["etag"])
            ]
        return holds

    def release(self, channel: str, sequence: int, *, actor: str, reason: str) -> None:
        """Offer a bundle again to whom it was held from; who refuses it again is held again."""
        if not reason.strip() or len(reason) > MAX_ERROR:
            raise InputError("a release has a reason", where="reason", remedy="Say why.")
        publication = next(
            (p for p in self._bundles.history(channel) if p.sequence == sequence), None
        )
        if publication is None:
            raise NotFoundError(
                f"sequence {sequence} was not published there",
                where=channel,
                remedy="See `spine opa status`.",
            )
        etag = etag_of(publication)
        told = {
            "released_at": rfc3339(self._clock()),
            "released_by": actor,
            "reason": reason,
        }
        mine = (fleet_holds.c.channel == channel, fleet_holds.c.etag == etag)
        with self._database.begin() as connection:
            connection.execute(
                fleet_holds.update().where(*mine, fleet_holds.c.released_at.is_(None)).values(told)
            )
            connection.execute(
                fleet_failures.delete().where(
                    fleet_failures.c.channel == channel, fleet_failures.c.etag == etag
                )
            )
            connection.execute(
                fleet_instances.update()
                .where(fleet_instances.c.channel == channel, fleet_instances.c.failed_etag == etag)
                .values(failed_etag=None, error=None)
            )

    def refuse(self, channel: str, etag: str, instance: str, error: str) -> None:
        """Note that an instance refuses a bundle, and hold it when enough do."""
        at = rfc3339(self._clock())
        publication = next((p for p in self._bundles.history(channel) if etag_of(p) == etag), None)
        if publication is None:
            return
        key = {"channel": channel, "etag": etag, "instance": instance}
        with self._database.begin() as connection:
            upsert(connection, fleet_failures, {**key, "error": error, "at": at}, key=tuple(key))
            same = (fleet_failures.c.channel == channel, fleet_failures.c.etag == etag)
            failed = connection.execute(
                sa.select(sa.func.count()).select_from(fleet_failures).where(*same)
            ).scalar_one()
            held = connection.execute(
                sa.select(fleet_holds.c.id).where(
                    fleet_holds.c.channel == channel,
                    fleet_holds.c.etag == etag,
                    fleet_holds.c.released_at.is_(None),
                )
            ).first()
            if held is not None or failed < self._hold_after:
                return
            connection.execute(
                fleet_holds.insert().values(
                    channel=channel,
                    etag=etag,
                    revision=publication.revision,
                    sequence=publication.sequence,
                    held_at=at,
                )
            )
        _logger.warning("channel %s is held: %d refuse sequence %s", channel, failed, etag)

    def forget(self, instance: str) -> None:
        """Forget what an instance refused: it may take it now."""
        with self._database.begin() as connection:
            connection.execute(fleet_failures.delete().where(fleet_failures.c.instance == instance))
