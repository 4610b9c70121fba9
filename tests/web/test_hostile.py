"""What nobody means to send: refused with place and remedy, and never a fault of ours."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests import store
from tests.facts import schema_facts

from dataspine.adapters.session import Session
from dataspine.web.app import create_app

pytestmark = pytest.mark.integration

PATHS = (
    "/schemas/a/versions",
    "/schemas/a/validate",
    "/v1/decisions/schema.publish",
    "/v1/bundles",
    "/v1/channels/stable/rollback",
    "/v1/channels/stable/promote",
    "/v1/channels/stable/approve",
    "/api/v1/lineage",
    "/api/v1/lineage/batch",
    "/logs",
    "/status",
)
BODIES = {
    "50 MB": b"x" * 50_000_000,
    "nothing": b"",
    "null": b"null",
    "text": b'"a"',
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": 1e999999}',
    "huge integer": b'{"a": ' + b"9" * 5_000 + b"}",
    "a key twice": b'{"schema": "a", "schema": "b"}',
    "1,000 objects deep": b'{"a": ' * 1_000 + b"1" + b"}" * 1_000,
    "200,000 lists deep": b"[" * 200_000,
    "10,000 keys": json.dumps({f"k{n}": 1 for n in range(10_000)}).encode(),
    "no UTF-8": b'{"schema": "\xff"}',
    "NUL": b'{"schema": "\\u0000"}',
    "half a character": b'{"schema": "\\ud800"}',
    "a mark of byte order": b"\xef\xbb\xbf{}",
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("web") / "shop"
    with store.workspace(folder) as workspace, Session(workspace, opa=opa) as session:
        app = create_app(session)
        yield TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_hostile_body_is_refused_with_place_and_remedy(
    client: TestClient, path: str, body: bytes
) -> None:
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    told = answer.json()
    assert answer.status_code in {413, 422}, told
    assert (bool(told["where"]), bool(told["remedy"])) == (True, True), told


def test_a_key_that_stands_twice_is_named(client: TestClient) -> None:
    answer = client.post(
        "/schemas/a/versions",
        content=BODIES["a key twice"],
        headers={"Content-Type": "application/json"},
    )
    told = answer.json()
    assert (told["problem"], told["where"]) == (
        "the key 'schema' stands twice in one object",
        "body",
    )


def test_half_a_character_in_a_question_is_refused(client: TestClient) -> None:
    facts = json.dumps(schema_facts("\ud800", owner="a"))
    body = f'{{"point": "schema.publish", "at": "2026-11-24T09:00:00Z", "facts": {facts}}}'
    answer = client.post("/v1/decisions/schema.publish", content=body)
    assert (answer.status_code, answer.json()["where"]) == (422, "body")


@pytest.mark.parametrize(
    "name",
    ["%00", "a%0Ab", "%E2%80%AE", "a%E2%80%8Bb", "%E2%80%A8", "%2e%2e", "%2E", "x" * 5_000],
    ids=["nul", "line", "direction", "no width", "separator", "above", "here", "long"],
)
def test_a_name_that_people_cannot_tell_apart_is_no_subject(client: TestClient, name: str) -> None:
    schema = '{"type": "record", "name": "A", "fields": [{"name": "size", "type": "int"}]}'
    answer = client.request("POST", f"/schemas/{name}/versions", json={"schema": schema})
    told = answer.json()
    assert (answer.status_code, told["code"]) in {
        (422, "registry.invalid_subject"),
        (422, "input.invalid"),
        (404, "input.not_found"),  # the client itself resolves `..`
        (405, "input.invalid"),
    }
    assert (bool(told["where"]), bool(told["remedy"])) == (True, True), told


def test_an_address_that_is_not_there_names_itself(client: TestClient) -> None:
    found = [client.get("/nothing").json(), client.delete("/schemas").json()]
    assert [each["where"] for each in found] == ["GET /nothing", "DELETE /schemas"]
