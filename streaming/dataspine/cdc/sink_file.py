"""A sink's file: opened when nobody else has it, for its owner alone, and what can go wrong."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from dataspine.core.errors import InputError, UnavailableError

__all__ = ["connected", "failure", "type_changed"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PATIENCE = 2.0
_PAUSE = 0.02


@contextlib.contextmanager
def connected(path: Path) -> Iterator[Any]:
    """Yield a connection to the file, and close it; what it makes is its owner's alone."""
    with _umask:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(path)
        try:
            yield connection
        finally:
            connection.close()


class _Umask:
    """Keeps everybody else from files that are made meanwhile.

    DuckDB makes file, log and spill files itself, as the process's umask says; threads share it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered = 0
        self._before = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._entered == 0:
                self._before = os.umask(0o077)
            self._entered += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._entered -= 1
            if self._entered == 0:
                os.umask(self._before)


_umask = _Umask()


def _connect(path: Path) -> Any:
    # A route's flush and a replay of its rows meet here; each holds the file for a moment.
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return duckdb.connect(str(path))
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                raise failure(path, error) from None
            if time.monotonic() > deadline:
                break
        except duckdb.Error as error:
            raise failure(path, error) from None
        time.sleep(_PAUSE)
    raise UnavailableError(
        "sink file open elsewhere",
        where=str(path),
        remedy="Close the program that has it open; the route tries again.",
        code="cdc.sink_locked",
    )


def type_changed(path: Path, at: str) -> InputError:
    """Return the error of a column whose rows cannot take the type that it has at the source."""
    return InputError(
        f"the rows at the sink cannot take the new type of {at}",
        where=str(path),
        remedy="Destroy the route, remove the sink's table, then apply and run the route again.",
        code="cdc.sink_type_changed",
    )


def failure(path: Path, error: Exception, at: str = "") -> UnavailableError:
    """Return what DuckDB said without its words, which quote values; ``at`` is table or column."""
    place = f" at {at}" if at else ""
    if any(os.strerror(number) in str(error) for number in _FULL):
        return UnavailableError(
            f"the sink's disk is full{place}",
            where=str(path),
            remedy="Nothing was written; free space on the file's disk, the route then goes on.",
            code="cdc.sink_failed",
        )
    return UnavailableError(
        f"the sink failed{place}: {type(error).__name__}",
        where=str(path),
        remedy="Nothing was written; check the file and the disk, then run the route again.",
        code="cdc.sink_failed",
    )
