"""Private temporary folders. A killed process cannot remove its own; the next one does.

The folder's name says whose it is: ``spine-<kind>-<process id>-…``.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dataspine.core.errors import UnavailableError
from dataspine.core.process import start_time

__all__ = ["make_scratch", "scratch", "temporary_folder"]

_NAME = re.compile(r"spine-[a-z]+-(?P<owner>[0-9]+)-.+")


def make_scratch(kind: str, parent: Path | None = None) -> Path:
    """Make an empty folder, mode 0700, in ``parent`` (the system's temporary folder by default).

    The caller removes it. The first one that a process makes there removes those of processes
    that are gone.
    """
    place = parent or temporary_folder()
    _sweep(place)
    return Path(tempfile.mkdtemp(prefix=f"spine-{kind}-{os.getpid()}-", dir=place))


def temporary_folder() -> Path:
    """Return the system's temporary folder, or raise ``UnavailableError``."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        raise UnavailableError(
            "there is no temporary folder that takes files",
            where="TMPDIR",
            remedy="Free disk space, or name a folder that may be written with TMPDIR.",
            code="spine.no_temporary_folder",
        ) from None


@contextlib.contextmanager
def scratch(kind: str) -> Iterator[Path]:
    """Make a folder that lasts as long as the context."""
    folder = make_scratch(kind)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# What a process leaves behind while another one runs waits for the next: a long-lived service
# need not read a crowded folder again and again.
@functools.cache
def _sweep(parent: Path) -> None:
    for folder in parent.glob("spine-*-*-*"):
        found = _NAME.fullmatch(folder.name)
        with contextlib.suppress(OSError):
            ours = folder.lstat().st_uid == os.getuid() and not folder.is_symlink()
            if found and ours and start_time(int(found["owner"])) is None:
                shutil.rmtree(folder, ignore_errors=True)
