"""Archives are written reproducibly and read with limits."""

import contextlib
import gzip
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataspine.bundles import archive
from dataspine.core.errors import IntegrityError

NAMES = st.lists(
    st.text("abcé.-_ 0", min_size=1, max_size=8).filter(lambda part: part not in {".", ".."}),
    min_size=1,
    max_size=3,
).map("/".join)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=2000), max_size=6))
def test_archives_round_trip_and_are_reproducible(files: dict[str, bytes]) -> None:
    data = archive.write(files)
    assert archive.read(data) == files
    assert archive.write(dict(reversed(files.items()))) == data


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.data())
def test_bytes_of_any_kind_never_break_the_reader(data: st.DataObject) -> None:
    raw = bytearray(gzip.decompress(archive.write({"a": b"x" * 600, "b": b"y"})))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for hostile in (gzip.compress(bytes(raw)), data.draw(st.binary(max_size=200))):
        with contextlib.suppress(IntegrityError):
            archive.read(hostile)


def _tar(*entries: tuple[tarfile.TarInfo, bytes], tail: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry, content in entries:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(buffer.getvalue() + tail)


def _entry(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.linkname = "/etc/passwd" if kind in {tarfile.SYMTYPE, tarfile.LNKTYPE} else ""
    return entry


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a//b", "./x", "//x", "a\\b", "a\nb", "a/."])
def test_a_path_that_could_leave_the_bundle_is_refused(name: str) -> None:
    with pytest.raises(IntegrityError, match="no path inside"):
        archive.read(_tar((_entry(name), b"x")))


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE],
    ids=["symlink", "hard link", "device", "fifo", "folder"],
)
def test_what_is_no_plain_file_is_refused(kind: bytes) -> None:
    with pytest.raises(IntegrityError, match="no plain file"):
        archive.read(_tar((_entry("x", kind), b"")))


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(IntegrityError, match="stands twice"):
        archive.read(_tar((_entry("/x"), b"1"), (_entry("x"), b"2")))


def test_a_bomb_is_refused() -> None:
    with pytest.raises(IntegrityError, match="too large when unpacked"):
        archive.read(_tar((_entry("x"), bytes(20_000_000))))


def test_what_follows_the_end_is_refused() -> None:
    hidden = gzip.decompress(_tar((_entry("hidden"), b"x")))
    with pytest.raises(IntegrityError, match="follows the end"):
        archive.read(_tar((_entry("x"), b"x"), tail=hidden))
