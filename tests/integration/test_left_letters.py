"""What a route left in its dead letters stays in reach: after `destroy`, and when it moves."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import shop_route as deployed
from tests.conftest import Spine

from dataspine.adapters.routes import letters_path
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.cdc.dead_letter import DeadLetterStore, Parked
from dataspine.cli import shop
from dataspine.core.workspace import Workspace

pytestmark = pytest.mark.integration

CANARY = "canary-51b2"
PURGE = ("cdc", "dlq", "purge", "--parked", "--older-than", "1s", "--json")


@pytest.fixture
def cluster() -> Iterator[DemoCluster]:
    with DemoCluster() as running:
        yield running


@pytest.fixture
def workspace(
    tmp_path: Path, opa: Path, cluster: DemoCluster, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    """An applied route with a row parked in Ireland long ago."""
    dsn = cluster.create_database("shop")
    monkeypatch.setenv(deployed.DSN, dsn)
    monkeypatch.setenv("SPINE_OPA", str(opa))
    shop.fill(dsn, customers=5, orders=5, told=lambda *_: None)
    workspace = deployed.deploy(tmp_path / "shop", opa)
    monkeypatch.chdir(workspace.root)
    with Session(workspace, opa=opa) as session:
        store = DeadLetterStore(letters_path(session, "eu-west-1"), deployed.NAME)
    store.begin()
    store.park(
        [
            Parked(
                *("shop", deployed.SINK, "customers", "0" * 40, 7, 0, "JP", '["x"]', "d"),
                *(f'{{"id": "1", "email": "{CANARY}"}}', "f", 0),
            )
        ]
    )
    store.commit()
    store.settle("f")
    store.close()
    return workspace


@pytest.mark.parametrize("forget", [(), ("--forget",)], ids=["destroy", "forget"])
def test_destroyed_route_leaves_nothing_out_of_reach(
    workspace: Workspace, spine: Spine, forget: tuple[str, ...]
) -> None:
    assert spine("cdc", "destroy", *forget).status == 0
    shown = spine("cdc", "dlq", "show", "1", "--payload", "--json").document
    assert shown["payload"] == {"id": "1", "email": CANARY}
    assert [x["id"] for x in spine("cdc", "dlq", "list", "--json").document["letters"]] == [1]
    assert spine("cdc", "dlq", "replay", "--json").status == 2  # through which gate?
    assert spine(*PURGE).document["letters"] == {"parked": 1}
    files = (workspace.state / "dead-letter").iterdir()
    assert not [f.name for f in files if CANARY.encode() in f.read_bytes()]
    assert "cdc.not_applied" in spine("cdc", "dlq", "list", "--json").stdout


def test_route_moves_to_another_region_without_rows_behind_it(
    workspace: Workspace, spine: Spine
) -> None:
    path = workspace.root / deployed.ROUTE
    path.write_text(path.read_text().replace("eu-west-1", "eu-central-1"))
    for command in ("plan", "apply"):
        refused = spine("cdc", command, "--json")
        assert refused.status == 2
        assert "cdc.letters_left" in refused.stdout
    # As the remedy says.
    assert spine(*PURGE).document["letters"] == {"parked": 1}
    assert spine("cdc", "destroy").status == 0
    assert spine("cdc", "apply").status == 0
