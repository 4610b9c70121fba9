"""A route is killed again and again under load; in the end every row is where it belongs."""

import contextlib
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psycopg2
import pytest
from tests import shop_route as deployed

from dataspine.adapters import dead_letter_replay
from dataspine.adapters.row_replicate import POINT
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.cli import shop
from dataspine.core.workspace import Workspace

pytestmark = [pytest.mark.faults, pytest.mark.integration]

CUSTOMERS = 2_000
ORDERS = 4_000
KILLS = 20


@pytest.fixture
def dsn() -> Iterator[str]:
    with DemoCluster() as cluster:
        dsn = cluster.create_database("shop")
        shop.fill(dsn, customers=CUSTOMERS, orders=ORDERS, told=lambda *_: None)
        yield dsn


@pytest.fixture
def workspace(tmp_path: Path, opa: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv(deployed.DSN, dsn)
    monkeypatch.setenv("SPINE_OPA", str(opa))
    return deployed.deploy(tmp_path / "shop", opa)


def _trade(dsn: str, done: threading.Event) -> None:
    chance = random.Random(7)
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    number = ORDERS
    with connection.cursor() as cursor:
        while not done.is_set():
            number += 1
            customer = chance.randint(1, CUSTOMERS)
            cursor.execute(
                "insert into orders (id, customer_id, country, currency, amount, status)"
                " values (%s, %s, 'DE', 'EUR', 1, 'placed')",
                (number, customer),
            )
            # People move: from a home that may go to one that may not, and back.
            cursor.execute(
                "update customers set country = %s where id = %s",
                (chance.choice(["DE", "US", "BR", "JP"]), customer),
            )
            if number % 7 == 0:
                cursor.execute("delete from customers where id = %s", (customer,))
            done.wait(0.002)
    connection.close()


def _applied(workspace: Workspace) -> int:
    with contextlib.closing(sqlite3.connect(workspace.state / "spine.db")) as database:
        query = "select max(end_lsn) from cdc_flushes where state = 'applied'"
        return int(database.execute(query).fetchall()[0][0] or 0)


def _kill_again_and_again(workspace: Workspace, dsn: str) -> None:
    chance = random.Random(11)
    done = threading.Event()
    trader = threading.Thread(target=_trade, args=(dsn, done))
    trader.start()
    try:
        for number in range(KILLS):
            before = _applied(workspace)
            child = deployed.start(workspace)
            if number % 2 == 0:  # else it may die in its recovery too
                deployed.wait(lambda before=before: _applied(workspace) > before)  # type: ignore[misc] # no type of a default
            time.sleep(chance.uniform(0.0, 3.0))  # where in a flush it dies is left to chance
            child.send_signal(signal.SIGKILL)
            child.wait()
    finally:
        done.set()
        trader.join()


def _catch_up(workspace: Workspace, dsn: str) -> None:
    deployed.rows(dsn, "insert into orders values (0, 1, 'DE', 'EUR', 1, 'last')")
    end = int(str(deployed.rows(dsn, "select pg_current_wal_lsn() - '0/0'")[0][0]))
    child = deployed.start(workspace)
    deadline = time.monotonic() + 90
    # A flush's position is the end of its last transaction, a little before the log's own end.
    while _applied(workspace) < end - 256 and time.monotonic() < deadline:
        assert child.poll() is None
        time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0


def test_kills_under_load_lose_and_double_nothing(
    workspace: Workspace, dsn: str, opa: Path
) -> None:
    _kill_again_and_again(workspace, dsn)
    _catch_up(workspace, dsn)

    tables = ("customers", "orders")
    source = {t: {row[0] for row in deployed.rows(dsn, f"select id from {t}")} for t in tables}
    with duckdb.connect(str(workspace.root / ".spine/sinks/us-lake.duckdb")) as sink:
        held = {
            t: [row[0] for row in sink.execute(f"select id from {t}").fetchall()] for t in tables
        }
    with (
        Session(workspace, opa=opa) as session,
        dead_letter_replay.dead_letters(session, workspace.root / deployed.ROUTE) as letters,
    ):
        # Replay gives up what a newer row or a deletion has superseded; the rules are the same.
        report = dead_letter_replay.replay(session, workspace.root / deployed.ROUTE).report
        assert report.outcomes["busy"] == 0
        parked = {t: set(letters.keys("us-lake", t)) for t in tables}
        classes = [e for e in session.journal.list(limit=1000) if e.decision.point == POINT]
    counted = deployed.outcomes(workspace)
    judged = ("applied", "masked", "parked", "dropped")
    assert sum(e.class_count for e in classes) == sum(counted[word] for word in judged)
    assert all((e.class_count > 0) is e.acted for e in classes)
    for table, keys in source.items():
        assert len(held[table]) == len(set(held[table]))
        assert set(held[table]) <= keys
        assert len(held[table]) + len(parked[table]) == len(keys)
    assert min(counted["applied"], counted["masked"], counted["parked"], counted["deleted"]) > 0
