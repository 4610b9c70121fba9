"""The outbox: lineage events written in the transaction of the fact they report, sent later."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import sqlalchemy as sa

from dataspine.core.canonical import canonical, sha256
from dataspine.core.clock import Clock, parse_rfc3339, rfc3339, utc_now
from dataspine.core.database import Database
from dataspine.core.errors import InputError
from dataspine.core.statement import upsert
from dataspine.core.workspace import Receiver
from dataspine.lineage._tables import deliveries, flushes, outbox, receivers
from dataspine.lineage.validate import redact, validate

__all__ = ["LOCAL", "Counts", "Entry", "Event", "Outbox", "entry_id", "pending", "settle"]

Event = Mapping[str, Any]

# The workspace's own lineage store; receivers' names never contain a colon.
LOCAL = ":local"
_PAGE = 500


class Counts(TypedDict):
    """How many events are where; ``oldest_age`` is in seconds, 0 when nobody waits for one.

    ``receivers`` counts for each receiver what it has yet to get and what it refused.
    """

    delivered: int
    pending: int
    dead: int
    oldest_age: int
    receivers: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it waits: ``body`` is its canonical JSON, ``id`` the digest of that."""

    seq: int
    id: str
    partition: str
    body: str


class Outbox:
    """Events on their way; every process may write, one delivers.

    ``receivers`` are those that must get each event, also while no process delivers.
    """

    def __init__(
        self, database: Database, receivers: Iterable[Receiver] = (), *, clock: Clock = utc_now
    ) -> None:
        self._database = database
        self._receivers = tuple(r.name for r in receivers)
        self._clock = clock

    def write(
        self,
        connection: sa.Connection,
        event: Event | Sequence[Event],
        *,
        flush_id: int | None = None,
    ) -> str:
        """Write one event, or several in their order, and return the (last) one's id.

        Part of the caller's transaction. With a ``flush_id`` it stays invisible until that flush
        is applied. An event that no receiver could use raises ``InputError``; one that is written
        already is not written twice.
        """
        several = [event] if isinstance(event, Mapping) else list(event)
        now, rows = rfc3339(self._clock()), []
        for one in several:
            identity, body, partition = entry_id(one)
            rows.append(
                {
                    "id": identity,
                    "partition": partition,
                    "body": body,
                    "created_at": now,
                    "flush_id": flush_id,
                }
            )
        upsert(connection, outbox, rows, key=("id",))
        return str(rows[-1]["id"])

    def discard(self, connection: sa.Connection, flush_id: int) -> int:
        """Remove a discarded flush's events, and return how many there were."""
        found = connection.execute(sa.delete(outbox).where(outbox.c.flush_id == flush_id))
        return found.rowcount

    def counts(self) -> Counts:
        """Count the visible events.

        ``dead``: some receiver refused it for good; else ``pending``: some receiver has not got
        it; else ``delivered``. The workspace's own store is current by itself and not counted.
        """
        with self._database.read() as connection:
            names = set(connection.scalars(sa.select(receivers.c.receiver))) | set(self._receivers)
            names.discard(LOCAL)
            total = connection.scalar(sa.select(sa.func.count()).where(_visible())) or 0
            refused = connection.execute(
                sa.select(deliveries.c.receiver, deliveries.c.seq).where(
                    deliveries.c.state == "dead"
                )
            ).all()
            waiting: dict[int, str] = {}
            found: dict[str, dict[str, int]] = {}
            for name in sorted(names):
                rows = connection.execute(_pending(name, outbox.c.seq, outbox.c.created_at)).all()
                waiting.update({row.seq: row.created_at for row in rows})
                given_up = sum(row.receiver == name for row in refused)
                found[name] = {"pending": len(rows), "dead": given_up}
        dead = {row.seq for row in refused}
        # One receiver's refusal must not hide that another one has been away for hours.
        oldest = min(waiting.values(), default=None)
        age = self._clock() - parse_rfc3339(oldest) if oldest else None
        return {
            "delivered": total - len(dead | waiting.keys()),
            "pending": len(waiting.keys() - dead),
            "dead": len(dead),
            "oldest_age": max(0, int(age.total_seconds())) if age else 0,
            "receivers": found,
        }

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield every visible event in the order of writing."""
        after = 0
        while True:
            statement = sa.select(outbox.c.seq, outbox.c.body).where(
                _visible(), outbox.c.seq > after
            )
            with self._database.read() as connection:
                rows = connection.execute(statement.order_by(outbox.c.seq).limit(_PAGE)).all()
            if not rows:
                return
            yield from (json.loads(row.body) for row in rows)
            after = rows[-1].seq

    def dead(self, *, limit: int = 100) -> list[dict[str, Any]]:
        """List what receivers refused for good, newest first."""
        statement = (
            sa.select(
                deliveries.c.receiver,
                deliveries.c.seq,
                deliveries.c.reason,
                deliveries.c.at,
                outbox.c.id,
                outbox.c.partition,
            )
            .join(outbox, outbox.c.seq == deliveries.c.seq)
            .where(deliveries.c.state == "dead")
            .order_by(deliveries.c.seq.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]

    def retry_dead(self, connection: sa.Connection, *, receiver: str | None = None) -> int:
        """Let dead events be sent once more, and return how many there are."""
        statement = sa.update(deliveries).where(deliveries.c.state == "dead").values(state="again")
        if receiver is not None:
            statement = statement.where(deliveries.c.receiver == receiver)
        return connection.execute(statement).rowcount


def entry_id(event: Event) -> tuple[str, str, str]:
    """Return an event's id, its canonical text without secrets, and its partition.

    Raises ``InputError`` for an event that cannot be used.
    """
    validate(event)
    try:
        data = canonical(redact(event))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"the event is no JSON: {error}",
            where="/",
            remedy="Send finite numbers, texts, arrays and objects only.",
            code="lineage.invalid_event",
        ) from None
    about = event.get("run") or event.get("job") or event["dataset"]
    partition = about.get("runId") or f"{about['namespace']}:{about['name']}"
    return sha256(data), data.decode(), str(partition)


def pending(
    connection: sa.Connection, receiver: str, *, after: int = 0, limit: int = 200
) -> list[Entry]:
    """Return what a receiver has not got, visible events only, in the order they were written."""
    statement = _pending(
        receiver, outbox.c.seq, outbox.c.id, outbox.c.partition, outbox.c.body
    ).where(outbox.c.seq > after)
    rows = connection.execute(statement.order_by(outbox.c.seq).limit(limit))
    return [Entry(row.seq, row.id, row.partition, row.body) for row in rows]


def settle(
    connection: sa.Connection, receiver: str, outcomes: Mapping[int, tuple[str, str]], *, at: str
) -> None:
    """Record outcomes, seq to (``delivered`` or ``dead``, reason), and move the mark up."""
    if outcomes:
        upsert(
            connection,
            deliveries,
            [
                {"receiver": receiver, "seq": seq, "state": state, "reason": reason, "at": at}
                for seq, (state, reason) in outcomes.items()
            ],
            key=("receiver", "seq"),
            change=("state", "reason", "at"),
        )
    mark = sa.select(receivers.c.settled_seq).where(receivers.c.receiver == receiver)
    settled = (
        sa.select(deliveries.c.seq)
        .where(deliveries.c.receiver == receiver, deliveries.c.seq == outbox.c.seq)
        .exists()
    )
    above = outbox.c.seq > sa.func.coalesce(mark.scalar_subquery(), 0)
    # A discarded flush never becomes visible, so its events must not hold the mark.
    discarded = outbox.c.flush_id.in_(sa.select(flushes.c.id).where(flushes.c.state == "discarded"))
    is_open = sa.and_(above, ~settled, sa.or_(outbox.c.flush_id.is_(None), ~discarded))
    first_open = connection.scalar(sa.select(sa.func.min(outbox.c.seq)).where(is_open))
    if first_open is None:
        first_open = (connection.scalar(sa.select(sa.func.max(outbox.c.seq))) or 0) + 1
    mark_row = {"receiver": receiver, "settled_seq": first_open - 1}
    upsert(connection, receivers, mark_row, key=("receiver",), change=("settled_seq",))
    connection.execute(
        sa.delete(deliveries).where(
            deliveries.c.receiver == receiver,
            deliveries.c.state == "delivered",
            deliveries.c.seq < first_open,
        )
    )


def _visible() -> sa.ColumnElement[bool]:
    applied = sa.select(flushes.c.id).where(flushes.c.state == "applied")
    return sa.or_(outbox.c.flush_id.is_(None), outbox.c.flush_id.in_(applied))


def _pending(receiver: str, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    mark = sa.select(receivers.c.settled_seq).where(receivers.c.receiver == receiver)
    of_receiver = deliveries.c.receiver == receiver
    settled = sa.select(deliveries.c.seq).where(of_receiver, deliveries.c.seq == outbox.c.seq)
    again = sa.select(deliveries.c.seq).where(of_receiver, deliveries.c.state == "again")
    above = sa.and_(outbox.c.seq > sa.func.coalesce(mark.scalar_subquery(), 0), ~settled.exists())
    return sa.select(*columns).where(_visible(), sa.or_(above, outbox.c.seq.in_(again)))
