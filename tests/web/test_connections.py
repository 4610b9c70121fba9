"""Connections that only wait, of a real server on a real port: cut in time, never in the way."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from dataspine.web.connections import MAX_HEAD, Connections, Patience
from dataspine.web.turnstile import Turnstile

SHORT = Patience(head=0.2, body=0.2, answer=1.0, look=0.05)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = 60_000_000


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    size = LARGE if scope["path"] == "/large" else len(await request.body())
    await Response(b"x" * size)(scope, receive, send)


@dataclass
class Served:
    """A server; ``connections`` are what it has open."""

    port: int
    connections: Connections

    def connect(self, sent: bytes = b"") -> socket.socket:
        """Return a connection on which something was sent."""
        made = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        made.sendall(sent)
        return made

    def ask(self, sent: bytes = GET) -> bytes:
        """Return the first line of an answer."""
        with self.connect(sent) as made:
            return made.makefile("rb").readline().strip()


class _Sockets(asyncio.Protocol):
    """What a server with a library for WebSocket would hand a connection to."""

    def __init__(self, **of_server: Any) -> None:
        raise AssertionError("a connection left those that are counted")


@contextmanager
def _served(connections: Connections, app: ASGIApp = _app) -> Iterator[Served]:
    config = uvicorn.Config(
        app,
        log_config=None,
        lifespan="off",
        http=connections.protocol,  # type: ignore[arg-type] # called as the class would be
        ws=_Sockets,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield Served(listener.getsockname()[1], connections)
        finally:
            server.should_exit = True
            thread.join()


def _rest(connection: socket.socket) -> bytes:
    """Return what still comes until the other side closes."""
    found = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            found += part
    return found


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", b""),
        (b"GET / HT", b""),
        (b"\r\n", b""),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", b""),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", b""),
        (GET + b"\r\n", b"HTTP/1.1 200 OK"),
        (GET + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", b"HTTP/1.1 200 OK"),
    ],
    ids=["nothing", "head", "line", "body", "chunks", "line after", "body after"],
)
def test_who_sends_no_more_is_cut(sent: bytes, answered: bytes) -> None:
    connections = Connections(patience=SHORT)
    with _served(connections) as served, served.connect(sent) as silent:
        assert _rest(silent).partition(b"\r\n")[0] == answered
        assert (connections.cut["late"], served.ask()) == (1, b"HTTP/1.1 200 OK")


def test_who_does_not_read_is_cut_and_who_reads_slowly_is_not() -> None:
    connections = Connections(patience=SHORT)
    large = GET.replace(b"/ ", b"/large ").replace(b"a\r", b"a\r\nConnection: close\r")
    with _served(connections) as served, served.connect(large), served.connect(large) as slow:
        received = 0
        while part := slow.recv(100_000):
            received += len(part)
            if not connections.cut["late"]:
                threading.Event().wait(0.01)
        assert (received > LARGE, connections.cut["late"]) == (True, 1)


def test_a_head_without_end_is_refused() -> None:
    connections = Connections()
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"x" * MAX_HEAD
    with _served(connections) as served, served.connect(head) as sending:
        assert _rest(sending).partition(b"\r\n")[0] == (
            b"HTTP/1.1 431 Request Header Fields Too Large"
        )
        assert (connections.cut["large"], served.ask()) == (1, b"HTTP/1.1 200 OK")


def test_trailers_without_end_are_refused() -> None:
    connections = Connections()
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    with _served(connections) as served, served.connect(head) as sending:
        with suppress(OSError):
            for _ in range(1_000):
                sending.sendall(b"X: " + b"x" * 60_000 + b"\r\n")
        assert (connections.cut["large"], served.ask()) == (1, b"HTTP/1.1 200 OK")


def test_a_peer_that_waits_too_often_loses_its_oldest_connection() -> None:
    connections = Connections(waiting=3, patience=Patience(young=0))
    with _served(connections) as served, ExitStack() as stack:
        silent = [stack.enter_context(served.connect()) for _ in range(3)]
        assert served.ask() == b"HTTP/1.1 200 OK"
        assert (_rest(silent[0]), connections.cut["crowded"]) == (b"", 1)
        silent[1].sendall(GET)
        assert silent[1].recv(12) == b"HTTP/1.1 200"


def test_a_full_house_makes_room_for_the_next() -> None:
    connections = Connections(2, patience=Patience(young=0))
    with _served(connections) as served, ExitStack() as stack:
        silent = [stack.enter_context(served.connect()) for _ in range(2)]
        assert served.ask() == b"HTTP/1.1 200 OK"
        assert (_rest(silent[0]), connections.cut["crowded"]) == (b"", 1)


def test_nobody_is_cut_who_has_just_come() -> None:
    connections = Connections(2, patience=Patience(young=60))
    with _served(connections) as served, ExitStack() as stack:
        young = [stack.enter_context(served.connect()) for _ in range(2)]
        with served.connect() as late:
            assert _rest(late) == b""
        young[0].sendall(GET)
        assert young[0].recv(12) == b"HTTP/1.1 200"


def _waiting(left: int, release: threading.Event) -> tuple[ASGIApp, Callable[[], int]]:
    entered = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal entered
        entered += 1
        while scope["query_string"] == b"wait" and not release.is_set():
            await asyncio.sleep(0.01)
        await Response(b"answered")(scope, receive, send)

    return Turnstile(app, requests=left, polls=left), lambda: entered


def test_long_polls_take_no_places_of_other_requests() -> None:
    release = threading.Event()
    app, entered = _waiting(1, release)
    poll = b"GET /bundles/a?wait HTTP/1.1\r\nHost: a\r\nPrefer: wait=60\r\n\r\n"
    with _served(Connections(), app) as served, served.connect(poll) as polling:
        while not entered():
            pass
        answers = [served.ask(), served.ask(poll)]
        release.set()
        assert polling.recv(15) == b"HTTP/1.1 200 OK"
        assert [*answers, served.ask(poll)] == [
            b"HTTP/1.1 200 OK",
            b"HTTP/1.1 503 Service Unavailable",
            b"HTTP/1.1 200 OK",
        ]


@pytest.mark.parametrize("earlier", [0, 1])
def test_a_connection_stays_what_it_is_whatever_is_installed(
    earlier: int, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    with _served(Connections()) as served, served.connect() as made, made.makefile("rb") as answers:
        for sent in (*[GET] * earlier, GET[:-2] + upgrade):
            made.sendall(sent)
            assert answers.readline().strip() == b"HTTP/1.1 200 OK"
            while answers.readline().strip():
                pass
    assert caplog.messages == []


def test_a_request_too_many_is_told_when_to_come_again() -> None:
    app, _ = _waiting(0, threading.Event())
    client = TestClient(app)
    answer = client.get("/readyz")
    found: dict[str, Any] = json.loads(answer.text)
    told = {name: found[name] for name in ("code", "problem", "where", "remedy", "retry")}
    assert (answer.status_code, answer.headers["retry-after"], told) == (
        503,
        "1",
        {
            "code": "serve.busy",
            "problem": "too many requests at once",
            "where": "service",
            "remedy": "Ask again in a moment.",
            "retry": True,
        },
    )
    assert client.get("/healthz").text == "answered"
