"""Finished schemas: kept, bounded, and forgotten when their schema is removed."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from dataspine.core.errors import UnavailableError
from dataspine.web import finished
from dataspine.web.finished import FinishedSchemas


class Registry:
    """An application that counts what it answers, and a list of removed schemas."""

    def __init__(self, *, status: int = 200, body: bytes = b"{}") -> None:
        self.status, self.body = status, body
        self.asked: list[str] = []
        self.gone: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": self.body})

    def removed(self, after: int) -> tuple[int, list[int]]:
        return len(self.gone), self.gone[after:] if after >= 0 else []


def ask(app: FinishedSchemas, *requests: tuple[str, str, bytes]) -> list[tuple[int, bytes]]:
    async def run() -> list[tuple[int, bytes]]:
        answers = []
        for method, path, query in requests:
            sent: list[Any] = []

            async def send(message: Any, sent: list[Any] = sent) -> None:
                sent.append(message)

            await app(_scope(method, path, query), _nothing, send)
            answers.append((sent[0]["status"], sent[1]["body"]))
        return answers

    return asyncio.run(run())


def _scope(method: str, path: str, query: bytes = b"") -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "query_string": query}


async def _ignore(_message: Any) -> None:
    pass


async def _nothing() -> Any:
    raise AssertionError("nobody reads a body")


def get(path: str, query: bytes = b"") -> tuple[str, str, bytes]:
    return ("GET", path, query)


@pytest.fixture(autouse=True)
def _every_request_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished, "LATE_SECONDS", 0.0)


@pytest.mark.parametrize(
    "query",
    [b"", b"subject=a", b"fetchMaxId=False&subject=a%20b", b"format=", b"fetchMaxId=false"],
)
def test_a_schema_is_asked_for_once(query: bytes) -> None:
    registry = Registry()
    app = FinishedSchemas(registry, registry.removed)
    path = "/schemas/ids/7"
    assert ask(app, get(path), get(path, query), get(path)) == [(200, b"{}")] * 3
    assert registry.asked == [path]


@pytest.mark.parametrize(
    "request_",
    [
        get("/schemas/ids/7", b"fetchMaxId=true"),
        get("/schemas/ids/7", b"format=resolved"),
        get("/schemas/ids/7", b"subject=a&deleted=true"),
        get("/schemas/ids/7/versions"),
        get("/schemas/ids/07"),
        ("DELETE", "/schemas/ids/7", b""),
    ],
)
def test_what_asks_for_something_else_is_passed_on(request_: tuple[str, str, bytes]) -> None:
    registry = Registry()
    app = FinishedSchemas(registry, registry.removed)
    ask(app, get("/schemas/ids/7"), request_, request_)
    assert registry.asked == ["/schemas/ids/7", request_[1], request_[1]]


def test_a_removed_schema_is_forgotten_alone() -> None:
    registry = Registry()
    app = FinishedSchemas(registry, registry.removed)
    both = [get("/schemas/ids/7"), get("/schemas/ids/8")]
    ask(app, *both)
    registry.gone.append(7)
    ask(app, *both, *both)
    assert registry.asked == ["/schemas/ids/7", "/schemas/ids/8", "/schemas/ids/7"]


def test_a_schema_that_is_removed_while_it_is_read_is_not_kept() -> None:
    registry = Registry()
    app = FinishedSchemas(registry, registry.removed)
    ask(app, get("/schemas/ids/8"))
    read = registry.removed

    def removed_meanwhile(after: int) -> tuple[int, list[int]]:
        if registry.asked[-1:] == ["/schemas/ids/7"] and not registry.gone:
            registry.gone.append(7)
        return read(after)

    app = FinishedSchemas(registry, removed_meanwhile)
    ask(app, get("/schemas/ids/7"), get("/schemas/ids/7"), get("/schemas/ids/7"))
    assert registry.asked == ["/schemas/ids/8", "/schemas/ids/7", "/schemas/ids/7"]


def test_a_removal_during_an_answer_that_was_seen_is_not_undone_by_it() -> None:
    registry = Registry()
    app = FinishedSchemas(registry, registry.removed)
    ask(app, get("/schemas/ids/8"))

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        answer = registry(scope, receive, send)
        if scope["path"] == "/schemas/ids/7" and not registry.gone:
            registry.gone.append(7)
            await app(_scope("GET", "/schemas/ids/8"), receive, _ignore)  # it looks
        await answer

    app = FinishedSchemas(slow, registry.removed)
    ask(app, get("/schemas/ids/8"), get("/schemas/ids/7"), get("/schemas/ids/7"))
    assert registry.asked[-2:] == ["/schemas/ids/7"] * 2


def test_requests_that_come_together_share_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, looks, gate = Registry(), [0], threading.Event()
    monkeypatch.setattr(finished, "LATE_SECONDS", 10.0)

    def removed(after: int) -> tuple[int, list[int]]:
        looks[0] += 1
        assert gate.wait(10)
        return registry.removed(after)

    async def together() -> None:
        app = FinishedSchemas(registry, removed)
        asked = [app(_scope("GET", "/schemas/ids/7"), _nothing, _ignore) for _ in range(5)]
        asyncio.get_running_loop().call_later(0, gate.set)
        await asyncio.gather(*asked)

    asyncio.run(together())
    assert looks == [1]


def test_a_registry_that_cannot_be_asked_answers_for_itself() -> None:
    registry, down = Registry(), [False]

    def removed(after: int) -> tuple[int, list[int]]:
        if down[0]:
            raise UnavailableError("gone")
        return registry.removed(after)

    app, path = FinishedSchemas(registry, removed), "/schemas/ids/7"
    ask(app, get(path))
    down[0], registry.status = True, 503
    assert ask(app, get(path), get(path)) == [(503, b"{}")] * 2
    down[0] = False
    assert ask(app, get(path)) == [(200, b"{}")]


def test_what_was_not_found_is_asked_for_again() -> None:
    registry = Registry(status=404)
    app = FinishedSchemas(registry, registry.removed)
    ask(app, get("/schemas/ids/7"), get("/schemas/ids/7"))
    assert registry.asked == ["/schemas/ids/7"] * 2


@pytest.mark.parametrize(
    ("most", "asked"), [(3, [1, 2, 1, 2]), (4, [1, 2])], ids=["one fits", "both fit"]
)
def test_it_keeps_no_more_than_its_limit(most: int, asked: Sequence[int]) -> None:
    registry = Registry()
    app = FinishedSchemas(registry, registry.removed, max_bytes=most)
    ask(app, *[get(f"/schemas/ids/{number}") for number in (1, 2, 1, 2)])
    assert registry.asked == [f"/schemas/ids/{number}" for number in asked]
