"""What the route needs goes away while it runs: it waits, says so, goes on, and counts once."""

import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psycopg2
import pytest
from tests import shop_route as deployed

from dataspine.adapters import schema_publish
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.cdc.state import RouteStore
from dataspine.cli import shop
from dataspine.core.workspace import Workspace

pytestmark = [pytest.mark.faults, pytest.mark.integration]

CUSTOMERS, ORDERS = 200, 300
HUGE = 1_000_000


@pytest.fixture
def cluster() -> Iterator[DemoCluster]:
    with DemoCluster() as running:
        shop.fill(
            running.create_database("shop"),
            customers=CUSTOMERS,
            orders=ORDERS,
            told=lambda *_: None,
        )
        yield running


@pytest.fixture
def workspace(
    tmp_path: Path, opa: Path, cluster: DemoCluster, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    monkeypatch.setenv(deployed.DSN, cluster.dsn("shop"))
    monkeypatch.setenv("SPINE_OPA", str(opa))
    return deployed.deploy(tmp_path / "shop", opa)


@pytest.fixture
def route(workspace: Workspace) -> Iterator[subprocess.Popen[bytes]]:
    """The route in a process of its own, past its snapshot."""
    child = deployed.start(workspace, log=workspace.root / "log")
    try:
        deployed.wait(lambda: deployed.total(workspace) == CUSTOMERS + ORDERS)
        deployed.wait(lambda: deployed.state(workspace)[0] == "streaming")
        yield child
    finally:
        child.kill()
        child.wait()


def orders(dsn: str, first: int, count: int) -> None:
    """Insert orders that every sink may have, in one transaction."""
    deployed.rows(
        dsn,
        "INSERT INTO orders (id, customer_id, country, currency, amount, status)"
        f" SELECT g, 1, 'DE', 'EUR', 1, 'placed'"
        f" FROM generate_series({first}, {first + count - 1}) g",
    )


def finish(workspace: Workspace, route: subprocess.Popen[bytes], events: int) -> None:
    """Every event has one outcome, every key is at rest once, and the route ends in order."""
    deployed.wait(lambda: deployed.total(workspace) >= events)
    route.send_signal(signal.SIGTERM)
    assert route.wait(30) == 0
    assert deployed.total(workspace) == events
    with duckdb.connect(str(workspace.root / ".spine/sinks/us-lake.duckdb")) as sink:
        held = sink.execute("SELECT count(*), count(DISTINCT id) FROM orders").fetchall()
    with sqlite3.connect(workspace.state / "dead-letter/eu-west-1.db") as letters:
        query = "SELECT count(DISTINCT key_hash) FROM dead_letter WHERE tbl = 'orders'"
        (parked,) = letters.execute(query).fetchone()
    letters.close()
    assert held == [(events - CUSTOMERS - parked,) * 2]


def test_interrupt_is_heard_while_a_transaction_at_the_source_is_open(
    workspace: Workspace, cluster: DemoCluster
) -> None:
    other = psycopg2.connect(cluster.dsn("shop"), application_name="payroll")
    other.cursor().execute("SELECT pg_current_xact_id()::text")
    log = workspace.root / "log"
    child = deployed.start(workspace, log=log)
    problem = f"waits for a transaction at the source: process {other.info.backend_pid} (payroll)"
    try:
        deployed.wait(lambda: deployed.state(workspace)[1].startswith(problem))
        # The status goes on, so that the route neither looks silent nor its lag fine.
        waited = RouteStore(workspace.database).get(deployed.NAME)
        deployed.wait(
            lambda: (
                RouteStore(workspace.database)
                .get(deployed.NAME)
                .status["lag"][deployed.SINK]["p95"]
                > waited.status["lag"][deployed.SINK]["p95"]
            )
        )
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 130
    finally:
        child.kill()
        child.wait()
    assert f"snapshot {problem}" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert deployed.rows(cluster.dsn("shop"), "SELECT slot_name FROM pg_replication_slots") == []
    assert deployed.rows(cluster.dsn("shop"), "SELECT pubname FROM pg_publication") == []
    other.close()


def test_restarted_server_is_waited_for(
    workspace: Workspace, cluster: DemoCluster, route: subprocess.Popen[bytes]
) -> None:
    dsn = cluster.dsn("shop")
    events = CUSTOMERS + ORDERS
    for end in (cluster.stop, cluster.kill):
        orders(dsn, events, 500)
        end()
        deployed.wait(lambda: deployed.state(workspace)[0] == "waiting")
        assert deployed.state(workspace)[1].startswith("cdc.source_unavailable: ")
        cluster.start()
        orders(dsn, events + 500, 500)
        events += 1_000
        deployed.wait(lambda events=events: deployed.total(workspace) >= events)  # type: ignore[misc] # no type of a default
    finish(workspace, route, events)


def test_sink_that_somebody_reads_is_waited_for(
    workspace: Workspace, cluster: DemoCluster, route: subprocess.Popen[bytes]
) -> None:
    path = workspace.root / ".spine/sinks/us-lake.duckdb"

    readers: list[duckdb.DuckDBPyConnection] = []

    def opened() -> bool:
        try:
            readers.append(duckdb.connect(str(path)))
        except duckdb.IOException:  # the route is writing just now
            return False
        return True

    deployed.wait(opened)
    orders(cluster.dsn("shop"), 1_000, 500)
    deployed.wait(lambda: deployed.state(workspace)[0] == "waiting")
    assert deployed.state(workspace)[1] == "cdc.sink_locked: sink file open elsewhere"
    assert deployed.total(workspace) == CUSTOMERS + ORDERS
    readers[0].close()
    finish(workspace, route, CUSTOMERS + ORDERS + 500)


def test_locked_database_is_waited_for_longer_than_its_timeout(
    workspace: Workspace, cluster: DemoCluster, route: subprocess.Popen[bytes]
) -> None:
    log = workspace.root / "log"
    holder = sqlite3.connect(workspace.state / "spine.db", isolation_level=None, timeout=30)
    holder.execute("BEGIN IMMEDIATE")
    orders(cluster.dsn("shop"), 1_000, 500)
    # Its status cannot be written either; it says so where it still can.
    deployed.wait(lambda: "waiting spine.database: database is locked" in log.read_text())
    holder.execute("ROLLBACK")
    holder.close()
    finish(workspace, route, CUSTOMERS + ORDERS + 500)


BOUND = 5.0


@pytest.mark.parametrize("busy", [True, False])
def test_stricter_classification_stops_the_route_within_its_bound(
    workspace: Workspace, cluster: DemoCluster, route: subprocess.Popen[bytes], busy: bool
) -> None:
    """An idle route stops as one does that has rows, and no later row is at the sink."""
    subject, dsn = "shop.customers", cluster.dsn("shop")
    with Session(workspace) as session:
        known = session.registry.latest(subject)
        assert known is not None
        schema = known.text.replace("Loyalty tier.", "[pii] retain=P2Y")
        assert schema_publish.publish(session, Proposal(subject, schema, "AVRO")).version
    end = time.monotonic() + BOUND
    while route.poll() is None:
        assert time.monotonic() < end
        if busy:
            deployed.rows(dsn, f"UPDATE customers SET segment = '{time.monotonic()}' WHERE id < 50")
        else:
            time.sleep(0.05)
    print(f"stopped {BOUND - (end - time.monotonic()):.2f} s after")  # noqa: T201 - a figure
    assert route.returncode == 2
    state, problem = deployed.state(workspace)
    assert state == "failed"
    assert problem == (
        "shop-to-us: customers.segment was applied as Public and is PII now"
        " (version 2 of shop.customers)"
    )
    assert "cdc.classification_changed" in (workspace.root / "log").read_text()
    at_sink = "SELECT max(_spine_lsn), count(DISTINCT segment) FROM customers"
    with duckdb.connect(str(workspace.root / ".spine/sinks/us-lake.duckdb")) as sink:
        before = sink.execute(at_sink).fetchall()
    child = deployed.start(workspace, log=workspace.root / "log")
    assert child.wait(60) == 2
    with duckdb.connect(str(workspace.root / ".spine/sinks/us-lake.duckdb")) as sink:
        assert sink.execute(at_sink).fetchall() == before


def test_million_rows_in_one_transaction_stay_out_of_memory(
    workspace: Workspace, cluster: DemoCluster, route: subprocess.Popen[bytes]
) -> None:
    orders(cluster.dsn("shop"), 1_000, HUGE)
    events = CUSTOMERS + ORDERS + HUGE
    deployed.wait(lambda: deployed.total(workspace) >= events, seconds=300)
    status = Path(f"/proc/{route.pid}/status").read_text(encoding="ascii")
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(f"peak memory {peak:.0f} MB")  # noqa: T201 - a figure for who runs it with -s
    assert peak < 400
    finish(workspace, route, events)
