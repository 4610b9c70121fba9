from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests import store
from tests.facts import schema_facts

from dataspine.adapters.session import Session
from dataspine.web.app import create_app
from dataspine.web.guard import MAX_BODY

pytestmark = pytest.mark.integration

GOOD = '{"type": "record", "name": "A", "fields": [{"name": "size", "type": "int"}]}'
BAD = GOOD.replace("size", "email")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("web") / "shop"
    with store.workspace(folder) as workspace, Session(workspace, opa=opa) as session:
        app = create_app(session)
        yield TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def test_schema_is_denied_validated_published_and_found(client: TestClient) -> None:
    denied = client.post("/schemas/shop.a/versions", json={"schema": BAD})
    asked = client.post("/schemas/shop.a/validate", json={"schema": BAD})
    stored = client.post("/schemas/shop.a/versions", json={"schema": GOOD})
    known = client.post("/schemas/shop.a/versions", json={"schema": GOOD})
    found = client.get("/schemas/shop.a/versions/latest")
    assert [r.status_code for r in (denied, asked, stored, known, found)] == [
        403,
        200,
        201,
        200,
        200,
    ]
    assert denied.headers["content-type"] == "application/problem+json"
    assert [v["code"] for v in denied.json()["violations"]] == ["pii.untagged_field"]
    assert asked.json()["version"] == {"current": None, "next": "1.0.0", "bump": "none"}
    parts = [part.split(";")[0].strip() for part in asked.headers["server-timing"].split(",")]
    assert parts == ["parse", "compat", "decide", "store", "total"]
    assert (found.json()["semver"], found.json()["owner"]) == ("1.0.0", "team-shop")


def test_a_conflict_is_incompatibility_alone(client: TestClient) -> None:
    client.post("/schemas/shop.b/versions", json={"schema": GOOD})
    text = GOOD.replace('"size"', '"width"')
    alone = client.post("/schemas/shop.b/versions", json={"schema": text})
    both = client.post("/schemas/shop.b/versions", json={"schema": text, "version": "1.0.1"})
    assert [r.status_code for r in (alone, both)] == [409, 403]
    assert [v["code"] for v in alone.json()["violations"]] == ["contract.incompatible"]


@pytest.mark.parametrize("name", ["%1F", "a%1Fb", "%FF", "%C3"])
def test_address_that_is_no_text_is_refused(client: TestClient, name: str) -> None:
    before = client.get("/schemas").json()
    answer = client.post(f"/schemas/{name}/versions", json={"schema": GOOD})
    assert (answer.status_code, answer.json()["code"]) == (422, "input.invalid")
    assert client.get("/schemas").json() == before


def test_slash_in_a_subject_is_part_of_its_name(client: TestClient) -> None:
    stored = client.post("/schemas/a%2Fb/versions", json={"schema": GOOD})
    found = client.get("/schemas/a%2Fb/versions/1")
    assert (stored.status_code, found.json()["subject"]) == (201, "a/b")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", None, 404, "input.not_found"),
        ("GET", "/schemas/none/versions/latest", None, 404, "registry.unknown_subject"),
        ("POST", "/schemas/x/versions", b"{", 422, "input.invalid"),
        ("POST", "/schemas/x/versions", b'{"schema": "{"}', 422, "registry.invalid_schema"),
        (
            "POST",
            "/schemas/ids/versions",
            b'{"schema": "\\"int\\""}',
            422,
            "registry.invalid_subject",
        ),
        ("POST", "/v1/decisions/schema.publish", b"[]", 422, "input.invalid"),
        ("POST", "/logs", b"{}", 422, "input.invalid"),
        ("POST", "/logs", b"x" * (MAX_BODY + 1), 413, "input.too_large"),
        ("GET", "/bundles/none.tar.gz", None, 404, "input.not_found"),
        ("GET", "/v1/decisions/none", None, 404, "input.not_found"),
        ("GET", "/v1/decisions?limit=0", None, 422, "input.invalid"),
    ],
)
def test_bad_request_is_problem_json(
    client: TestClient, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    answer = client.request(
        method, path, content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Host": "evil.example"}, 421), ({"Origin": "http://evil.example"}, 403)],
    ids=["host", "origin"],
)
def test_foreign_caller_is_refused(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.get("/healthz", headers=headers).status_code == status


def test_sidecar_gets_the_bundle_once(client: TestClient) -> None:
    client.get("/readyz")
    first = client.get("/bundles/dev.tar.gz")
    etag = first.headers["etag"]
    again = client.get("/bundles/dev.tar.gz", headers={"If-None-Match": etag})
    assert (first.status_code, again.status_code, again.headers["etag"]) == (200, 304, etag)


def test_decision_is_answered_journalled_and_counted(client: TestClient) -> None:
    question = {
        "point": "schema.publish",
        "at": "2020-01-01T00:00:00Z",
        "facts": schema_facts("x", owner="a"),
    }
    answer = client.post("/v1/decisions/schema.publish", json=question).json()
    shown = client.get(f"/v1/decisions/{answer['decision_id']}").json()
    assert (answer["allow"], answer["at_replaced"], shown["name"]) == (True, True, "x")
    assert answer["evaluated_at"] > "2026"
    assert (
        'spine_decisions_total{point="schema.publish",result="allow"}'
        in client.get("/metrics").text
    )


def test_service_is_ready_once_a_bundle_is_active(client: TestClient) -> None:
    answer = client.get("/readyz").json()
    assert (answer["ready"], answer["database"]) == (True, "up")


LARGE = 2**63


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/v1/decisions?before={LARGE}"),
        ("GET", f"/v1/bundles/dev/{LARGE}"),
        ("PUT", f"/v1/bundles/dev/{LARGE}"),
        ("GET", f"/api/v1/jobs?offset={LARGE}"),
        ("GET", f"/schemas?offset={LARGE}"),
    ],
)
def test_a_number_that_no_column_holds_is_refused(
    client: TestClient, method: str, path: str
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (422, "input.invalid")


@pytest.mark.parametrize("path", ["/v1/decisions/schema.publish", "/schemas/shop.a/versions"])
def test_a_large_body_of_unknown_length_is_refused(client: TestClient, path: str) -> None:
    pieces = iter([b"x" * 1_048_576] * (MAX_BODY // 1_048_576 + 1))
    headers = {"Content-Type": "application/json"}
    answer = client.post(path, content=pieces, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "input.too_large")


def test_schemas_are_listed_by_prefix_latest_or_all(client: TestClient) -> None:
    wider = GOOD.replace("]", ', {"name": "width", "type": "int", "default": 0}]')
    for text in (GOOD, wider):
        client.post("/schemas/listed.a/versions", json={"schema": text})
    found = [
        [(each["subject"], each["version"], each["semver"]) for each in client.get(path).json()]
        for path in (
            "/schemas?subjectPrefix=listed.",
            "/schemas?subjectPrefix=listed.&latestOnly=False",
            "/schemas?subjectPrefix=listed.&offset=1",
        )
    ]
    first, second = ("listed.a", 1, "1.0.0"), ("listed.a", 2, "1.1.0")
    assert found == [[second], [first, second], []]
