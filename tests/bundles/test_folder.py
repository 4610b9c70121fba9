"""A verified bundle becomes a folder, whole or not at all."""

import json
from pathlib import Path

import pytest

from dataspine.bundles import Bundle, Content, SigningKey, Trust, sign, verify
from dataspine.bundles.folder import write_folder
from dataspine.core.errors import ConflictError, InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.fixture
def bundle(content: Content, key: SigningKey, trust: Trust) -> Bundle:
    return verify(sign(content, key, sequence=3, channel="stable"), trust)


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("made", [True, False], ids=["empty", "new"])
def test_a_folder_holds_the_bundles_files_and_its_revision(
    bundle: Bundle, folder: Path, made: bool
) -> None:
    target = folder / "deep" / "policy"
    if made:
        target.mkdir(parents=True)
    write_folder(bundle, target)
    found = _files(target)
    assert json.loads(found.pop(".revision")) == {
        "revision": bundle.revision,
        "digest": bundle.digest,
        "channel": "stable",
        "sequence": 3,
        "key_id": "release-1",
    }
    assert found == bundle.files
    assert [path.name for path in target.parent.iterdir()] == ["policy"]


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(bundle: Bundle, folder: Path) -> None:
    (folder / "evil.rego").write_text("package dataspine.main\n")
    with pytest.raises(ConflictError):
        write_folder(bundle, folder)
    assert list(_files(folder)) == ["evil.rego"]


def test_a_place_that_cannot_be_written_leaves_nothing(bundle: Bundle, folder: Path) -> None:
    (folder / "file").write_text("x")
    with pytest.raises(InputError):
        write_folder(bundle, folder / "file" / "policy")
    assert list(_files(folder)) == ["file"]


def test_the_part_of_a_killed_process_is_swept(bundle: Bundle, folder: Path) -> None:
    gone = folder / ".policy-4194304"  # above the highest process id
    (gone / "dataspine").mkdir(parents=True)
    write_folder(bundle, folder / "policy")
    assert [path.name for path in folder.iterdir()] == ["policy"]
