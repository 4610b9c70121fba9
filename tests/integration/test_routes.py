"""A route in a process of its own, seen from outside: status, metrics, HTTP, dead letters."""

import dataclasses
import fcntl
import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from tests import shop_route as deployed
from tests.conftest import Spine

from dataspine.adapters import routes
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.cli import shop
from dataspine.core.clock import utc_now
from dataspine.core.workspace import Workspace
from dataspine.web.app import create_app

pytestmark = pytest.mark.integration

CUSTOMERS, ORDERS = 60, 90
SINK = ("us-east-1", "shop-to-us", "us-lake")
LAG = {"us-lake": {"p50": 0.25, "p95": 0.5, "records": 9, "skewed": False}}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[Workspace]:
    """The route ran through its snapshot, then sat idle, and was ended."""
    with DemoCluster() as cluster, pytest.MonkeyPatch.context() as patch:
        dsn = cluster.create_database("shop")
        patch.setenv(deployed.DSN, dsn)
        patch.setenv("SPINE_OPA", str(opa))
        shop.fill(dsn, customers=CUSTOMERS, orders=ORDERS, told=lambda *_: None)
        workspace = deployed.deploy(tmp_path_factory.mktemp("routes") / "shop", opa)
        child = deployed.start(workspace)
        deployed.wait(lambda: deployed.total(workspace) == CUSTOMERS + ORDERS)
        deployed.wait(lambda: deployed.state(workspace)[0] == "streaming")
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
        yield workspace


@pytest.fixture
def session(workspace: Workspace, opa: Path) -> Iterator[Session]:
    with Session(workspace, opa=opa) as opened:
        yield opened


@pytest.fixture
def client(session: Session) -> TestClient:
    return TestClient(create_app(session), base_url="http://127.0.0.1")


def said(workspace: Workspace, **changes: Any) -> None:
    """Change what the route last said of itself."""
    with closing(sqlite3.connect(workspace.state / "spine.db")) as database, database:
        (text,) = database.execute("SELECT status FROM cdc_routes").fetchone()
        status = json.dumps({**json.loads(text), **changes})
        database.execute("UPDATE cdc_routes SET status = ?", (status,))


def metrics(client: TestClient) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample of a route: name and label values (in the order of their names) to value."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("cdc_")
    }


def emails(workspace: Workspace) -> list[str]:
    """The parked customers' addresses."""
    with closing(sqlite3.connect(workspace.state / "dead-letter/eu-west-1.db")) as letters:
        found = letters.execute(
            "SELECT payload FROM payload JOIN dead_letter USING (id) WHERE tbl = 'customers'"
        )
        return [str(json.loads(payload)["email"]) for (payload,) in found]


def test_running_route_is_measured(workspace: Workspace, client: TestClient) -> None:
    now = utc_now().isoformat()
    sampled = {"clock_skew": {"shop": 1.5}, "slot_lag_bytes": {"shop": 64}}
    said(workspace, state="streaming", at=now, fresh_seconds=3600, lag=LAG, **sampled)
    found = metrics(client)
    outcomes = deployed.outcomes(workspace)
    assert found["cdc_lag_p95", SINK] == 0.5
    assert found["cdc_lag_p50", SINK] == 0.25
    assert found["cdc_clock_skew_seconds", ("shop-to-us", "shop")] == 1.5
    assert found["cdc_slot_lag_bytes", ("shop-to-us", "shop")] == 64
    assert found["cdc_route_running", ("shop-to-us",)] == 1
    assert found["cdc_route_state", ("shop-to-us", "streaming")] == 1
    assert found["cdc_dlq_parked", SINK] == outcomes["parked"] > 0
    assert 0 < found["cdc_dlq_oldest_age_seconds", SINK] < 3600
    for word, number in outcomes.items():
        assert found["cdc_records_total", (word, "shop-to-us", "us-lake")] == number
    assert sum(outcomes.values()) == CUSTOMERS + ORDERS


def test_route_that_runs_already_is_not_run_again(
    workspace: Workspace, session: Session, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    before = session.outbox.counts()
    with (workspace.state / f"run-{deployed.NAME}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert deployed.start(workspace, log=said).wait(60) == 2
    assert "cdc.already_running" in said.read_text()
    assert session.outbox.counts() == before


@pytest.mark.parametrize(
    ("state", "shown"), [("streaming", "silent"), ("stopped", "stopped"), ("failed", "failed")]
)
def test_route_that_no_longer_speaks_does_not_look_healthy(
    workspace: Workspace, client: TestClient, state: str, shown: str
) -> None:
    past = (utc_now() - timedelta(seconds=500)).isoformat()
    said(workspace, state=state, at=past, fresh_seconds=15, lag=LAG, slot_lag_bytes={"shop": 64})
    found = metrics(client)
    assert found["cdc_lag_p95", SINK] >= 500
    assert found["cdc_route_running", ("shop-to-us",)] == 0
    assert found["cdc_route_state", ("shop-to-us", shown)] == 1
    assert found["cdc_status_age_seconds", ("shop-to-us",)] >= 500
    # What was measured long ago is no measurement.
    assert ("cdc_slot_lag_bytes", ("shop-to-us", "shop")) not in found


def test_route_that_never_ran_is_as_late_as_its_deployment(session: Session) -> None:
    (seen,) = routes.views(session)
    stored = dataclasses.replace(seen.stored, status={"state": "applied"})
    new = routes.RouteView(stored, age=77.0, outcomes={}, parked=None)
    assert (new.is_running, new.state) == (False, "applied")
    assert new.lag == {"us-lake": {"p50": 0.0, "p95": 77.0, "records": 0, "skewed": False}}
    assert new.document()["parked"] is None


def test_route_is_shown_with_facts_decision_and_positions(
    workspace: Workspace, client: TestClient
) -> None:
    (listed,) = client.get("/v1/routes").json()
    shown = client.get("/v1/routes/shop-to-us").json()
    assert shown["facts"]["name"] == "shop-to-us"
    assert shown["decision"]["allow"] is True
    assert shown["decision"]["decision_id"] == listed["decision_id"]
    assert shown["outcomes"] == {"us-lake": deployed.outcomes(workspace)}
    assert shown["positions"]["shop"]["us-lake"] > 0
    assert shown["asks_per_class"] == []
    assert set(listed) == set(shown) - {"facts", "decision"}
    missing = client.get("/v1/routes/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "cdc.not_applied")


def test_dead_letters_are_listed_in_pages_and_never_with_their_contents(
    workspace: Workspace, client: TestClient
) -> None:
    parked = deployed.outcomes(workspace)["parked"]
    whole = client.get("/v1/dead-letters").json()
    assert whole["counts"] == {"parked": parked}
    assert len(whole["letters"]) == parked
    assert whole["after"] is None
    seen: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = client.get(f"/v1/dead-letters?route=shop-to-us&limit=7&after={after}").json()
        seen += page["letters"]
        after = page["after"]
    assert seen == whole["letters"]
    orders = client.get("/v1/dead-letters?table=orders&sink=us-lake").json()["letters"]
    assert orders == [x for x in seen if x["table"] == "orders"]
    code = seen[0]["codes"][0]
    assert client.get(f"/v1/dead-letters?code={code}").json()["letters"] == [
        x for x in seen if code in x["codes"]
    ]
    assert client.get("/v1/dead-letters?code=no.such").json()["letters"] == []
    assert all("payload" not in x and "key_hash" not in x for x in seen)
    assert [x for x in emails(workspace) if x in json.dumps(whole)] == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 422),
        ("limit=501", 422),
        ("after=x", 422),
        ("after=-1", 422),
        ("after=99999999999999999999", 422),
        ("route=none", 404),
    ],
)
def test_bad_dead_letter_questions_are_refused(client: TestClient, query: str, status: int) -> None:
    answer = client.get(f"/v1/dead-letters?{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_dead_letter_is_shown_with_its_contents_only_on_request(
    workspace: Workspace, spine: Spine
) -> None:
    command = ["cdc", "dlq", "show", "1", "--json", "--workspace", str(workspace.root)]
    plain, whole = spine(*command), spine(*command, "--payload")
    assert (plain.status, whole.status) == (0, 0)
    document = plain.document
    assert document["codes"] == ["residency.home_not_allowed"]
    assert [x for x in emails(workspace) if x in plain.stdout + plain.stderr] == []
    shown = whole.document
    assert shown["payload"].keys() > {"id", "country"}
    assert shown == {**document, "payload": shown["payload"]}


def test_status_is_told_on_the_command_line(workspace: Workspace, spine: Spine) -> None:
    command = ["cdc", "status", "--workspace", str(workspace.root)]
    now, past = utc_now().isoformat(), (utc_now() - timedelta(seconds=70)).isoformat()
    sampled = {"lag": LAG, "slot_lag_bytes": {"shop": 6400}, "problem": ""}
    said(workspace, state="streaming", at=now, since=past, fresh_seconds=3600, **sampled)
    shown = spine(*command)
    (document,) = spine(*command, "--json").document
    parked = document["outcomes"]["us-lake"]["parked"]
    lines = shown.stdout.splitlines()
    assert shown.status == 0
    assert lines[0] == f"shop-to-us  streaming since {past}"
    assert lines[1].split() == ["lag", "us-lake", "p50", "0.25", "s,", "p95", "0.50", "s"]
    assert lines[2].split() == ["log", "kept", "shop", "6,400", "bytes"]
    assert lines[3].split()[:5] == ["parked", "us-lake", f"{parked:,}", "rows,", "the"]
    assert (document["state"], document["since"]) == ("streaming", past)
    assert document["outcomes"] == {"us-lake": deployed.outcomes(workspace)}

    fault = {"problem": "cdc.x: wrong", "where": "route r", "remedy": "Do it."}
    said(workspace, state="waiting", failing_since=past, **fault)
    lines = spine(*command).stdout.splitlines()
    assert lines[1:3] == ["  cdc.x: wrong", f"  (route r, since {past}) Do it."]
    assert lines[3].split() == ["lag", "us-lake", "at", "least", "0.50", "s"]
    said(workspace, **dict.fromkeys((*fault, "failing_since"), ""))

    said(workspace, state="streaming", at=past, since=past, fresh_seconds=15)
    (document,) = spine(*command, "--json").document
    assert (document["state"], document["since"]) == ("silent", past)


def test_parked_rows_are_listed_whole_in_a_pipe(workspace: Workspace, spine: Spine) -> None:
    command = ["cdc", "dlq", "list", "--limit", "1", "--workspace", str(workspace.root)]
    shown = spine(*command)
    (letter,) = spine(*command, "--json").document["letters"]
    assert shown.stdout.splitlines()[1].split() == [
        str(letter["id"]),
        "us-lake",
        letter["table"],
        letter["home"],
        "residency.home_not_allowed",
        letter["decision_id"],
    ]


FROZEN = """# METADATA
# title: No replay during the freeze
# description: Dead letters stay where they are.
# custom:
#   message: "{route} is frozen"
#   remediation: Wait for the end of the freeze.
package dataspine.custom.shop.frozen

import data.dataspine.lib.result

deny contains violation if {
	input.point == "dead_letter.replay"
	input.facts.counts.rows > 0
	input.facts.actor.name != ""
	violation := result.violation(rego.metadata.chain(), {"path": "", "route": input.facts.name})
}
"""


@pytest.mark.parametrize(
    ("frozen", "dry_run", "status", "acted"),
    [(True, True, 1, False), (True, False, 1, False), (False, True, 0, False)],
    ids=["denied dry run", "denied", "allowed dry run"],
)
def test_replay_asks_first_and_a_denied_one_replays_nothing(
    workspace: Workspace, spine: Spine, frozen: bool, dry_run: bool, status: int, acted: bool
) -> None:
    rule = workspace.root / "policies/dataspine/custom/shop/frozen/frozen.rego"
    rule.parent.mkdir(parents=True, exist_ok=True)
    command = ["cdc", "dlq", "replay", "--json", "--workspace", str(workspace.root)]
    before = deployed.outcomes(workspace)
    try:
        if frozen:
            rule.write_text(FROZEN)
        made = spine(*command, *(["--dry-run"] if dry_run else []))
    finally:
        rule.unlink(missing_ok=True)
    decision = made.document["decision"]
    with Session(workspace) as session:
        entry = session.journal.get(decision["decision_id"])
    codes = ["shop.frozen"] if frozen else []
    assert (made.status, [each["code"] for each in decision["violations"]]) == (status, codes)
    assert (entry.decision.point, entry.name, entry.acted) == (
        "dead_letter.replay",
        "shop-to-us",
        acted,
    )
    assert made.document["replayed"] == 0
    assert (made.document["parked"] > 0) is not frozen
    assert deployed.outcomes(workspace) == before
