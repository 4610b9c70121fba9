"""Every route that may change something asks who may; the few that do not say why."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.testclient import TestClient
from tests.lineage.samples import run_event
from tests.logged_in import TOKENS, logged_in

from dataspine.adapters.init import init
from dataspine.adapters.session import Session
from dataspine.decisions.journal import Search
from dataspine.web.app import create_app

pytestmark = pytest.mark.integration

SCHEMA = {"schema": '"long"'}
TEXT = {"schema": '"string"'}
LEVEL, MODE = {"compatibility": "FULL"}, {"mode": "READONLY"}
RESERVED = {"channel": "stable", "digest": f"sha256:{'0' * 64}"}


class Call(NamedTuple):
    """A request that would change something, and the permission that it needs."""

    path: str
    body: Any
    permission: str


ASKED = {
    ("POST", "/schemas/{subject}/versions"): Call(
        "/schemas/shop.a/versions", TEXT, "publish shop.a"
    ),
    ("POST", "/subjects/{subject}/versions"): Call(
        "/subjects/shop.a/versions", TEXT, "publish shop.a"
    ),
    ("DELETE", "/subjects/{subject}"): Call("/subjects/shop.a", None, "erase shop.a"),
    ("DELETE", "/subjects/{subject}/versions/{number}"): Call(
        "/subjects/shop.a/versions/1", None, "erase shop.a"
    ),
    ("PUT", "/config"): Call("/config", LEVEL, "configure *"),
    ("DELETE", "/config"): Call("/config", None, "configure *"),
    ("PUT", "/config/{subject}"): Call("/config/shop.a", LEVEL, "configure shop.a"),
    ("DELETE", "/config/{subject}"): Call("/config/shop.a", None, "configure shop.a"),
    ("PUT", "/mode"): Call("/mode", MODE, "configure *"),
    ("DELETE", "/mode"): Call("/mode", None, "configure *"),
    ("PUT", "/mode/{subject}"): Call("/mode/shop.a", MODE, "configure shop.a"),
    ("DELETE", "/mode/{subject}"): Call("/mode/shop.a", None, "configure shop.a"),
    ("POST", "/v1/bundles"): Call("/v1/bundles", RESERVED, "publish channel:stable"),
    ("POST", "/v1/channels/{channel}/rollback"): Call(
        "/v1/channels/stable/rollback", {"to": 1, "reason": "r"}, "rollback channel:stable"
    ),
    ("POST", "/v1/channels/{channel}/approve"): Call(
        "/v1/channels/stable/approve", {"revision": "{revision}"}, "approve channel:stable"
    ),
    ("POST", "/v1/channels/{channel}/promote"): Call(
        "/v1/channels/canary/promote", {"revision": "{revision}"}, "promote channel:canary"
    ),
    ("POST", "/v1/channels/{channel}/release"): Call(
        "/v1/channels/stable/release", {"sequence": 1, "reason": "r"}, "configure channel:stable"
    ),
    ("POST", "/api/v1/lineage"): Call("/api/v1/lineage", run_event(), "lineage *"),
    ("POST", "/api/v1/lineage/batch"): Call("/api/v1/lineage/batch", [run_event()], "lineage *"),
}
UNASKED = {
    ("POST", "/v1/decisions/{point}"): "a question: it changes nothing, and is recorded as asked",
    ("POST", "/schemas/{subject}/validate"): "a question: it stores no schema",
    ("POST", "/subjects/{subject}"): "a look-up whose body is too long for an address",
    ("POST", "/compatibility/subjects/{subject}/versions"): "a comparison: it stores nothing",
    ("POST", "/compatibility/subjects/{subject}/versions/{number}"): "the same",
    ("PUT", "/v1/bundles/{channel}/{sequence}"): "a trusted key's signature permits it",
    ("POST", "/logs"): "an instance's own token permits its own log",
    ("POST", "/status"): "an instance's own token permits its own report",
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[Session]:
    workspace = logged_in(tmp_path_factory.mktemp("permissions") / "shop")
    with Session(workspace, opa=opa, actor="root") as session:
        yield session


@pytest.fixture(scope="module")
def client(session: Session) -> TestClient:
    made = TestClient(create_app(session), base_url="http://127.0.0.1")
    for method, path, body in (
        ("POST", "/subjects/shop.a/versions", SCHEMA),
        ("PUT", "/config/shop.a", LEVEL),
        ("PUT", "/mode/shop.a", {"mode": "READWRITE"}),
    ):
        assert made.request(method, path, json=body, headers=_as("bo")).status_code == 200
    return made


def _as(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name]}"}


def test_every_route_that_is_not_read_asks_or_says_why_not(client: TestClient) -> None:
    paths = client.get("/openapi.json", headers=_as("eve")).json()["paths"]
    changing = {
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if method in {"post", "put", "patch", "delete"}
    }
    assert changing == set(ASKED) | set(UNASKED)
    assert not set(ASKED) & set(UNASKED)


@pytest.mark.parametrize("route", ASKED, ids=" ".join)
def test_nobody_changes_anything_without_the_permission(
    session: Session, client: TestClient, route: tuple[str, str]
) -> None:
    call = ASKED[route]
    body = call.body
    if body == {"revision": "{revision}"}:
        body = {"revision": session.revision}
    answer = client.request(route[0], call.path, json=body, headers=_as("eve"))
    assert answer.status_code == 403, answer.json()
    newest = session.journal.list(Search(point="api.access"), limit=1)[0]
    assert (newest.actor, newest.verified, newest.decision.allow, newest.acted) == (
        "eve",
        True,
        False,
        False,
    )
    assert newest.decision.violations[0].message == f"eve may not {call.permission}"


def test_who_is_granted_it_reports_lineage_and_reserves(client: TestClient) -> None:
    answers = [
        client.post("/api/v1/lineage", json=run_event(), headers=_as("bo")),
        client.post("/api/v1/lineage/batch", json=[run_event()], headers=_as("bo")),
        client.post("/v1/bundles", json=RESERVED, headers=_as("bo")),
    ]
    assert [each.status_code for each in answers] == [201, 200, 201]


def test_without_logins_whoever_reaches_the_service_reports_lineage(
    opa: Path, tmp_path: Path
) -> None:
    workspace = init(tmp_path / "shop", name="shop", told=lambda _: None)
    with Session(workspace, opa=opa) as session:
        client = TestClient(create_app(session), base_url="http://127.0.0.1")
        answer = client.post("/api/v1/lineage", json=run_event())
        assert (answer.status_code, session.decides) == (201, False)
