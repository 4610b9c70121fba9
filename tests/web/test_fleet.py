"""The sidecars' and the fleet's addresses, over HTTP."""

import gzip
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient
from tests import store

from dataspine.adapters.session import Session
from dataspine.web.app import create_app

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[Session]:
    with ExitStack() as stack:
        workspace = stack.enter_context(store.workspace(tmp_path_factory.mktemp("fleet") / "shop"))
        session = stack.enter_context(Session(workspace, opa=opa, actor="ada"))
        assert session.active.sequence == 1
        yield session


@pytest.fixture(scope="module")
def client(session: Session) -> TestClient:
    app = create_app(session)
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def _event(decision_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "decision_id": decision_id,
        "timestamp": "2026-11-23T09:00:00Z",
        "path": "dataspine/main/schema_publish",
        "result": {"allow": False, "violations": [{"code": "pii.untagged_field"}]},
        **changes,
    }


def test_logs_are_taken_gzipped_or_plain_and_found(client: TestClient, session: Session) -> None:
    token = session.fleet.tokens.issue("pod-1", actor="ada")
    headers = {"Authorization": f"Bearer {token}", "Content-Encoding": "gzip"}
    packed = gzip.compress(json.dumps([_event("d1"), _event("d2")]).encode())
    taken = [
        client.post("/logs", content=packed, headers=headers),
        client.post("/logs", content=packed, headers=headers),
        client.post("/logs", json=[_event("d3")], headers={"X-Spine-Instance": "pod-2"}),
    ]
    assert [each.status_code for each in taken] == [204, 204, 204]
    page = client.get("/v1/decision-log", params={"code": "pii.untagged_field", "limit": 2}).json()
    rest = client.get("/v1/decision-log", params={"before": page["next"]}).json()
    assert [e["decision_id"] for e in page["decisions"] + rest["decisions"]] == ["d3", "d2", "d1"]
    assert [e["instance"] for e in page["decisions"]] == ["pod-2", "pod-1"]
    assert rest["next"] is None
    assert client.get("/v1/decision-log/d1").json() == _event("d1")
    # Their clocks, or their uploads, are far behind.
    assert client.get("/v1/decision-log", params={"clock": True}).json()["decisions"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/logs", "{", 422),
        ("POST", "/logs", "{}", 422),
        ("POST", "/status", "[]", 422),
        ("POST", "/status", "{}", 422),
        ("POST", "/status", '{"labels": {"a": "' + "x" * 1_048_576 + '"}}', 413),
        ("GET", "/v1/decision-log?before=x", None, 422),
        ("GET", "/v1/decision-log?since=x", None, 422),
        ("GET", "/v1/decision-log/none", None, 404),
        ("POST", "/v1/channels/dev/release", '{"sequence": 9, "reason": "x"}', 404),
        ("POST", "/v1/channels/dev/release", '{"sequence": "x", "reason": "x"}', 422),
        ("GET", "/bundles/no such.tar.gz", None, 404),
    ],
)
def test_bad_input_is_a_problem(
    client: TestClient, method: str, path: str, body: str | None, status: int
) -> None:
    answer = client.request(
        method, path, content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, bool(answer.json()["code"])) == (status, True)


@store.only_sqlite
def test_a_disk_that_is_full_asks_for_the_chunk_again(client: TestClient, session: Session) -> None:
    with session.database.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    limit = [pages]

    def bound(connection: Any, *_: object) -> None:
        # SQLite answers as on a full disk when the file may not grow.
        connection.execute(f"PRAGMA max_page_count = {limit[0]}").close()

    sa.event.listen(session.database._store._engine, "checkout", bound)
    many = [_event(f"many-{number}", padding=str(number) * 90) for number in range(4_000)]
    answer = client.post("/logs", json=many)
    limit[0] = 1_000_000
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.post("/logs", json=many).status_code == 204


def test_the_fleet_is_shown_and_counted(client: TestClient, session: Session) -> None:
    token = session.fleet.tokens.issue("pod-1", actor="ada")
    headers = {"Authorization": f"Bearer {token}"}
    served = client.get("/bundles/dev.tar.gz", headers=headers)
    revision = session.active.revision
    report = {"labels": {"id": "u"}, "bundles": {"main": {"active_revision": revision}}}
    assert client.post("/status", json=report, headers=headers).status_code == 204
    claim = {"labels": {"id": "v"}, "bundles": {"main": {"active_revision": "forged"}}}
    client.get("/bundles/dev.tar.gz", headers={"X-Spine-Instance": "claim"})
    client.post("/status", json=claim, headers={"X-Spine-Instance": "claim"})
    fleet = client.get("/v1/fleet").json()
    rows = {row["name"]: row for row in fleet["instances"] if row["channel"]}
    assert fleet["holds"] == []
    assert (rows["pod-1"]["revision"], rows["pod-1"]["stale"]) == (revision, False)
    assert f'"{rows["pod-1"]["served_etag"]}"' == served.headers["etag"]
    assert "never published" in rows["claim"]["alarm"]
    metrics = client.get("/metrics").text
    for line in (
        f'dataspine_fleet_instances{{channel="dev",revision="{revision}"}} 1.0',
        'dataspine_fleet_instances{channel="dev",revision="unknown"} 1.0',
        'dataspine_fleet_stale{channel="dev"} 0.0',
        'dataspine_fleet_alarms{channel="dev"} 1.0',
    ):
        assert line in metrics


def test_a_chunk_of_a_million_decisions_is_taken_counted_and_not_kept(client: TestClient) -> None:
    result = b"[" + b'{"allow":true},' * 1_000_000 + b"{}]"
    event = json.dumps(_event("many", result=None)).encode().replace(b"null", result)
    packed = gzip.compress(b"[" + event + b"]")
    answer = client.post("/logs", content=packed, headers={"Content-Encoding": "gzip"})
    counted = "dataspine_decision_log_refused_total 1.0" in client.get("/metrics").text
    found = client.get("/v1/decision-log/many%231").status_code
    assert (answer.status_code, counted, found) == (204, True, 404)


def test_discovery_is_signed_once(client: TestClient) -> None:
    first = client.get("/discovery/bundle.tar.gz")
    etag = first.headers["etag"]
    again = client.get("/discovery/bundle.tar.gz", headers={"If-None-Match": etag})
    assert (first.status_code, again.status_code, again.headers["etag"]) == (200, 304, etag)
