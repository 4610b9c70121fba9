"""Read one HTTP/1.1 reply from a connection: only what OPA sends, and nothing lenient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["NoReplyError", "ProtocolError", "Reply", "read_reply"]

_MAX_HEAD = 65_536
_MAX_CHUNK_LINE = 1_024
_BODILESS = (204, 304)


class ProtocolError(Exception):
    """What came back is no reply that can be used; the connection must be closed."""


class NoReplyError(ProtocolError):
    """The peer closed the connection before the first byte of a reply."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply; ``reusable`` tells whether the connection may carry another request."""

    status: int
    body: bytes
    reusable: bool


def read_reply(receive: Callable[[], bytes], max_bytes: int) -> Reply:
    """Read one reply by calling ``receive`` (empty bytes: the peer closed).

    Raises ``ProtocolError`` for anything malformed, cut off, or larger than ``max_bytes``.
    """
    reader = _Reader(receive)
    head = reader.head()
    status, reusable, length, chunked = _parse(head)
    if chunked:
        body = reader.chunks(max_bytes)
    elif length is None:
        if status not in _BODILESS:
            raise ProtocolError("the reply has no length")
        body = b""
    elif length > max_bytes:
        raise ProtocolError(f"the reply is larger than {max_bytes} bytes")
    else:
        body = reader.exactly(length)
    # Bytes after the reply belong to no request of ours: never answer the next one with them.
    return Reply(status, body, reusable and not reader.rest())


class _Reader:
    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._buffer = bytearray()

    def rest(self) -> bool:
        return bool(self._buffer)

    def head(self) -> bytes:
        first = self._receive()
        if not first:
            raise NoReplyError("the peer closed the connection")
        self._buffer += first
        return self._until(b"\r\n\r\n", _MAX_HEAD)

    def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def chunks(self, max_bytes: int) -> bytes:
        body = bytearray()
        while size := self._chunk_size():
            if len(body) + size > max_bytes:
                raise ProtocolError(f"the reply is larger than {max_bytes} bytes")
            body += self.exactly(size)
            if self.exactly(2) != b"\r\n":
                raise ProtocolError("a chunk is longer than it says")
        while self._until(b"\r\n", _MAX_CHUNK_LINE):
            pass  # trailers say nothing that we use
        return bytes(body)

    def _chunk_size(self) -> int:
        digits = self._until(b"\r\n", _MAX_CHUNK_LINE).partition(b";")[0].strip()
        if not digits or digits.strip(b"0123456789abcdefABCDEF"):
            raise ProtocolError("a chunk has no size")
        return int(digits, 16)

    def _until(self, mark: bytes, limit: int) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) > limit:
                raise ProtocolError("a header is too long")
            self._more()
        taken = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return taken

    def _more(self) -> None:
        data = self._receive()
        if not data:
            raise ProtocolError("the reply was cut off")
        self._buffer += data


def _parse(head: bytes) -> tuple[int, bool, int | None, bool]:
    first, *lines = head.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    code = rest[:3]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not code.isdigit() or len(code) != 3:
        raise ProtocolError("no HTTP reply")
    length: int | None = None
    chunked, reusable = False, version == b"HTTP/1.1"
    for line in lines:
        name, colon, value = line.partition(b":")
        name, value = name.lower(), value.strip().lower()
        if not colon:
            raise ProtocolError("a header without a colon")
        if name == b"content-length":
            if not value.isdigit() or (length is not None and length != int(value)):
                raise ProtocolError("a wrong Content-Length")
            length = int(value)
        elif name == b"transfer-encoding":
            if value != b"chunked":
                raise ProtocolError("an unknown Transfer-Encoding")
            chunked = True
        elif name == b"connection" and value == b"close":
            reusable = False
    if chunked and length is not None:
        raise ProtocolError("both Content-Length and Transfer-Encoding")
    return int(code), reusable, length, chunked
