"""``COPY … TO STDOUT`` as pieces of rows, with no more than a few pieces in memory."""

from __future__ import annotations

import contextlib
import queue
import re
import threading
from collections.abc import Iterator

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from dataspine.cdc.event import Row
from dataspine.cdc.pgoutput import PIECE_BYTES, PIECE_CHANGES, MalformedMessageError

__all__ = ["copy_rows", "parse_rows"]

_TICK = 0.2
_ESCAPE = re.compile(r"\\(.)")
_PLAIN = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class _StoppedError(Exception):
    """The reader went away."""


class _Pieces:
    """What psycopg2 writes to, one row per call; pieces wait in a short queue for the reader."""

    def __init__(self) -> None:
        self.queue: queue.Queue[list[bytes] | None] = queue.Queue(maxsize=2)
        self.stopped = threading.Event()
        self._rows: list[bytes] = []
        self._bytes = 0

    def write(self, row: bytes) -> int:
        self._rows.append(row)
        self._bytes += len(row)
        if len(self._rows) >= PIECE_CHANGES or self._bytes >= PIECE_BYTES:
            self.flush()
        return len(row)

    def flush(self) -> None:
        rows, self._rows, self._bytes = self._rows, [], 0
        if rows:
            self.put(rows)

    def take(self) -> list[bytes] | None:
        try:
            return self.queue.get(timeout=_TICK)
        except queue.Empty:
            return []

    def put(self, piece: list[bytes] | None) -> None:
        while not self.stopped.is_set():
            try:
                return self.queue.put(piece, timeout=_TICK)
            except queue.Full:
                continue
        raise _StoppedError


def copy_rows(connection: Connection, statement: sql.Composed, width: int) -> Iterator[list[Row]]:
    """Run the statement in a thread of its own and yield its rows, piece by piece.

    An empty piece says that nothing came for a moment. The caller closes the connection afterwards
    when it does not read to the end.
    """
    pieces = _Pieces()
    failure: list[BaseException] = []

    def run() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.copy_expert(statement, pieces)
            pieces.flush()
        except BaseException as error:  # raised again in the reader's thread
            failure.append(error)
        with contextlib.suppress(_StoppedError):
            pieces.put(None)

    thread = threading.Thread(target=run, name="spine-copy", daemon=True)
    thread.start()
    try:
        while (piece := pieces.take()) is not None:
            yield parse_rows(piece, width)
        if failure:
            raise failure[0]
    finally:
        pieces.stopped.set()
        if thread.is_alive() and not connection.closed:
            with contextlib.suppress(psycopg2.Error):  # it broke: then nothing waits there
                connection.cancel()
        thread.join()


def parse_rows(lines: list[bytes], width: int) -> list[Row]:
    """Parse COPY's text format; raises ``MalformedMessageError`` when a row has another width."""
    try:
        text = b"".join(lines).decode()
    except UnicodeDecodeError:
        raise MalformedMessageError("a value is not UTF-8") from None
    if not text:
        return []
    if not text.endswith("\n"):
        raise MalformedMessageError("a row of the snapshot has no end")
    # A newline or tab inside a value is escaped, so both can be split at once.
    split = [line.split("\t") for line in text[:-1].split("\n")]
    if any(len(values) != width for values in split):
        raise MalformedMessageError("a row of the snapshot has another number of columns")
    if "\\" not in text:
        return [tuple(values) for values in split]
    return [tuple([_value(v) if "\\" in v else v for v in values]) for values in split]


def _value(text: str) -> str | None:
    if text == "\\N":
        return None
    return _ESCAPE.sub(lambda match: _PLAIN.get(match[1], match[1]), text)
