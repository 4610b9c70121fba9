"""A workspace's own row rule, which no filter holds: OPA is asked for each class, audibly."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from tests import shop_route as deployed
from tests.conftest import Spine

from dataspine.adapters import dead_letter_replay, route_deploy
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.cli import shop
from dataspine.core.workspace import Workspace

pytestmark = pytest.mark.integration

CUSTOMERS, ORDERS = 80, 120
CODE = "shop.not_from_france"
PLACE = "policies/dataspine/custom/shop/not_from_france/not_from_france.rego"
HEAD = """# METADATA
# title: Rows of France stay
# custom:
#   severity: error
#   message: a row from France may not go to {sink}
#   remediation: The row is parked.
package dataspine.custom.shop.not_from_france

import data.dataspine.lib.result

# METADATA
# description: The row is from France.
deny contains violation if {
	input.point == "row.replicate"
	%s

	violation := result.violation(rego.metadata.chain(), {
		"path": "/row",
		"sink": input.facts.sink.name,
	})
}
"""
RULES = {
    "with row_ok": HEAD % "not row_ok" + '\nrow_ok if input.row.country != "FR"\n',
    "without row_ok": HEAD % 'input.row.country == "FR"',
}


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with DemoCluster() as cluster:
        dsn = cluster.create_database("shop")
        shop.fill(dsn, customers=CUSTOMERS, orders=ORDERS, told=lambda *_: None)
        deployed.rows(dsn, "UPDATE customers SET country = 'FR' WHERE id <= 5")
        yield dsn


@pytest.fixture(params=sorted(RULES))
def workspace(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    opa: Path,
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Workspace:
    monkeypatch.setenv(deployed.DSN, dsn)
    monkeypatch.setenv("SPINE_OPA", str(opa))
    workspace = deployed.deploy(tmp_path / "shop", opa)
    rule = workspace.root / PLACE
    rule.parent.mkdir(parents=True)
    rule.write_text(RULES[request.param])
    return workspace


def test_route_asks_for_each_class_and_says_so(
    workspace: Workspace, dsn: str, opa: Path, spine: Spine
) -> None:
    where = ["--workspace", str(workspace.root), "--json"]
    plan = spine("cdc", "plan", *where)
    assert plan.status == 0
    assert plan.document["asks_per_class"] == [CODE]

    log = workspace.root / "log"
    child = deployed.start(workspace, log=log)
    deployed.wait(lambda: deployed.total(workspace) == CUSTOMERS + ORDERS)
    (status,) = spine("cdc", "status", *where).document
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0
    said = f"OPA is asked for each class of rows: no filter holds {CODE}"
    assert log.read_text().splitlines()[0] == said
    assert status["asks_per_class"] == [CODE]

    (french,) = deployed.rows(dsn, "SELECT count(*) FROM customers WHERE country = 'FR'")
    with duckdb.connect(str(workspace.root / ".spine/sinks/us-lake.duckdb")) as sink:
        held = sink.execute("SELECT count(*) FROM customers WHERE country = 'FR'").fetchall()
        others = sink.execute("SELECT count(*) FROM customers").fetchall()
    assert held == [(0,)]
    assert others[0][0] > 0
    with (
        Session(workspace, opa=opa) as session,
        dead_letter_replay.dead_letters(session, workspace.root / deployed.ROUTE) as letters,
    ):
        parked = letters.letters(table="customers", code=CODE)
        entry = session.journal.get(parked[0].decision_id)
    assert {(x.home, x.codes) for x in parked} == {("FR", (CODE,))}
    assert (len(parked), entry.class_count) == (french[0], french[0])

    with contextlib.closing(workspace.database):
        assert sum(deployed.outcomes(workspace).values()) == CUSTOMERS + ORDERS
    deployed.rows(dsn, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    slot = route_deploy.slot_name(workspace.state, deployed.NAME, "shop")
    deployed.rows(dsn, f"DROP PUBLICATION {slot}")
