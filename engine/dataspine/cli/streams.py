"""Standard output and error, also when nobody reads them or they take no more."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn, TextIO, cast

from dataspine.core.errors import DataSpineError, UnavailableError

__all__ = ["Unwritable", "guarded_streams"]

# What a shell reports of a program that the signal ended.
CLOSED = 128 + signal.SIGPIPE


class Unwritable(BaseException):
    """Standard output takes no more, so the command ends.

    No ``Exception``: Rich and typer answer a broken pipe with exit code 1, which here is a denial.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self._error = error

    @property
    def exit_code(self) -> int:
        """Return what the process returns: a reader that has seen enough is no fault."""
        told = self.told()
        return CLOSED if told is None else told.exit_code

    def told(self) -> DataSpineError | None:
        """Return what to say on standard error; None when the reader went away."""
        if self._error.errno == errno.EPIPE:
            return None
        return UnavailableError(
            self._error.strerror or "it cannot be written",
            where="stdout",
            remedy="Free disk space, or write the output elsewhere; what it reports was done.",
            code="spine.output",
        )


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Guard both streams; standard output raises ``Unwritable``, standard error falls silent."""
    with (
        contextlib.redirect_stdout(cast("TextIO", _Output(sys.stdout))),
        contextlib.redirect_stderr(cast("TextIO", _Complaints(sys.stderr))),
    ):
        yield


class _Guarded:
    def __init__(self, stream: TextIO | None) -> None:
        # A descriptor that was closed before the start has no stream at all.
        self._stream = stream or io.StringIO()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._lost(error)
            return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        # Python writes what is left once more when it ends, and complains.
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


class _Output(_Guarded):
    def _lost(self, error: OSError) -> NoReturn:
        super()._lost(error)
        raise Unwritable(error) from None


class _Complaints(_Guarded):
    """Nobody is left to tell."""
