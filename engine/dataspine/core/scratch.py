"""Private temporary folders. A killed process cannot remove its own; the next one does.

The folder's name says whose it is: ``spine-<kind>-<process id>-…``.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dataspine.core.process import start_time

__all__ = ["make_scratch", "scratch"]

_NAME = re.compile(r"spine-[a-z]+-(?P<owner>[0-9]+)-.+")


def make_scratch(kind: str, parent: Path | None = None) -> Path:
    """Make an empty folder, mode 0700, in ``parent`` (the system's temporary folder by default).

    The caller removes it. Folders there whose processes are gone are removed first.
    """
    place = parent or Path(tempfile.gettempdir())
    _sweep(place)
    return Path(tempfile.mkdtemp(prefix=f"spine-{kind}-{os.getpid()}-", dir=place))


@contextlib.contextmanager
def scratch(kind: str) -> Iterator[Path]:
    """Make a folder that lasts as long as the context."""
    folder = make_scratch(kind)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    for folder in parent.glob("spine-*-*-*"):
        found = _NAME.fullmatch(folder.name)
        with contextlib.suppress(OSError):
            ours = folder.lstat().st_uid == os.getuid() and not folder.is_symlink()
            if found and ours and start_time(int(found["owner"])) is None:
                shutil.rmtree(folder, ignore_errors=True)
