"""Two requests in one: what a proxy and the service could read differently is never read at all."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.served import served

pytestmark = pytest.mark.integration

HEAD = b"POST /api/v1/lineage HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
SECOND = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
CHUNK = b"2\r\n{}\r\n"
LENGTH = b"Content-Length: %d\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"
SHORT, LONG = LENGTH % 4, LENGTH % (len(END) + len(SECOND))


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[int]:
    with served(tmp_path_factory.mktemp("smuggling"), opa) as address:
        yield int(address.rpartition(":")[2])


def _answers(port: int, sent: bytes) -> list[int]:
    """Return the status of each answer until the service closes, or has nothing more to say."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        found, data = [], connection.makefile("rb").read()
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        found.append(int(head.split()[1]))
        data = rest[int(fields[b"content-length"]) :]
    return found


@pytest.mark.parametrize(
    "headers",
    [
        SHORT + CHUNKED,
        CHUNKED + SHORT,
        LONG + CHUNKED,
        CHUNKED + LONG,
        LENGTH % 0 + CHUNKED,
        SHORT + LONG,
        LONG + SHORT,
        SHORT + SHORT,
        b"Content-Length: 4, 4\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x4\r\n",
        b"Content-Length: 4 4\r\n",
        b"Content-Length : 4\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: identity\r\n" + CHUNKED + SHORT,
        b" Transfer-Encoding: chunked\r\n" + SHORT,
        b"X: a\nTransfer-Encoding: chunked\r\n" + SHORT,
        b"Transfer-Encoding:\r\n chunked\r\n" + SHORT,
    ],
    ids=repr,
)
def test_an_ambiguous_length_is_refused_and_nothing_behind_it_is_answered(
    port: int, headers: bytes
) -> None:
    found = _answers(port, HEAD + headers + b"\r\n" + CHUNK + END + SECOND)
    assert found == [found[0]]
    assert found[0] in {400, 413, 422}


@pytest.mark.parametrize(
    "body",
    [
        b"2;a=b\r\n{}\r\n" + END,
        b"02\r\n{}\r\n" + END,
        b"2\r\n{}\r\n0\r\nX: y\r\n\r\n",
    ],
    ids=["extension", "zero", "trailer"],
)
def test_a_body_in_parts_ends_where_it_says(port: int, body: bytes) -> None:
    assert _answers(port, HEAD + CHUNKED + b"\r\n" + body + SECOND) == [422, 200]


@pytest.mark.parametrize(
    "body",
    [
        b"2\n{}\n0\n\n",
        b"0x2\r\n{}\r\n" + END,
        b" 2\r\n{}\r\n" + END,
        b"-2\r\n{}\r\n" + END,
        b"2\r\n{}" + END,
        b"ffffffffffffffffff\r\n{}\r\n" + END,
    ],
    ids=["lines", "hexadecimal", "blank", "negative", "unended", "overflow"],
)
def test_a_malformed_part_ends_the_connection(port: int, body: bytes) -> None:
    found = _answers(port, HEAD + CHUNKED + b"\r\n" + body + SECOND)
    assert found == [400]


def test_the_service_still_answers(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
