from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataspine.decisions._http import NoReplyError, ProtocolError, Reply, read_reply


def _pieces(data: bytes, size: int) -> Callable[[], bytes]:
    parts: Iterator[bytes] = (data[i : i + size] for i in range(0, len(data), size))
    return lambda: next(parts, b"")


def _sized(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _chunked(chunks: list[bytes]) -> bytes:
    lines = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(each), each) for each in chunks)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + lines + b"0\r\nTrailer: x\r\n\r\n"


@given(st.binary(max_size=400), st.integers(1, 50))
def test_a_sized_reply_is_read_however_it_is_cut(body: bytes, size: int) -> None:
    assert read_reply(_pieces(_sized(body), size), 400) == Reply(200, body, True)


@given(st.lists(st.binary(min_size=1, max_size=80), max_size=5), st.integers(1, 50))
def test_a_chunked_reply_is_read_however_it_is_cut(chunks: list[bytes], size: int) -> None:
    found = read_reply(_pieces(_chunked(chunks), size), 400)
    assert found == Reply(200, b"".join(chunks), True)


@given(st.binary(max_size=200), st.integers(1, 20))
def test_noise_is_never_a_reply(noise: bytes, size: int) -> None:
    with pytest.raises(ProtocolError):
        read_reply(_pieces(b"x" + noise, size), 400)


@given(st.integers(1, 200))
def test_a_cut_reply_is_an_error(cut: int) -> None:
    whole = _chunked([b"a" * 60, b"b" * 60])
    with pytest.raises(ProtocolError):
        read_reply(_pieces(whole[:-cut], 7), 400)


def test_a_connection_closed_before_the_reply_is_told_apart() -> None:
    with pytest.raises(NoReplyError):
        read_reply(lambda: b"", 400)


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", Reply(304, b"", True)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", Reply(200, b"", False)),
        (
            b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n",
            Reply(204, b"", False),
        ),
        (_sized(b"x") + b"HTTP/1.1", Reply(200, b"x", False)),
    ],
)
def test_a_connection_is_reused_only_when_that_is_safe(data: bytes, reply: Reply) -> None:
    assert read_reply(_pieces(data, 1000), 400) == reply


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        _sized(b"x" * 401),
        b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000,
    ],
)
def test_a_malformed_or_too_large_reply_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_reply(_pieces(data, 4096), 400)
