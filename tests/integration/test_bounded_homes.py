"""Whoever fills the home column chooses neither how often OPA is asked nor what a journal holds."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import shop_route as deployed
from tests.conftest import Spine

from dataspine.adapters import dead_letter_replay
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.cdc.refusal import MAX_CLASSES
from dataspine.cli import shop
from dataspine.decisions.journal import Search

pytestmark = pytest.mark.integration

LONG, OVER = 3, 20
CUSTOMERS, ORDERS = MAX_CLASSES + OVER + LONG, 10


@pytest.fixture
def dsn(monkeypatch: pytest.MonkeyPatch, opa: Path) -> Iterator[str]:
    with DemoCluster() as cluster:
        dsn = cluster.create_database("shop")
        shop.fill(dsn, customers=CUSTOMERS, orders=ORDERS, told=lambda *_: None)
        deployed.rows(dsn, "ALTER TABLE customers ALTER COLUMN country TYPE text")
        deployed.rows(dsn, "UPDATE customers SET country = 'home ' || id")
        long = "UPDATE customers SET country = repeat('x', 1000000) || id WHERE id <= %d"
        deployed.rows(dsn, long % LONG)
        monkeypatch.setenv(deployed.DSN, dsn)
        monkeypatch.setenv("SPINE_OPA", str(opa))
        yield dsn


@pytest.mark.usefixtures("dsn")
def test_homes_over_the_bounds_park_in_two_classes_and_replay_judges_them(
    tmp_path: Path, opa: Path, spine: Spine
) -> None:
    workspace = deployed.deploy(tmp_path / "shop", opa)
    child = deployed.start(workspace)
    deployed.wait(lambda: deployed.total(workspace) == CUSTOMERS + ORDERS, 120)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0
    with Session(workspace, opa=opa) as session:
        for code, rows in (("cdc.home_too_long", LONG), ("cdc.too_many_homes", OVER)):
            (entry,) = session.journal.list(Search(code=code), limit=10)
            assert (entry.class_count, entry.acted, entry.decision.policy) == (rows, True, None)
            with dead_letter_replay.dead_letters(
                session, workspace.root / deployed.ROUTE
            ) as letters:
                parked = letters.letters(code=code)
            assert {letter.decision_id for letter in parked} == {entry.decision.decision_id}
            assert len(parked) == rows
            assert max(len(letter.home or "") for letter in parked) <= 256
        entries = session.journal.list(limit=1_000)
    assert max(len(json.dumps(entry.document())) for entry in entries) < 4_000
    run = spine("cdc", "dlq", "replay", "--workspace", str(workspace.root), "--json")
    assert run.status == 0
    assert (run.document["parked"], run.document["replayed"]) == (CUSTOMERS, 0)
