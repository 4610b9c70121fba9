"""Files: read no further than was asked for, replaced whole, every fault with its place."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from dataspine.core.errors import (
    InputError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
    of_system,
)

__all__ = ["private", "read_bytes", "read_private", "read_text", "replacing", "write_new"]


def read_bytes(path: Path, max_bytes: int, *, remedy: str = "Split it.") -> bytes:
    """Return a file's bytes; ``remedy`` says what to do with one over the limit.

    Raises ``NotFoundError``, ``InputError`` for what is no file or over the limit, and
    ``UnavailableError`` where the caller may not read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise NotFoundError("no such file", where=str(path), remedy="Check the path.") from None
    except OSError as error:
        known = of_system(error)
        raise known or InputError(
            error.strerror or "unreadable", where=str(path), remedy="Check the path."
        ) from None
    except ValueError:  # a path with a NUL
        raise InputError("no path", where=repr(str(path)), remedy="Check the path.") from None
    if len(data) > max_bytes:
        raise InputError(
            f"over the limit of {max_bytes} bytes",
            where=str(path),
            remedy=remedy,
            code="input.too_large",
        )
    return data


def read_text(path: Path, max_bytes: int, *, remedy: str = "Split it.") -> str:
    """Return a file's text, which is UTF-8; else as ``read_bytes``."""
    try:
        return read_bytes(path, max_bytes, remedy=remedy).decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 at byte {error.start}", where=str(path), remedy="Save it as UTF-8."
        ) from None


def read_private(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a secret that this process's user alone may read and replace.

    Raises ``IntegrityError`` when the file, or the folder it is in, belongs to somebody else, lets
    others in, or is reached through a symbolic link; ``NotFoundError`` when there is none, and
    ``UnavailableError`` where the caller may not read.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _require_own(os.fstat(folder), path.parent, others=stat.S_IWGRP | stat.S_IWOTH)
            # Non-blocking: a named pipe must not hold the caller up.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            with os.fdopen(os.open(path.name, flags, dir_fd=folder), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise _exposed(path, "it is not a file")
                _require_own(status, path, others=stat.S_IRWXG | stat.S_IRWXO)
                return file.read(max_bytes)
        finally:
            os.close(folder)
    except FileNotFoundError:
        raise NotFoundError(
            "no such key", where=str(path), remedy="Run `spine init` there."
        ) from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR):
            raise _exposed(path, "it is not a file, or behind a symbolic link") from None
        raise UnavailableError(
            error.strerror or "unreadable",
            where=str(path),
            remedy="Check the key file's owner and mode.",
            code="spine.not_permitted",
        ) from None


def _require_own(status: os.stat_result, path: Path, *, others: int) -> None:
    if status.st_uid != os.geteuid():
        raise _exposed(path, f"it belongs to user {status.st_uid}")
    if status.st_mode & others:
        raise _exposed(path, f"its mode is {stat.S_IMODE(status.st_mode):04o}")


def _exposed(path: Path, problem: str) -> IntegrityError:
    return IntegrityError(
        f"others may know or replace this key: {problem}",
        where=str(path),
        remedy="When nobody can have read it, make it yours alone: `chmod 700` the folder, `chmod "
        "600` the file, no link. Else delete it, let `spine init .` make another, and make anew "
        "what it masked or signed.",
        code="spine.key_exposed",
    )


def private(path: str, flags: int) -> int:
    """Open a file that, when it is new, its owner alone may use: an ``opener`` of ``open``."""
    return os.open(path, flags, 0o600)


def write_new(path: Path, data: bytes) -> None:
    """Write a new file that its owner alone may use; on the disk when this returns.

    Raises ``FileExistsError`` and leaves what is there as it is; any other ``OSError`` leaves
    nothing, and is about ``path``.
    """
    with open(path, "xb", opener=private) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            path.unlink(missing_ok=True)
            error.filename = str(path)
            raise


@contextlib.contextmanager
def replacing(path: Path, *, opener: Callable[[str, int], int] | None = None) -> Iterator[BinaryIO]:
    """Write a file that whoever looks sees whole: as it was, or as the block left it.

    The bytes are on the disk before they have the name, so a crash of the machine leaves one of the
    two as well; which one is not promised. When the block raises, the file is as it was. An
    ``OSError`` comes as it is, about ``path``. ``opener`` is that of ``open``.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with open(part, "xb", opener=opener) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if error.filename in (None, str(part)):
            error.filename = str(path)  # not the part beside it, of which nobody knows
        raise
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
