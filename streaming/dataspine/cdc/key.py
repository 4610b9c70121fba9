"""Random keys of one workspace, each in a file of its own."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from dataspine.core.errors import UnavailableError
from dataspine.core.files import read_private, write_new

__all__ = ["load_key"]

MAX_BYTES = 65_536


def load_key(path: Path) -> bytes:
    """Return a key of 64 characters; make it (mode 0600) the first time.

    Raises ``UnavailableError`` when the file cannot be read or made, and ``IntegrityError`` when
    it is not this user's alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        if not path.exists():
            write_new(fresh, secrets.token_hex(32).encode())
            # A link, not a rename: of two processes that make a key, both use the first.
            try:
                os.link(fresh, path)
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
    except OSError as error:
        raise UnavailableError(
            error.strerror or "unreadable",
            where=str(path),
            remedy="Check the key file's owner and mode.",
            code="cdc.key_file",
        ) from None
    return read_private(path, MAX_BYTES).strip()
