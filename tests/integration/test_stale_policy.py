"""``decisions.max-policy-age`` and ``on-stale``: seen, warned of, refused where it is asked for.

The limit of 0 s is over at once, so nothing has to be waited for.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests import shop_route as deployed
from tests.facts import schema_facts

from dataspine.adapters import row_replicate
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.cli import shop
from dataspine.core.errors import InputError
from dataspine.core.workspace import Workspace
from dataspine.decisions.decision import DecisionInput
from dataspine.web.app import create_app

pytestmark = pytest.mark.integration

FACTS = schema_facts("x", owner="a")


@pytest.fixture
def dsn(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with DemoCluster() as cluster:
        dsn = cluster.create_database("shop")
        monkeypatch.setenv(deployed.DSN, dsn)
        shop.fill(dsn, customers=20, orders=20, told=lambda *_: None)
        yield dsn


def with_decisions(workspace: Workspace, text: str) -> Workspace:
    path = workspace.root / "spine.yaml"
    path.write_text(f"{path.read_text()}\ndecisions: {{{text}}}\n")
    return Workspace.open(workspace.root)


@pytest.mark.parametrize(
    ("setting", "codes"),
    [
        ("max-policy-age: 0s, on-stale: deny", ("engine.stale_policy",)),
        ("max-policy-age: 0s, on-stale: warn", ()),
        ("max-policy-age: 0s", ()),
        ("max-policy-age: 1h, on-stale: deny", ()),
    ],
)
def test_stale_policy_denies_only_where_it_is_asked_for(
    workspace: Workspace,
    opa: Path,
    setting: str,
    codes: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Session(with_decisions(workspace, setting), opa=opa) as session:
        question = DecisionInput("schema.publish", session.clock(), FACTS)
        assert session.decide(question).codes == codes
        shown = TestClient(create_app(session), base_url="http://127.0.0.1").get("/metrics").text
    assert 'dataspine_policy_age_seconds{route=""}' in shown
    warned = any("the policy's age is" in r.getMessage() for r in caplog.records)
    assert warned is setting.startswith("max-policy-age: 0s")


def test_metrics_alone_start_no_engine(workspace: Workspace, opa: Path) -> None:
    with Session(workspace, opa=opa) as session:
        shown = TestClient(create_app(session), base_url="http://127.0.0.1").get("/metrics").text
        assert not session.decides
    assert "dataspine_policy_age_seconds{" not in shown


def test_denying_needs_a_limit(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="max-policy-age"):
        with_decisions(workspace, "on-stale: deny")


def test_route_waits_for_a_fresh_policy_and_moves_nothing(
    tmp_path: Path, opa: Path, dsn: str
) -> None:
    workspace = deployed.deploy(tmp_path / "shop", opa)
    stop = threading.Event()
    seen: list[dict[str, Any]] = []

    def told(status: dict[str, Any]) -> None:
        seen.append(status)
        if status["state"] == "waiting":
            stop.set()

    stale = with_decisions(workspace, "max-policy-age: 0s, on-stale: deny")
    with Session(stale, opa=opa) as session:
        row_replicate.run(session, workspace.root / deployed.ROUTE, stop, told=told)
    waiting = next(status for status in seen if status["state"] == "waiting")
    assert waiting["problem"].startswith("engine.stale_policy: ")
    assert deployed.outcomes(workspace) == {}
