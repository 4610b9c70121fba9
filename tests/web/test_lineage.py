"""OpenLineage over HTTP, and the page as files that a strict policy allows."""

import filecmp
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests import store
from tests.lineage.conftest import create
from tests.lineage.samples import run_event, run_id
from tests.lineage.service import application

from dataspine.core.database import Database

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "web/data-spine-lineage"
COPIES = ROOT / "web/dataspine/web/static/lineage"


@pytest.fixture
def database(place: store.Place) -> Iterator[Database]:
    made = create(place)
    yield made
    made.close()


@pytest.fixture
def client(database: Database) -> Iterator[TestClient]:
    with TestClient(application(database), raise_server_exceptions=False) as made:
        yield made


def test_an_event_is_taken_and_walked(client: TestClient) -> None:
    answer = client.post("/api/v1/lineage", json=run_event(inputs=("a",), outputs=("b",)))
    assert (answer.status_code, answer.json()["warnings"]) == (201, [])
    graph = client.get("/api/v1/lineage", params={"nodeId": "dataset:n:a", "depth": 5}).json()
    assert [(n["id"], n["type"]) for n in graph["graph"]] == [
        ("dataset:n:a", "DATASET"),
        ("job:n:copy", "JOB"),
        ("dataset:n:b", "DATASET"),
    ]
    edge = {"origin": "dataset:n:a", "destination": "job:n:copy"}
    assert graph["graph"][1]["inEdges"] == graph["graph"][0]["outEdges"] == [edge]
    assert client.get(f"/api/v1/runs/{run_id(1)}").json()["state"] == "COMPLETED"
    assert client.get("/api/v1/namespaces").json() == {"namespaces": [{"name": "n"}]}
    assert [j["name"] for j in client.get("/api/v1/jobs").json()["jobs"]] == ["copy"]
    assert client.get("/api/v1/search", params={"q": "cop"}).json()["totalCount"] == 1


def test_a_namespace_with_slashes_is_one_segment(client: TestClient) -> None:
    event = run_event(outputs=("t",))
    event["outputs"][0]["namespace"] = "postgres://db:5432"
    client.post("/api/v1/lineage", json=event)
    answer = client.get("/api/v1/namespaces/postgres:%2F%2Fdb:5432/datasets").json()
    assert [d["id"] for d in answer["datasets"]] == ["dataset:postgres://db:5432:t"]


def test_a_batch_answers_for_each_event(client: TestClient) -> None:
    events = [run_event(1), {"eventTime": "x"}, run_event(2)]
    answer = client.post("/api/v1/lineage/batch", json=events)
    body = answer.json()
    assert (answer.status_code, body["status"]) == (200, "partial_success")
    assert body["summary"] == {
        "received": 3,
        "successful": 2,
        "failed": 1,
        "retriable": 0,
        "non_retriable": 1,
    }
    assert [(f["index"], f["retriable"]) for f in body["failed_events"]] == [(1, False)]
    assert client.post("/api/v1/lineage/batch", json=[]).json()["status"] == "success"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("", b'{"eventTime": NaN}', 422),
        ("", b"[]", 422),
        ("", b"{", 422),
        ("", b'{"a": 1, "a": 2}', 422),
        ("", b"[" * 5000, 422),
        ("", b'"' + b"x" * 1_100_000 + b'"', 413),
        ("/batch", b'{"events": []}', 422),
        ("/batch", json.dumps([0] * 1001).encode(), 422),
    ],
)
def test_what_cannot_be_used_is_a_problem(
    client: TestClient, path: str, body: bytes, status: int
) -> None:
    answer = client.post(f"/api/v1/lineage{path}", content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )
    assert client.get("/api/v1/namespaces").json() == {"namespaces": []}


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/lineage?nodeId=dataset:n:none",
        "/api/v1/runs/none",
        "/lineage/graph?node=none",
        "/lineage/static/none.js",
        "/lineage/static/..%2f..%2fapp.py",
    ],
)
def test_what_is_not_there_is_404(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_missing_run_is_told_with_what_to_do(client: TestClient) -> None:
    told = client.get("/api/v1/runs/none").json()
    assert (told["code"], told["problem"], told["where"], told["remedy"]) == (
        "input.not_found",
        "no such run",
        "none",
        "GET /api/v1/runs lists the runs there are.",
    )


def test_the_page_needs_nothing_that_the_policy_forbids(client: TestClient) -> None:
    page = client.get("/lineage")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page.text)
    for link in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert client.get(link).status_code == 200
    script = client.get("/lineage/static/lineage.js").text
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(", script)


def test_the_copies_in_the_package_are_the_sources() -> None:
    compared = filecmp.dircmp(SOURCES, COPIES)
    assert (compared.left_only, compared.right_only, compared.diff_files) == ([], [], [])
