"""Files: read no further than was asked for, replaced whole, every fault with its place."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from dataspine.core.errors import InputError, NotFoundError, of_system

__all__ = ["private", "read_bytes", "read_text", "replacing", "write_new"]


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
