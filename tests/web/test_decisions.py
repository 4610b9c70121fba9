"""Searching what was decided, and what travels with a schema, over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests import store
from tests.facts import schema_facts

from dataspine.adapters.session import Session
from dataspine.web.app import create_app
from dataspine.web.schemas import SchemaBody

pytestmark = pytest.mark.integration

PII = '{"type": "record", "name": "A", "fields": [{"name": "email", "type": "string"}]}'


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("web") / "shop"
    with store.workspace(folder) as workspace, Session(workspace, opa=opa) as session:
        made = TestClient(
            create_app(session), base_url="http://127.0.0.1", raise_server_exceptions=False
        )
        made.post("/schemas/shop.a/versions", json={"schema": PII})
        for name in ("shop.b", "shop.c"):
            made.post(f"/schemas/{name}/versions", json={"schema": '"string"'})
        yield made


def _names(client: TestClient, query: str) -> list[str]:
    found = client.get(f"/v1/decisions?{query}").json()
    return [each["name"] for each in found if each["point"] == "schema.publish"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["shop.c", "shop.b", "shop.a"]),
        ("allow=false", ["shop.a"]),
        ("allow=true&limit=1", ["shop.c"]),
        ("allow=true&before=5", ["shop.b"]),
        ("code=pii.untagged_field", ["shop.a"]),
        ("code=pii", []),
        ("name=shop.b&point=schema.publish", ["shop.b"]),
        ("since=2020-01-01T00:00:00Z&until=2021-01-01T00:00:00Z", []),
        ("since=2020-01-01T02:00:00%2B02:00", ["shop.c", "shop.b", "shop.a"]),
        ("revision=0", ["shop.c", "shop.b", "shop.a"]),
        ("revision=%25", []),
    ],
)
def test_decisions_are_found(client: TestClient, query: str, names: list[str]) -> None:
    assert _names(client, query) == names


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("since=noon", "/query/since"),
        ("until=2020-01-01T00:00:00", "/query/until"),
        ("allow=perhaps", "/query/allow"),
        ("before=0", "/query/before"),
        ("limit=501", "/query/limit"),
        (f"name={'x' * 600}", "/query/name"),
    ],
)
def test_bad_filter_is_named(client: TestClient, query: str, where: str) -> None:
    answer = client.get(f"/v1/decisions?{query}")
    assert (answer.status_code, answer.json()["where"]) == (422, where)
    assert answer.json()["exit_code"] == 2


def test_claim_and_provenance_reach_the_proposal() -> None:
    origin = {"git_commit": "a" * 40, "repository": "https://git.example/a"}
    body = SchemaBody.model_validate({"schema": "{}", "version": "1.2.0", "provenance": origin})
    proposal = body.proposal("a")
    assert (proposal.claimed, proposal.provenance) == ("1.2.0", origin)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"version": "1.2"}, "registry.version"),
        ({"version": "latest"}, "registry.version"),
        ({"provenance": {"actor": "eve"}}, "input.invalid"),
        ({"provenance": {"git_commit": "x" * 501}}, "input.invalid"),
    ],
    ids=["short", "word", "actor", "long"],
)
def test_claim_or_provenance_that_is_none_is_refused(
    client: TestClient, body: dict[str, object], code: str
) -> None:
    answer = client.post("/schemas/shop.d/versions", json={"schema": '"int"', **body})
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def _told(client: TestClient, facts: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    question = {"point": "schema.publish", "at": "2026-11-24T09:00:00Z", "facts": facts}
    before = len(_names(client, "limit=500"))
    answer = client.post("/v1/decisions/schema.publish", json=question)
    assert len(_names(client, "limit=500")) == before
    found = answer.json()
    names = ("code", "problem", "where", "remedy", "retry")
    return answer.status_code, {name: found[name] for name in names}


def test_a_name_that_is_too_long_is_neither_asked_about_nor_journalled(client: TestClient) -> None:
    assert _told(client, schema_facts("ä" * 257, owner="a")) == (
        422,
        {
            "code": "input.name_too_long",
            "problem": "a name of more than 512 bytes",
            "where": "/facts/name",
            "remedy": "Choose a shorter one.",
            "retry": False,
        },
    )


def test_an_answer_that_is_too_long_is_not_journalled(client: TestClient) -> None:
    untagged = {
        "type": "string",
        "doc": "",
        "tokens": ["email"],
        "context": [],
        "classifications": ["Public"],
        "tagged": False,
        "retention": None,
        "line": 1,
    }
    many = [{**untagged, "path": f"email_{'x' * 200}_{n}"} for n in range(1_000)]
    facts = {**schema_facts("shop.a", owner="a"), "fields": many}
    assert _told(client, facts) == (
        422,
        {
            "code": "input.answer_too_long",
            "problem": "the answer is over the limit of 262144 bytes",
            "where": "/facts",
            "remedy": "Ask about less at once.",
            "retry": False,
        },
    )


def test_a_name_that_is_not_a_text_is_journalled_as_none(client: TestClient) -> None:
    facts = {**schema_facts("shop.a", owner="a"), "name": ["x"] * 1_000}
    question = {"point": "schema.publish", "at": "2026-11-24T09:00:00Z", "facts": facts}
    asked = client.post("/v1/decisions/schema.publish", json=question).json()["decision_id"]
    found = client.get(f"/v1/decisions/{asked}").json()
    assert (found["name"], found["allow"]) == ("", False)
