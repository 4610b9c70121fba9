"""Every change over HTTP asks whether whoever calls may make it, and is refused with a reason."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.logged_in import TOKENS, logged_in

from dataspine.adapters.session import Session
from dataspine.decisions.journal import Search
from dataspine.web.app import create_app

pytestmark = pytest.mark.integration

SCHEMA = {"schema": '{"type":"record","name":"a","fields":[{"name":"n","type":"long"}]}'}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[Session]:
    workspace = logged_in(tmp_path_factory.mktemp("access") / "shop")
    with Session(workspace, opa=opa, actor="root") as session:
        yield session


@pytest.fixture(scope="module")
def client(session: Session) -> TestClient:
    return TestClient(create_app(session), base_url="http://127.0.0.1")


def _as(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name]}"}


def _asked(session: Session) -> list[tuple[str, str, bool, bool]]:
    rows = session.journal.list(Search.of({"point": "api.access"}, where=""), limit=100)
    found = [row.document() for row in rows]
    return [(row["actor"], row["name"], row["allow"], row["acted"]) for row in reversed(found)]


def test_who_may_publish_is_recorded_as_who_did(session: Session, client: TestClient) -> None:
    before = len(_asked(session))
    denied = client.post("/schemas/shop.first/versions", json=SCHEMA, headers=_as("eve"))
    made = client.post("/schemas/shop.first/versions", json=SCHEMA, headers=_as("ada"))
    # What is there already is known without a question, to whoever may call.
    known = client.post("/schemas/shop.first/versions", json=SCHEMA, headers=_as("eve"))
    assert (denied.status_code, made.status_code, known.status_code) == (403, 201, 200)
    told = denied.json()
    assert {key: told[key] for key in ("code", "title", "where", "remedy", "point", "allow")} == {
        "code": "access.denied",
        "title": "Denied by policy",
        "where": "shop.first",
        "remedy": "Ask for `publish` on shop.first: a grant under `access.grants` in spine.yaml.",
        "point": "api.access",
        "allow": False,
    }
    assert _asked(session)[before:] == [
        ("eve", "shop.first", False, False),
        ("ada", "shop.first", True, True),
    ]
    version = client.get("/schemas/shop.first/versions/latest", headers=_as("bo")).json()
    assert version["provenance"]["actor"] == "ada"


def test_an_answer_is_kept_for_one_who_one_what_and_one_where(
    session: Session, client: TestClient
) -> None:
    before = len(_asked(session))
    for name in ("ada", "ada", "bo"):
        for subject in ("shop.kept", "shop.other"):
            body = {"schema": f'{{"type":"enum","name":"e{len(name)}","symbols":["A"]}}'}
            client.post(f"/schemas/{subject}/versions", json=body, headers=_as(name))
    assert sorted(_asked(session)[before:]) == [
        ("ada", "shop.kept", True, True),
        ("ada", "shop.other", True, True),
        ("bo", "shop.kept", True, True),
        ("bo", "shop.other", True, True),
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "permission"),
    [
        ("POST", "/subjects/bank.new/versions", SCHEMA, "publish bank.new"),
        ("DELETE", "/subjects/shop.there", None, "erase shop.there"),
        ("DELETE", "/subjects/shop.there/versions/1", None, "erase shop.there"),
        ("PUT", "/config/shop.there", {"compatibility": "FULL"}, "configure shop.there"),
        ("DELETE", "/config/shop.there", None, "configure shop.there"),
        ("PUT", "/config", {"compatibility": "FULL"}, "configure *"),
        ("PUT", "/mode/shop.there", {"mode": "READONLY"}, "configure shop.there"),
        ("PUT", "/mode", {"mode": "READONLY"}, "configure *"),
    ],
)
def test_stock_clients_are_told_what_they_may_not(
    client: TestClient, method: str, path: str, body: Any, permission: str
) -> None:
    client.post("/subjects/shop.there/versions", json=SCHEMA, headers=_as("bo"))
    client.put("/config/shop.there", json={"compatibility": "BACKWARD"}, headers=_as("bo"))
    answer = client.request(method, path, json=body, headers=_as("ada"))
    assert (answer.status_code, answer.json()) == (
        403,
        {"error_code": 40301, "message": f"access.not_permitted: ada may not {permission}"},
    )
    assert client.get("/subjects/shop.there/versions", headers=_as("ada")).json() == [1]
    assert client.get("/config", headers=_as("ada")).json() == {"compatibilityLevel": "BACKWARD"}


def test_who_chooses_ids_may_import_everything(client: TestClient) -> None:
    body = {**SCHEMA, "id": 70, "version": 5}
    client.put("/mode/shop.moved", json={"mode": "IMPORT"}, headers=_as("bo"))
    refused = client.post("/subjects/shop.moved/versions", json=body, headers=_as("ada"))
    assert (refused.status_code, refused.json()) == (
        403,
        {"error_code": 40301, "message": "access.not_permitted: ada may not import *"},
    )
    body |= {"schema": SCHEMA["schema"].replace("long", "float")}
    far = {**body, "id": 2**31 - 1}
    leap = client.post("/subjects/shop.moved/versions", json=far, headers=_as("bo"))
    assert (leap.status_code, leap.json()["error_code"]) == (422, 42205)
    made = client.post("/subjects/shop.moved/versions", json=body, headers=_as("bo"))
    assert (made.status_code, made.json()["id"], made.json()["version"]) == (200, 70, 5)


@pytest.mark.parametrize(
    ("path", "body", "permission"),
    [
        ("approve", {"revision": "{revision}"}, "approve channel:stable"),
        ("release", {"sequence": 1, "reason": "again"}, "configure channel:stable"),
        ("rollback", {"to": 1, "reason": "back"}, "rollback channel:stable"),
    ],
)
def test_channels_are_resources_of_their_own(
    session: Session, client: TestClient, path: str, body: dict[str, Any], permission: str
) -> None:
    told = {
        key: value.format(revision=session.revision) if isinstance(value, str) else value
        for key, value in body.items()
    }
    answer = client.post(f"/v1/channels/stable/{path}", json=told, headers=_as("ada"))
    assert answer.status_code == 403
    (violation,) = answer.json()["violations"]
    assert violation["message"] == f"ada may not {permission}"


def test_nothing_is_permitted_by_whom_nobody_answers(opa: Path, tmp_path: Path) -> None:
    workspace = logged_in(tmp_path / "shop")
    with Session(workspace, opa=opa, actor="root") as session:
        client = TestClient(create_app(session), base_url="http://127.0.0.1")
        assert session.active.rebuilt
        session.child.stop()
        answers = [
            client.post("/schemas/shop.x/versions", json=SCHEMA, headers=_as("bo")),
            client.delete("/subjects/shop.x", headers=_as("bo")),
            client.put("/mode", json={"mode": "READONLY"}, headers=_as("bo")),
        ]
    assert [(each.status_code, each.json().get("code")) for each in answers] == [
        (503, "engine.unavailable"),
        (503, None),
        (503, None),
    ]
    assert [each.json()["error_code"] for each in answers[1:]] == [50301, 50301]


def test_the_document_says_how_to_call(client: TestClient) -> None:
    document = client.get("/openapi.json", headers=_as("eve")).json()
    assert document["security"] == [{"token": []}, {"password": []}]
    assert document["components"]["securitySchemes"] == {
        "token": {"type": "http", "scheme": "bearer"},
        "password": {
            "type": "http",
            "scheme": "basic",
            "description": "The token as the password.",
        },
    }


def test_who_has_no_token_learns_that_it_is_ready_and_not_by_which_revision(
    session: Session, client: TestClient
) -> None:
    assert session.active.revision
    ready = {"ready": True, "database": "up"}
    assert client.get("/readyz").json() == ready
    assert client.get("/readyz", headers={"Authorization": "Bearer bogus"}).json() == ready
    assert client.get("/readyz", headers=_as("eve")).json() == {
        **ready,
        "bundle": session.active.revision,
    }
