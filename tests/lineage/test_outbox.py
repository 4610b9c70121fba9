"""Events wait with the fact they report, and are counted as they stand."""

import math
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from tests.lineage.samples import NOW, run_event, run_id

from dataspine.core.database import Database
from dataspine.core.errors import InputError
from dataspine.core.workspace import Receiver
from dataspine.lineage import LineageStore, Outbox
from dataspine.lineage import _tables as tables
from dataspine.lineage.outbox import pending


def test_an_event_is_rolled_back_with_its_fact(database: Database) -> None:
    outbox = Outbox(database)

    def fail() -> None:
        with database.begin() as connection:
            outbox.write(connection, run_event())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert outbox.counts()["delivered"] == 0


def test_an_event_of_a_flush_is_seen_when_the_flush_is_applied(database: Database) -> None:
    outbox, store = Outbox(database), LineageStore(database)
    with database.begin() as connection:
        connection.execute(sa.text("INSERT INTO cdc_flushes VALUES (7, 'pending')"))
        outbox.write(connection, run_event(1), flush_id=7)
        outbox.write(connection, run_event(2, job="other"))
    assert (store.catch_up(), store.catch_up(), outbox.counts()["delivered"]) == (1, 0, 1)
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE cdc_flushes SET state = 'applied'"))
    assert (store.catch_up(), store.catch_up(), outbox.counts()["delivered"]) == (1, 0, 2)
    assert {job["name"] for job in store.jobs()} == {"copy", "other"}


def test_a_discarded_flush_leaves_nothing(database: Database) -> None:
    outbox, store = Outbox(database), LineageStore(database)
    with database.begin() as connection:
        connection.execute(sa.text("INSERT INTO cdc_flushes VALUES (7, 'pending')"))
        outbox.write(connection, run_event(1), flush_id=7)
        outbox.write(connection, run_event(2))
    store.catch_up()
    with database.begin() as connection:
        assert outbox.discard(connection, 7) == 1
    with database.begin() as connection:
        outbox.write(connection, run_event(3))
    assert store.catch_up() == 1
    assert outbox.counts() == {
        "delivered": 2,
        "pending": 0,
        "dead": 0,
        "oldest_age": 0,
        "receivers": {},
    }


def test_events_of_configured_receivers_are_pending_before_any_delivery(database: Database) -> None:
    now = [NOW]
    outbox = Outbox(database, [Receiver("marquez", "http://m")], clock=lambda: now[0])
    with database.begin() as connection:
        outbox.write(connection, [run_event(1), run_event(2)])
    now[0] += timedelta(seconds=90)
    assert outbox.counts() == {
        "delivered": 0,
        "pending": 2,
        "dead": 0,
        "oldest_age": 90,
        "receivers": {"marquez": {"pending": 2, "dead": 0}},
    }


def test_equal_events_are_written_once(database: Database) -> None:
    outbox = Outbox(database)
    with database.begin() as connection:
        assert outbox.write(connection, run_event()) == outbox.write(connection, run_event())
    with database.read() as connection:
        assert len(pending(connection, "x")) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, object()])
def test_what_is_no_json_is_refused(database: Database, value: Any) -> None:
    with database.begin() as connection, pytest.raises(InputError):
        Outbox(database).write(connection, run_event(facets={"f": {"x": value}}))


def test_events_are_read_back_in_order_and_only_visible_ones(database: Database) -> None:
    outbox = Outbox(database)
    with database.begin() as connection:
        connection.execute(sa.text("INSERT INTO cdc_flushes VALUES (7, 'pending')"))
        outbox.write(connection, run_event(1), flush_id=7)
        outbox.write(connection, [run_event(n) for n in range(2, 1203)])
    assert [e["run"]["runId"] for e in outbox.events()] == [run_id(n) for n in range(2, 1203)]


def test_a_flush_marked_discarded_does_not_hold_the_mark(database: Database) -> None:
    outbox, store = Outbox(database), LineageStore(database)
    with database.begin() as connection:
        connection.execute(sa.text("INSERT INTO cdc_flushes VALUES (7, 'discarded')"))
        outbox.write(connection, run_event(1), flush_id=7)
        outbox.write(connection, run_event(2))
    assert store.catch_up() == 1
    with database.read() as connection:
        assert connection.scalar(sa.select(tables.receivers.c.settled_seq)) == 2
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.deliveries)) == 0
