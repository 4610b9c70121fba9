"""Read files that people name: never more than was asked for, every fault with its place."""

from __future__ import annotations

from pathlib import Path

from dataspine.core.errors import InputError, NotFoundError, of_system

__all__ = ["read_bytes", "read_text"]


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
