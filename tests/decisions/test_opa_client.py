import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataspine.core.errors import InputError, UnavailableError
from dataspine.decisions.opa_client import OpaClient, OpaError

Serve = Callable[[socket.socket], object]


def _answer(connection: socket.socket, body: bytes, status: int = 200) -> bytes:
    request = connection.recv(65_536)
    head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    connection.sendall(head + body)
    return request


@contextlib.contextmanager
def _server(*connections: Serve) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/s")
        listener.listen()

        def serve() -> None:
            for each in connections:
                connection, _ = listener.accept()
                with connection:
                    each(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"unix://{folder}/s"
        thread.join(10)
        assert not thread.is_alive()


def test_one_write_carries_the_whole_request_and_the_token() -> None:
    seen: list[bytes] = []
    with _server(lambda c: seen.append(_answer(c, b'{"result": 1}'))) as address:
        client = OpaClient(address, token="t0ken")
        assert client.query("a/b", {"x": "é"}, {"run": "r1"}) == {"result": 1}
        client.close()
    assert seen == [
        b"POST /v1/data/a/b HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
        b"Content-Type: application/json\r\nAuthorization: Bearer t0ken\r\n"
        b"Content-Length: 31\r\n\r\n" + '{"run":"r1","input":{"x":"é"}}'.encode()
    ]


def test_a_connection_is_kept() -> None:
    def twice(connection: socket.socket) -> None:
        _answer(connection, b'{"result": 1}')
        _answer(connection, b'{"result": 2}')

    with _server(twice) as address:
        client = OpaClient(address)
        assert [client.data("a"), client.data("a")] == [{"result": 1}, {"result": 2}]
        client.close()


def test_a_kept_connection_that_opa_closed_is_replaced_once() -> None:
    first = threading.Event()

    def once(connection: socket.socket) -> None:
        _answer(connection, b'{"result": 1}')
        connection.shutdown(socket.SHUT_RDWR)
        first.set()

    with _server(once, lambda c: _answer(c, b'{"result": 2}')) as address:
        client = OpaClient(address)
        assert client.data("a") == {"result": 1}
        assert first.wait(10)
        assert client.data("a") == {"result": 2}
        client.close()


def test_a_fresh_connection_that_is_closed_is_not_tried_again() -> None:
    with _server(lambda c: c.recv(10_000)) as address:
        client = OpaClient(address)
        with pytest.raises(UnavailableError, match="closed the connection"):
            client.data("a")
        client.close()


def test_silence_ends_at_the_deadline() -> None:
    done = threading.Event()
    with _server(lambda _: done.wait(10)) as address:
        client = OpaClient(address, deadline=0.1)
        with pytest.raises(UnavailableError, match="in time"):
            client.data("a")
        done.set()


def test_a_reply_that_drips_ends_at_the_deadline() -> None:
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not stop.wait(0.01):
                connection.sendall(b" ")

    with _server(drip) as address:
        client = OpaClient(address, deadline=0.2)
        with pytest.raises(UnavailableError, match="in time"):
            client.data("a")
        stop.set()


def test_an_error_of_opa_keeps_its_words_and_codes() -> None:
    body = (
        b'{"code": "evaluation_error", "message": "m", "errors": [{"code": "pe_fragment_error",'
        b' "message": "invalid builtin", "location": {"file": "a.rego", "row": 7}}]}'
    )
    with _server(lambda c: _answer(c, body, 400)) as address:
        client = OpaClient(address)
        with pytest.raises(OpaError) as raised:
            client.compile("a/b", {})
        client.close()
    assert raised.value.problem == "OPA answered 400: m: invalid builtin at a.rego:7"
    assert raised.value.reasons == ("evaluation_error", "pe_fragment_error")


@pytest.mark.parametrize("body", [b"[]", b"{", b"1", b"[" * 5000])
def test_a_reply_that_is_no_object_is_unavailable(body: bytes) -> None:
    with _server(lambda c: _answer(c, body)) as address:
        client = OpaClient(address)
        with pytest.raises(UnavailableError, match="no JSON object"):
            client.data("a")
        client.close()


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    client = OpaClient(f"unix://{tmp_path}/none")
    with pytest.raises(UnavailableError) as raised:
        client.data("a")
    assert raised.value.code == "engine.unavailable"
    assert not client.healthy()


def test_a_value_that_is_no_json_is_invalid_input(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        OpaClient(f"unix://{tmp_path}/none").query("a", {"x": float("nan")})


@pytest.mark.parametrize(
    "address",
    [
        "http://opa.example",
        "http://127.0.0.1:x",
        "ftp://127.0.0.1",
        "unix://",
        "/tmp/s",
        "",
        "http://u:p@127.0.0.1",
    ],
)
def test_an_address_that_is_neither_local_nor_encrypted_is_refused(address: str) -> None:
    with pytest.raises(InputError):
        OpaClient(address)


def test_a_token_cannot_smuggle_a_header() -> None:
    with pytest.raises(InputError):
        OpaClient("unix:///s", token="a\r\nX: y")
