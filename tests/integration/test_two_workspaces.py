"""Two workspaces have a route of the same name on the same database, and leave each other alone."""

import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests import shop_route as deployed
from tests.conftest import Spine

from dataspine.adapters.route_deploy import slot_name
from dataspine.cdc.cluster import DemoCluster
from dataspine.cdc.state import RouteStore
from dataspine.cli import shop
from dataspine.core.workspace import Workspace

pytestmark = pytest.mark.integration

CUSTOMERS, ORDERS = 30, 40
SLOTS = "SELECT slot_name::text FROM pg_replication_slots ORDER BY 1"
PUBLICATIONS = "SELECT pubname::text FROM pg_publication ORDER BY 1"


@pytest.fixture
def dsn(opa: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with DemoCluster() as cluster:
        dsn = cluster.create_database("shop")
        shop.fill(dsn, customers=CUSTOMERS, orders=ORDERS, told=lambda *_: None)
        monkeypatch.setenv(deployed.DSN, dsn)
        monkeypatch.setenv("SPINE_OPA", str(opa))
        yield dsn


def test_snapshot_and_end_of_one_leave_the_other_alone(
    tmp_path: Path, opa: Path, dsn: str, spine: Spine
) -> None:
    workspaces = [deployed.deploy(tmp_path / who / "shop", opa) for who in ("ann", "bob")]
    names = [(slot_name(w.state, deployed.NAME, "shop"),) for w in workspaces]
    events = CUSTOMERS + ORDERS
    running: list[subprocess.Popen[bytes]] = []
    try:
        for workspace in workspaces:
            running.append(deployed.start(workspace))
            deployed.wait(lambda w=workspace: deployed.total(w) == events)  # type: ignore[misc] # no type of a default
        assert deployed.rows(dsn, SLOTS) == deployed.rows(dsn, PUBLICATIONS) == sorted(names)
        deployed.wait(lambda: deployed.state(workspaces[0])[0] == "streaming")
        before = _status(workspaces[0])

        _end(spine, workspaces[1], running.pop())
        assert deployed.rows(dsn, SLOTS) == deployed.rows(dsn, PUBLICATIONS) == names[:1]
        order = f"INSERT INTO orders VALUES ({ORDERS + 1}, 1, 'DE', 'EUR', 1, 'placed')"
        deployed.rows(dsn, order)
        deployed.wait(lambda: deployed.total(workspaces[0]) == events + 1)
        deployed.wait(lambda: _status(workspaces[0])["at"] > before["at"])
        # Nothing happened to it: it still is what it was, since when it was.
        after = _status(workspaces[0])
        assert [after[word] for word in ("state", "since")] == ["streaming", before["since"]]

        _end(spine, workspaces[0], running.pop())
        assert deployed.rows(dsn, SLOTS) == deployed.rows(dsn, PUBLICATIONS) == []
    finally:
        for child in running:
            child.kill()
            child.wait()


def _status(workspace: Workspace) -> Mapping[str, Any]:
    return RouteStore(workspace.database).get(deployed.NAME).status


def _end(spine: Spine, workspace: Workspace, child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0
    ended = spine("cdc", "destroy", "--workspace", str(workspace.root))
    assert ended.status == 0, ended.stderr


def test_name_is_stable_short_and_one_of_its_own(tmp_path: Path) -> None:
    long = "r" * 32
    asked = [("a-b", "c"), ("a", "b-c"), (long, long), (long, long[:-1])]
    here, there = tmp_path / "here", tmp_path / "there"
    names = [slot_name(state, *each) for state in (here, there) for each in asked]
    assert names == [slot_name(state, *each) for state in (here, there) for each in asked]
    assert len(set(names)) == len(names)
    assert names[0].startswith("spine_a_b_c_")
    assert max(map(len, names)) == 63
