"""What goes wrong around a request: no end of a body, a parser that runs away, no OPA."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message
from tests.web.test_confluent import without_guid

from dataspine.adapters.init import init
from dataspine.adapters.session import Session
from dataspine.core.workspace import Workspace
from dataspine.registry import ComparisonWorkers, ProtobufWorkers
from dataspine.web.app import create_app
from dataspine.web.guard import MAX_BODY

pytestmark = pytest.mark.integration

PIECE = 65_536
GOOD = '{"type": "record", "name": "A", "fields": [{"name": "size", "type": "int"}]}'
OTHER = GOOD.replace("size", "width")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return init(tmp_path / "shop", name="shop", told=lambda _: None)


def opened(app: ASGIApp) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture
def session(workspace: Workspace, opa: Path) -> Iterator[Session]:
    with Session(workspace, opa=opa) as made:
        yield made


@pytest.mark.parametrize(
    "path",
    ["/subjects/a/versions", "/schemas/a/versions", "/logs", "/api/v1/lineage/batch"],
)
def test_a_body_of_100_mb_in_pieces_is_read_up_to_the_limit(session: Session, path: str) -> None:
    read = 0
    sent: list[Message] = []

    async def receive() -> Message:
        nonlocal read
        read += PIECE
        return {
            "type": "http.request",
            "body": b'{"schema": "' if read == PIECE else b"x" * PIECE,
            "more_body": read < 100 * 1_048_576,
        }

    async def send(message: Message) -> None:
        sent.append(message)

    async def ask() -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [
                (b"host", b"127.0.0.1"),
                (b"content-type", b"application/json"),
                (b"transfer-encoding", b"chunked"),
            ],
        }
        await create_app(session)(scope, receive, send)

    anyio.run(ask)
    assert [each.get("status") for each in sent] == [413, None]
    assert b'"code":"input.too_large"' in sent[1]["body"]
    assert read == MAX_BODY + PIECE


def test_a_parser_that_runs_away_is_replaced_and_the_next_request_is_served(
    session: Session,
) -> None:
    # A file that protoc cannot know in so little time, and one that it can in enough.
    fields = "\n".join(f"string f{n} = {n};" for n in range(1, 9_000))
    huge = f'syntax = "proto3"; message Huge {{ {fields} }}'
    client = opened(create_app(session))
    body = {"schema": huge, "schemaType": "PROTOBUF"}
    with ProtobufWorkers(1, seconds=0.001) as hasty:
        vars(session)["protobuf"] = hasty
        refused = client.post("/subjects/huge/versions", json=body)
        (replacement,) = hasty.pids
        again = client.post("/schemas/huge/validate", json=body)
        replaced = hasty.pids != (replacement,)
    with ProtobufWorkers(1) as patient:
        vars(session)["protobuf"] = patient
        stored = client.post("/subjects/huge/versions", json=body)
    message = "line 1: the schema takes more time or memory than it may"
    assert (refused.status_code, refused.json()) == (422, {"error_code": 42201, "message": message})
    assert (again.status_code, again.json()["detail"], replaced) == (422, message, True)
    assert (stored.status_code, without_guid(stored.json())) == (200, {"id": 1, "version": 1})


def test_a_comparison_that_runs_away_is_stopped_and_the_next_one_is_answered(
    session: Session,
) -> None:
    client = opened(create_app(session))

    def union(branches: int, kind: str) -> dict[str, str]:
        records = [
            {"type": "record", "name": f"R{n}", "fields": [{"name": "a", "type": kind}]}
            for n in range(branches)
        ]
        fields = [{"name": "u", "type": records}]
        return {"schema": json.dumps({"type": "record", "name": "T", "fields": fields})}

    def ask(body: dict[str, str]) -> tuple[int, int | None]:
        answer = client.post("/compatibility/subjects/wide/versions", json=body)
        return answer.status_code, answer.json().get("error_code")

    client.post("/subjects/wide/versions", json=union(190, "int"))
    with ComparisonWorkers(1, seconds=0.2) as hasty:
        vars(session)["comparisons"] = hasty
        assert ask(union(190, "string")) == (422, 42201)
        assert ask(union(300, "int")) == (422, 42201)
        assert ask(union(2, "int")) == (200, None)


def test_a_parser_that_is_killed_is_replaced_within_the_request(session: Session) -> None:
    client = opened(create_app(session))
    texts = (f'syntax = "proto3"; message M{n} {{ int32 x = 1; }}' for n in range(3))
    for number, text in enumerate(texts):
        for pid in session.protobuf.pids:
            os.kill(pid, signal.SIGKILL)
        answer = client.post(
            f"/subjects/killed.{number}/versions", json={"schema": text, "schemaType": "PROTOBUF"}
        )
        assert (answer.status_code, without_guid(answer.json())) == (
            200,
            {"id": number + 1, "version": 1},
        )


def test_without_opa_nothing_new_is_stored_and_all_that_is_known_is_told(
    workspace: Workspace, opa: Path, tmp_path: Path
) -> None:
    # A program of our own, so that it can be taken away: the killed one is not started again.
    program = tmp_path / "opa"
    shutil.copy2(opa, program)
    with Session(workspace, opa=program) as session:
        client = opened(create_app(session))
        known = client.post("/subjects/a/versions", json={"schema": GOOD})
        pid = session.child.pid
        assert (without_guid(known.json()), pid is None) == ({"id": 1, "version": 1}, False)
        program.unlink()
        os.kill(pid or 0, signal.SIGKILL)

        def told(method: str, path: str, body: Any = None) -> tuple[int, Any]:
            answer = client.request(method, path, json=body)
            return (answer.status_code, without_guid(answer.json()))

        status, refusal = told("POST", "/subjects/a/versions", {"schema": OTHER})
        assert (status, refusal["error_code"]) == (503, 50301)
        assert refusal["message"].startswith("engine.unavailable ")
        status, problem = told("POST", "/schemas/b/versions", {"schema": GOOD})
        assert (status, problem["code"], problem["retry"]) == (503, "engine.unavailable", True)
        status, asked = told("POST", "/schemas/b/validate", {"schema": GOOD})
        assert (status, asked["allow"], asked["policy"]) == (200, False, None)

        first = {"subject": "a", "id": 1, "version": 1, "schema": GOOD}
        for method, path, body, expected in (
            ("POST", "/subjects/a/versions", {"schema": GOOD}, {"id": 1, "version": 1}),
            ("POST", "/subjects/a", {"schema": GOOD}, first),
            ("GET", "/subjects/a/versions/latest", None, first),
            ("GET", "/schemas/ids/1", None, {"schema": GOOD}),
            ("GET", "/subjects", None, ["a"]),
            (
                "POST",
                "/compatibility/subjects/a/versions/latest",
                {"schema": OTHER},
                {"is_compatible": False},
            ),
        ):
            assert told(method, path, body) == (200, expected), path
        # Nobody says who may do these.
        for method, path, body in (
            ("PUT", "/config/a", {"compatibility": "FULL"}),
            ("DELETE", "/subjects/a", None),
        ):
            status, refusal = told(method, path, body)
            assert (status, refusal["error_code"]) == (503, 50301), path
        assert told("GET", "/subjects", None) == (200, ["a"])
