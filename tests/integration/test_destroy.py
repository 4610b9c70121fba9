"""`spine cdc destroy` drops what was applied; `--forget` says what it could not drop."""

from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from starlette.testclient import TestClient
from tests import shop_route as deployed
from tests.conftest import Spine

from dataspine.adapters import route_deploy, routes
from dataspine.adapters.access import DeniedError
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.cli import shop
from dataspine.core.errors import NotFoundError
from dataspine.core.identity import Principal, acting_as
from dataspine.core.workspace import Workspace
from dataspine.web.app import create_app

pytestmark = pytest.mark.integration

LEFT = "SELECT (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_publication)"


@pytest.fixture
def cluster() -> Iterator[DemoCluster]:
    with DemoCluster() as running:
        yield running


@pytest.fixture
def workspace(
    tmp_path: Path, opa: Path, cluster: DemoCluster, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    """A route that ran: its slot and its publication are at the source."""
    dsn = cluster.create_database("shop")
    monkeypatch.setenv(deployed.DSN, dsn)
    monkeypatch.setenv("SPINE_OPA", str(opa))
    shop.fill(dsn, customers=5, orders=5, told=lambda *_: None)
    workspace = deployed.deploy(tmp_path / "shop", opa)
    child = deployed.start(workspace)
    deployed.wait(lambda: deployed.total(workspace) == 10)
    child.terminate()
    assert child.wait(30) == 0
    assert deployed.rows(dsn, LEFT) == [(1, 1)]
    return workspace


def test_applied_route_is_dropped_whatever_its_file_says(
    workspace: Workspace, cluster: DemoCluster, spine: Spine
) -> None:
    path = workspace.root / deployed.ROUTE
    changed = path.read_text().replace("  - name: shop\n", "  - name: store\n", 1)
    path.write_text(changed.replace("env:SPINE_SHOP_DSN", "env:NOWHERE"))
    made = spine("cdc", "destroy", "--json", "--workspace", str(workspace.root))
    assert made.status == 0, made.stderr
    assert made.document == {"route": deployed.NAME, "destroyed": True}
    assert deployed.rows(cluster.dsn("shop"), LEFT) == [(0, 0)]


def test_route_is_forgotten_without_its_source(
    workspace: Workspace, cluster: DemoCluster, spine: Spine, opa: Path
) -> None:
    command = ["cdc", "destroy", "--workspace", str(workspace.root)]
    cluster.stop()
    assert spine(*command).status == 3
    with Session(workspace, opa=opa) as session:
        (seen,) = routes.views(session)
        parked = sum(rows for rows, _ in (seen.parked or {}).values())
        slot = route_deploy.slot_name(workspace.state, deployed.NAME, "shop")
    made = spine(*command, "--forget", "--json")
    assert made.status == 0, made.stderr
    drop = [f"SELECT pg_drop_replication_slot('{slot}')", f"DROP PUBLICATION IF EXISTS {slot}"]
    assert made.document == {
        "route": deployed.NAME,
        "forgotten": True,
        "parked": parked,
        "left": {"shop": drop},
    }
    with Session(workspace, opa=opa) as session:
        assert routes.views(session) == []
        client = TestClient(create_app(session), base_url="http://127.0.0.1")
        assert f'route="{deployed.NAME}"' not in client.get("/metrics").text
        entries = session.journal.list(limit=5)
        assert ("api.access", deployed.NAME, True) in [
            (entry.decision.point, entry.name, entry.acted) for entry in entries
        ]
    # What it says is what it takes, should the source come back.
    cluster.start()
    with psycopg2.connect(cluster.dsn("shop")) as connection:
        connection.autocommit = True
        for statement in drop:
            connection.cursor().execute(statement)
    connection.close()
    assert deployed.rows(cluster.dsn("shop"), LEFT) == [(0, 0)]
    again = spine(*command, "--forget", "--json")
    assert again.status == 2
    assert "cdc.not_applied" in again.stdout + again.stderr


def test_who_may_not_deploy_a_route_may_not_make_it_forgotten(
    workspace: Workspace, opa: Path
) -> None:
    path = workspace.root / deployed.ROUTE
    with Session(workspace, opa=opa) as session:
        for act in (route_deploy.forget, route_deploy.destroy):
            with acting_as(Principal("eve")), pytest.raises(DeniedError):
                act(session, path)
        assert [view.stored.name for view in routes.views(session)] == [deployed.NAME]
        route_deploy.forget(session, path)
        with pytest.raises(NotFoundError):
            route_deploy.forget(session, path)
