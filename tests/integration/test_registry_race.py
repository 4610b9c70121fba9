"""Several services on one registry, with no leader: writers race, readers see what others wrote."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from tests import store
from tests.served import replicas
from tests.sidecar import until

from dataspine.adapters.session import Session
from dataspine.core.workspace import Workspace

pytestmark = pytest.mark.integration

WRITERS = 6
ROUNDS = 8


@pytest.fixture(scope="module", params=store.KINDS)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, opa: Path
) -> Iterator[tuple[Workspace, list[str]]]:
    with replicas(tmp_path_factory.mktemp("race"), opa, 2, request.param) as made:
        yield made


def ask(url: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)) as asking:
        sent = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
        asking.request(method, path, None if body is None else json.dumps(body), sent)
        reply = asking.getresponse()
        return reply.status, json.loads(reply.read())


def schema(*fields: str) -> dict[str, str]:
    named = [{"name": name, "type": "int"} for name in fields]
    return {"schema": json.dumps({"type": "record", "name": "R", "fields": named})}


def race(urls: list[str], subject: str, bodies: list[dict[str, str]]) -> list[tuple[int, Any]]:
    """Register the bodies at once, each at the next service; ``{}`` in a subject is the number."""
    start = Barrier(len(bodies))

    def write(number: int) -> tuple[int, Any]:
        start.wait()
        path = f"/subjects/{subject.format(number)}/versions"
        return ask(urls[number % len(urls)], "POST", path, bodies[number])

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(write, range(len(bodies))))


def test_writers_of_the_same_schema_get_the_same_id(
    shared: tuple[Workspace, list[str]],
) -> None:
    workspace, urls = shared
    for number in range(ROUNDS):
        subject = f"same-{number}"
        answers = race(urls, subject, [schema("a", f"b{number}")] * WRITERS)
        assert len({json.dumps(each) for each in answers}) == 1, answers
        assert answers[0][1]["version"] == 1
        with Session(workspace) as session:
            assert len(session.registry.versions(subject, deleted="shown")) == 1


def test_writers_of_one_content_under_many_subjects_get_the_same_id(
    shared: tuple[Workspace, list[str]],
) -> None:
    workspace, urls = shared
    for number in range(ROUNDS):
        answers = race(urls, f"twin-{number}-{{}}", [schema(f"twin{number}")] * WRITERS)
        assert len({answer["id"] for status, answer in answers if status == 200}) == 1, answers
        assert [status for status, _ in answers] == [200] * WRITERS, answers
        with Session(workspace) as session:
            assert len(session.registry.uses(answers[0][1]["id"])) == WRITERS


def test_writers_of_conflicting_schemas_have_one_winner(
    shared: tuple[Workspace, list[str]],
) -> None:
    workspace, urls = shared
    for number in range(ROUNDS):
        subject = f"conflict-{number}"
        bodies = [schema(f"only_{number}_{writer}") for writer in range(WRITERS)]
        answers = race(urls, subject, bodies)
        assert sorted(status for status, _ in answers) == [200, *[409] * (WRITERS - 1)], answers
        with Session(workspace) as session:
            (version,) = session.registry.versions(subject, deleted="shown")
            (won,) = [
                body for body, (status, _) in zip(bodies, answers, strict=True) if status == 200
            ]
            assert version.text == won["schema"]
            decision = session.journal.get(str(version.decision_id)).decision
            assert decision.allow


def test_a_removal_is_seen_by_the_other_service(shared: tuple[Workspace, list[str]]) -> None:
    _, (one, other) = shared
    _, answer = ask(one, "POST", "/subjects/gone/versions", schema("gone"))
    path = f"/schemas/ids/{answer['id']}"
    assert [ask(url, "GET", path)[0] for url in (one, other, one, other)] == [200] * 4
    assert ask(one, "DELETE", "/subjects/gone") == (200, [1])
    assert ask(other, "GET", path)[0] == 200  # hidden, and still read
    assert ask(one, "DELETE", "/subjects/gone?permanent=true") == (200, [1])
    assert ask(one, "GET", path)[0] == 404
    until(lambda: ask(other, "GET", path)[0] == 404)
