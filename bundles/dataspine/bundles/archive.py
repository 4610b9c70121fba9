"""Bundle archives: written reproducibly, read with limits on paths, sizes and counts."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping

from dataspine.core.errors import IntegrityError

__all__ = ["read", "write"]

MAX_PACKED = 64 * 1_048_576
MAX_UNPACKED = 256 * 1_048_576
MAX_FILES = 10_000
# Policy text packs ten to one; far beyond that, it is a bomb.
MAX_RATIO = 200


def write(files: Mapping[str, bytes]) -> bytes:
    """Return a ``.tar.gz`` as ``opa build`` writes it: sorted, no owner, no time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(f"/{name}")
            entry.size = len(files[name])
            entry.mode = 0o600
            tar.addfile(entry, io.BytesIO(files[name]))
    return gzip.compress(buffer.getvalue(), 6, mtime=0)


def read(data: bytes) -> dict[str, bytes]:
    """Return the files of an archive; raise ``IntegrityError`` for anything out of the ordinary."""
    if len(data) > MAX_PACKED:
        raise _refused("the archive is too large")
    try:
        limit = min(MAX_UNPACKED, len(data) * MAX_RATIO + 65_536)
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            unpacked = packed.read(limit + 1)
        if len(unpacked) > limit:
            raise _refused("the archive is too large when unpacked")
        return _entries(unpacked)
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, OverflowError):
        raise _refused("the file is no bundle archive") from None


def _entries(unpacked: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as tar:
        for entry in tar:
            name = entry.name.removeprefix("/")
            # A sparse file could claim any size; a link could name any place.
            if entry.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or entry.issparse():
                raise _refused(f"{entry.name!r} is no plain file")
            if not _is_inside(name):
                raise _refused(f"{entry.name!r} is no path inside the bundle")
            if name in files or len(files) >= MAX_FILES:
                raise _refused(f"{name!r} stands twice, or there are too many files")
            content = tar.extractfile(entry)
            files[name] = content.read() if content else b""
        if unpacked[tar.offset :].strip(b"\0"):
            raise _refused("something follows the end of the archive")
    return files


def _is_inside(name: str) -> bool:
    plain = name.isprintable() and "\\" not in name
    return plain and all(part not in {"", ".", ".."} for part in name.split("/"))


def _refused(problem: str) -> IntegrityError:
    return IntegrityError(problem, remedy="Build the bundle again.", code="bundle.malformed")
