"""Files: read no further than was asked for, replaced whole, every fault with its place."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dataspine.core.errors import InputError, NotFoundError, of_system

__all__ = ["read_bytes", "read_text", "replacing"]


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


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Write a file that whoever looks sees whole: as it was, or as the block left it.

    The bytes are on the disk before they have the name, so a crash of the machine leaves one of the
    two as well; which one is not promised. ``mode`` is what the process's umask leaves of it. When
    the block raises, the file is as it was. An ``OSError`` comes as it is, about ``path``.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
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
