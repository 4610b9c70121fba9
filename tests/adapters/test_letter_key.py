"""The key of the dead letters: the clone's own, or by reference where machines share the state."""

import subprocess
from pathlib import Path

import pytest

from dataspine.adapters.route_target import key_hasher
from dataspine.adapters.session import Session
from dataspine.cdc.key_hash import KeyHasher
from dataspine.core.errors import DataSpineError, IntegrityError
from dataspine.core.workspace import Workspace

SHARED = "database: {url: env:SPINE_DATABASE}\n"


def session(folder: Path, text: str = "") -> Session:
    (folder / "spine.yaml").write_text(f"name: x\nmode: dev\n{text}")
    return Session(Workspace.open(folder))


def test_clone_makes_its_own_once(tmp_path: Path) -> None:
    first = key_hasher(session(tmp_path))("eu", "people", ("1",))
    assert key_hasher(session(tmp_path))("eu", "people", ("1",)) == first
    key = tmp_path / ".spine/keys/letter.key"
    assert KeyHasher(key.read_bytes())("eu", "people", ("1",)) == first
    assert key.stat().st_mode & 0o777 == 0o600


def test_machines_that_share_the_state_share_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPINE_LETTER_KEY", "k" * 64)
    found = key_hasher(session(tmp_path, f"{SHARED}cdc: {{letter-key: env:SPINE_LETTER_KEY}}\n"))
    key = ("eu", "people", ("1",))
    assert found(*key) == KeyHasher(b"k" * 64)(*key)
    assert not (tmp_path / ".spine").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("cdc.letter_key", "spine.yaml/cdc", 2)),
        (
            "cdc: {letter-key: env:SPINE_LETTER_KEY}\n",
            ("spine.secret_missing", "env:SPINE_LETTER_KEY", 3),
        ),
        ("cdc: {letter-key: file:short.key}\n", ("cdc.letter_key", "", 2)),
    ],
    ids=["no reference", "nothing there", "too short"],
)
def test_missing_key_says_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    expected: tuple[str, str, int],
) -> None:
    monkeypatch.delenv("SPINE_LETTER_KEY", raising=False)
    (tmp_path / "short.key").write_text("k" * 31)
    with pytest.raises(DataSpineError) as caught:
        key_hasher(session(tmp_path, SHARED + text))
    error = caught.value
    assert (error.code, error.where, error.exit_code) == expected
    assert error.remedy


def test_key_that_a_repository_brings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.key").write_text("k" * 64)
    opened = session(tmp_path, f"{SHARED}cdc: {{letter-key: file:letter.key}}\n")
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    key = ("eu", "people", ("1",))
    assert key_hasher(opened)(*key) == KeyHasher(b"k" * 64)(*key)
    subprocess.run([*git, "add", "letter.key"], check=True)
    with pytest.raises(IntegrityError) as caught:
        key_hasher(opened)
    where = str(opened.workspace.root / "letter.key")
    assert (caught.value.code, caught.value.where) == ("spine.key_exposed", where)
