"""A file that a person named, and everything that can be wrong with it."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataspine.core.errors import DataSpineError, IntegrityError, of_system, placed
from dataspine.core.files import private, read_bytes, read_text, replacing, write_new


def _made(folder: Path, name: str) -> Path:
    path = folder / name
    if name == "loop":
        path.symlink_to(path)
    elif name == "folder":
        path.mkdir()
    elif name == "large":
        path.write_bytes(b"12345")
    elif name == "latin":
        path.write_bytes(b"a\xff")
    elif name == "below":
        _made(folder, "large")
        path = folder / "large" / "file"
    return path


@pytest.mark.parametrize(
    ("name", "code", "exit_code", "remedy"),
    [
        ("missing", "input.not_found", 2, "Check the path."),
        ("below", "input.not_found", 2, "Check the path."),
        ("folder", "input.invalid", 2, "Check the path."),
        ("loop", "input.invalid", 2, "Check the path."),
        ("large", "input.too_large", 2, "Split it."),
        ("latin", "input.invalid", 2, "Save it as UTF-8."),
        ("a\0b", "input.invalid", 2, "Check the path."),
        ("x" * 300, "input.invalid", 2, "Check the path."),
    ],
    ids=["missing", "below a file", "folder", "loop", "large", "latin", "nul", "long name"],
)
def test_what_is_wrong_with_a_file_has_place_and_remedy(
    tmp_path: Path, name: str, code: str, exit_code: int, remedy: str
) -> None:
    path = _made(tmp_path, name)
    with pytest.raises(DataSpineError) as refused:
        read_text(path, 4)
    error = refused.value
    assert (error.code, error.exit_code, error.remedy) == (code, exit_code, remedy)
    assert error.where in {str(path), repr(str(path))}


def test_a_file_of_just_the_limit_is_read(tmp_path: Path) -> None:
    assert read_bytes(_made(tmp_path, "large"), 5) == b"12345"


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (PermissionError(13, "Permission denied", "a"), "spine.not_permitted", 3),
        (OSError(30, "Read-only file system", "a"), "spine.not_permitted", 3),
        (OSError(28, "No space left on device"), "spine.disk_full", 3),
        (OSError(27, "File too large", "a"), "spine.disk_full", 3),
        (FileNotFoundError(2, "No such file or directory", "a"), "input.not_found", 2),
    ],
    ids=["mode", "mount", "disk", "limit", "missing"],
)
def test_what_the_file_system_refuses_is_no_fault_of_the_program(
    error: OSError, code: str, exit_code: int
) -> None:
    told = of_system(error)
    assert told is not None
    assert (told.code, told.exit_code, bool(told.remedy)) == (code, exit_code, True)


def test_what_is_not_about_files_stays_unexpected() -> None:
    assert of_system(ConnectionResetError(104, "Connection reset by peer")) is None


def test_an_error_without_a_place_gets_the_nearest_one() -> None:
    for where, named in (("", "a.tar.gz"), ("bundle", "bundle")):
        with pytest.raises(IntegrityError) as refused, placed("a.tar.gz"):
            raise IntegrityError("malformed", where=where)
        assert (refused.value.where, str(refused.value)) == (named, f"{named}: malformed")


@pytest.mark.parametrize("before", [None, b"old"], ids=["new", "replaced"])
def test_a_file_is_seen_whole(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert (path.read_bytes() if path.exists() else None) == before
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"new", [path])


def test_a_file_stays_when_its_writer_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half", None])  # type: ignore[list-item] # what fails after a part
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


def test_a_private_file_was_never_open_to_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o644)
    with replacing(path, opener=private):
        modes = {each.stat().st_mode & 0o777 for each in tmp_path.iterdir() if each != path}
    assert (modes, path.stat().st_mode & 0o777) == ({0o600}, 0o600)


@pytest.mark.parametrize(
    ("name", "number"),
    [("none/file", 2), ("there/file", 20), ("folder", 21)],
    ids=["no folder", "below a file", "a folder"],
)
def test_a_file_that_cannot_be_replaced_is_named(tmp_path: Path, name: str, number: int) -> None:
    (tmp_path / "there").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=name) as error, replacing(tmp_path / name) as file:
        file.write(b"new")
    assert (error.value.errno, error.value.filename) == (number, str(tmp_path / name))
    assert {each.name for each in tmp_path.iterdir()} == {"there", "folder"}


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let this process write no file over 1,000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_a_file_that_does_not_fit_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="too large") as error, replacing(path) as file:
        file.write(bytes(100_000))
    assert error.value.filename == str(path)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


def test_a_new_file_is_its_owners_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_new(path, b"first")
    with pytest.raises(FileExistsError):
        write_new(path, b"second")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"first", 0o600)


@pytest.mark.usefixtures("small_files")
def test_a_new_file_that_does_not_fit_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too large") as error:
        write_new(tmp_path / "key", bytes(100_000))
    assert error.value.filename == str(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
