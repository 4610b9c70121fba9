"""What a JSON body may hold, and where it is parsed."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from starlette.testclient import TestClient
from tests import store

from dataspine.adapters.session import Session
from dataspine.core.errors import InputError
from dataspine.web.app import create_app
from dataspine.web.body import MAX_MEMBERS, MAX_VALUES, SMALL, read_json


def _request(body: bytes) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def _read_beside(body: bytes) -> tuple[Any, int]:
    """Return the body, and how often the loop went round meanwhile."""

    async def both() -> tuple[Any, int]:
        reading = asyncio.ensure_future(read_json(_request(body), max_bytes=len(body)))
        rounds = 0
        while not reading.done():
            await asyncio.sleep(0)
            rounds += 1
        return reading.result(), rounds

    return asyncio.run(both())


def test_a_large_body_is_parsed_beside_the_loop() -> None:
    value = [{"a": n} for n in range(50_000)]
    found, rounds = _read_beside(json.dumps(value).encode())
    assert (found == value, rounds > 10) == (True, True)


def test_a_small_body_is_parsed_where_it_is() -> None:
    value = "x" * (SMALL - 2)
    threads = threading.active_count()
    found, rounds = _read_beside(json.dumps(value).encode())
    assert (found == value, rounds, threading.active_count()) == (True, 1, threads)


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * (MAX_VALUES // 2) + b"1]",
        b"[" + b'{"a":1},' * (MAX_VALUES // 2) + b"1]",
        b'{"a":"' + b"," * MAX_VALUES + b'"}',
    ],
    ids=["lists", "objects", "text"],
)
def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(body: bytes) -> None:
    with pytest.raises(InputError) as refused:
        asyncio.run(read_json(_request(body), max_bytes=len(body)))
    assert refused.value.document() == {
        "code": "input.too_large",
        "problem": "more than 250000 values, by its commas and brackets",
        "where": "body",
        "remedy": "Send it in parts.",
        "retry": False,
    }


@pytest.mark.integration
def test_members_that_no_shape_has_are_not_told_one_by_one(tmp_path: Path) -> None:
    with store.workspace(tmp_path / "shop") as workspace, Session(workspace) as session:
        client = TestClient(create_app(session), base_url="http://127.0.0.1")
        wide = {f"k{n}": 1 for n in range(MAX_MEMBERS + 1)}
        answers = [
            client.post("/v1/bundles", json=wide).json(),
            client.post("/schemas/a/versions", json={"schema": "a", "provenance": wide}).json(),
        ]
    assert [(each["code"], each["problem"], each["where"]) for each in answers] == [
        ("input.invalid", f"more than {MAX_MEMBERS} members", "body"),
        ("input.invalid", "Value error, more than 10 members", "/body/provenance"),
    ]
