"""Every error that Data Spine raises on purpose.

One root, a stable ``code``, the process's exit code, whether a retry helps, and the three things
that a person needs: what is wrong, where, and what to do next. Only ``web`` knows HTTP.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any, ClassVar

__all__ = [
    "ConflictError",
    "DataSpineError",
    "InputError",
    "IntegrityError",
    "NotFoundError",
    "UnavailableError",
    "of_system",
    "placed",
]


class DataSpineError(Exception):
    """The base class; catch it to catch all of them.

    ``problem`` says what is wrong, ``where`` names the file, place or thing
    (``orders.avsc:4`` or a JSON Pointer), ``remedy`` says what to do next. ``code`` is stable and
    documented; ``exit_code`` is what the process returns.
    """

    code: str = "spine.error"
    exit_code: ClassVar[int] = 70
    retry: bool = False

    def __init__(
        self, problem: str, *, where: str = "", remedy: str = "", code: str | None = None
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.remedy = remedy
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}" if self.where else self.problem

    def document(self) -> dict[str, Any]:
        """Return the error as the JSON object that ``--json`` and problem JSON show."""
        return {
            "code": self.code,
            "problem": self.problem,
            "where": self.where,
            "remedy": self.remedy,
            "retry": self.retry,
        }


class InputError(DataSpineError):
    """What the caller sent cannot be used: malformed, unknown key, over a limit."""

    code = "input.invalid"
    exit_code = 2


class NotFoundError(InputError):
    """The named thing does not exist."""

    code = "input.not_found"


class ConflictError(InputError):
    """The request contradicts what is stored."""

    code = "input.conflict"


class UnavailableError(DataSpineError):
    """Something needed is not there now: OPA, a database, a file lock, a peer. A retry may help."""

    code = "spine.unavailable"
    exit_code = 3
    retry = True


class IntegrityError(DataSpineError):
    """A signature, digest or checkpoint does not match."""

    code = "integrity.mismatch"
    exit_code = 4


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_SUCH = frozenset({errno.ENOENT, errno.ENOTDIR})
_NO_FILE = frozenset({errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG})


def of_system(error: OSError) -> DataSpineError | None:
    """Return what the file system said as one of ours; None when it was about something else."""
    problem, where = error.strerror or str(error), str(error.filename or "")
    if error.errno in _FULL:
        return UnavailableError(
            problem,
            where=where,
            remedy="Free disk space, and run it again; nothing was lost.",
            code="spine.disk_full",
        )
    if error.errno in _REFUSED and where:
        return UnavailableError(
            problem,
            where=where,
            remedy="Check the owner and the mode of the file and its folder.",
            code="spine.not_permitted",
        )
    if error.errno in _NO_SUCH and where:
        return NotFoundError(problem, where=where, remedy="Check the path.")
    if error.errno in _NO_FILE and where:
        return InputError(problem, where=where, remedy="Check the path.")
    return None


@contextlib.contextmanager
def placed(where: str) -> Iterator[None]:
    """Name the place in an error that has none: who reads bytes does not know whose they are."""
    try:
        yield
    except DataSpineError as error:
        error.where = error.where or where
        raise
