"""A verified bundle as a folder, for tools that cannot read an archive."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

from dataspine.bundles.signing import Bundle
from dataspine.core.errors import ConflictError, InputError, of_system
from dataspine.core.process import start_time

__all__ = ["REVISION", "write_folder"]

REVISION = ".revision"


def write_folder(bundle: Bundle, folder: Path) -> None:
    """Write a bundle's files, and ``.revision`` beside them, into a new or empty folder.

    The folder is there whole or not at all. Raises ``ConflictError`` for one that is not empty.
    """
    folder = folder.absolute()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConflictError(
            "the folder is not empty",
            where=str(folder),
            remedy="Name a new folder: what lies there could be taken for the bundle's.",
            code="input.not_empty",
        )
    prefix = f".{folder.name}-"
    part = folder.with_name(f"{prefix}{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent, prefix)
        part.mkdir()
        _write(bundle, part)
        part.replace(folder)
    except OSError as error:
        raise of_system(error) or InputError(
            error.strerror or "cannot be written", where=str(folder), remedy="Name another folder."
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(bundle: Bundle, folder: Path) -> None:
    for name, raw in bundle.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    facts = {
        "revision": bundle.revision,
        "digest": bundle.digest,
        "channel": bundle.channel,
        "sequence": bundle.sequence,
        "key_id": bundle.key_id,
    }
    (folder / REVISION).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _sweep(parent: Path, prefix: str) -> None:
    # A killed process cannot remove its part; the next one does. The name says whose it was.
    for part in parent.glob(f"{prefix}*"):
        owner = part.name.removeprefix(prefix)
        with contextlib.suppress(OSError):
            if owner.isdigit() and part.is_dir() and start_time(int(owner)) is None:
                shutil.rmtree(part, ignore_errors=True)
