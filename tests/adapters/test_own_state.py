"""A key counts when it is this user's alone and no repository brought it."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.command import run

from dataspine.adapters.init import init
from dataspine.adapters.own_state import in_ci, own_key, own_pem, require_own_state
from dataspine.adapters.policy import dev_key, trust_of
from dataspine.core.errors import IntegrityError, NotFoundError
from dataspine.core.workspace import Workspace

NAMES = ["mask.key", "slot.key", "letter.key"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "shop" / ".spine").mkdir(parents=True)
    return tmp_path / "shop" / ".spine"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def _refused(act: Callable[[], object]) -> str:
    with pytest.raises(IntegrityError) as caught:
        act()
    assert caught.value.code == "spine.key_exposed"
    return caught.value.problem


@pytest.mark.parametrize("name", NAMES)
def test_a_key_is_made_once_for_its_owner_alone(state: Path, name: str) -> None:
    first = own_key(state, name)
    assert (own_key(state, name), len(first)) == (first, 64)
    assert (state / "keys" / name).stat().st_mode & 0o777 == 0o600
    assert (state / "keys").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
@pytest.mark.parametrize("name", NAMES)
def test_a_key_that_others_may_open_is_refused(state: Path, name: str, mode: int) -> None:
    own_key(state, name)
    (state / "keys" / name).chmod(mode)
    problem = _refused(lambda: own_key(state, name))
    assert problem == f"others may know or replace this key: its mode is {mode:04o}"


def test_a_key_may_be_its_owners_to_read_alone(state: Path) -> None:
    first = own_key(state, "mask.key")
    (state / "keys" / "mask.key").chmod(0o400)
    assert own_key(state, "mask.key") == first


def test_a_key_in_a_folder_that_others_may_change_is_refused(state: Path) -> None:
    own_key(state, "mask.key")
    (state / "keys").chmod(0o770)
    problem = _refused(lambda: own_key(state, "mask.key"))
    assert problem == "others may know or replace this key: its mode is 0770"


def test_a_key_of_somebody_else_is_refused(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_key(state, "mask.key")
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    problem = _refused(lambda: own_key(state, "mask.key"))
    assert problem == f"others may know or replace this key: it belongs to user {mine}"


@pytest.mark.parametrize("what", ["file", "dangling", "folder", "pipe", "directory"])
def test_a_key_that_is_not_a_file_of_its_own_is_refused(
    state: Path, tmp_path: Path, what: str
) -> None:
    keys, elsewhere = state / "keys", tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "mask.key").write_text("0" * 64)
    (elsewhere / "mask.key").chmod(0o600)
    if what == "folder":
        keys.symlink_to(elsewhere)
    else:
        keys.mkdir(mode=0o700)
    if what == "file":
        (keys / "mask.key").symlink_to(elsewhere / "mask.key")
    elif what == "dangling":
        (keys / "mask.key").symlink_to(elsewhere / "nothing")
    elif what == "pipe":
        os.mkfifo(keys / "mask.key", 0o600)
    elif what == "directory":
        (keys / "mask.key").mkdir(mode=0o700)
    assert "this key" in _refused(lambda: own_key(state, "mask.key"))


@pytest.mark.parametrize("name", [*NAMES, "dev.pem"])
def test_a_key_that_a_repository_brings_is_refused(state: Path, name: str) -> None:
    root = state.parent
    _git(root, "init", "-q")
    (state / "keys").mkdir(mode=0o700)
    (state / "keys" / name).write_text("0" * 64)
    (state / "keys" / name).chmod(0o600)
    load = own_pem if name.endswith(".pem") else own_key
    assert load(state, name) == b"0" * 64
    _git(root, "add", "-f", ".spine/keys")
    assert _refused(lambda: load(state, name)) == (
        "git tracks this key, or cannot say: whoever has the repository may have the key"
    )
    # Out of sight in the work tree, it is still in the repository.
    (state / "keys" / name).unlink()
    _refused(lambda: load(state, name))
    _git(root, "rm", "-rq", "--cached", ".spine")
    if name != "dev.pem":
        assert len(load(state, name)) == 64


def test_a_state_folder_that_a_repository_links_elsewhere_is_refused(tmp_path: Path) -> None:
    root, other = tmp_path / "shop", tmp_path / "other"
    root.mkdir()
    own_key(other, "mask.key")
    (root / ".spine").symlink_to(other)
    assert len(own_key(root / ".spine", "mask.key")) == 64
    _git(root, "init", "-q")
    _git(root, "add", "-f", ".spine")
    _refused(lambda: own_key(root / ".spine", "mask.key"))


def test_a_key_of_which_git_cannot_say_is_refused(state: Path) -> None:
    own_key(state, "mask.key")
    (state.parent / ".git").write_text("gitdir: nowhere")
    _refused(lambda: own_key(state, "mask.key"))


def _embed(folder: Path, empty: Path) -> None:
    """Make a folder of a work tree a bare repository, which a clone brings as its files are."""
    for name in ("objects", "refs"):
        (folder / name).mkdir(parents=True)
        (folder / name / ".keep").touch()
    (folder / "HEAD").write_text("ref: refs/heads/main")
    (folder / "config").write_text(
        f"[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = {empty}\n"
    )


@pytest.mark.parametrize("where", ["shop", "shop/.spine", "shop/.spine/keys"])
def test_a_repository_inside_of_one_does_not_answer_for_it(
    state: Path, tmp_path: Path, where: str
) -> None:
    own_key(state, "mask.key")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", "-f", "shop/.spine/keys")
    _embed(tmp_path / where, tmp_path)
    _refused(lambda: own_key(state, "mask.key"))
    with pytest.raises(IntegrityError):
        require_own_state(state, {"CI": "true"})


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"])
def test_a_hook_of_another_repository_does_not_answer_for_it(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    own_key(state, "mask.key")
    _git(state.parent, "init", "-q")
    _git(state.parent, "add", "-f", ".spine/keys")
    _git(tmp_path, "init", "-q")
    values = {
        "GIT_DIR": tmp_path / ".git",
        "GIT_INDEX_FILE": tmp_path / ".git" / "index",
        "GIT_WORK_TREE": tmp_path,
    }
    monkeypatch.setenv(name, str(values[name]))
    _refused(lambda: own_key(state, "mask.key"))


def test_a_repository_runs_no_program_when_it_is_asked(state: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o700)
    _git(state.parent, "init", "-q")
    _git(state.parent, "config", "core.fsmonitor", str(program))
    own_key(state, "mask.key")
    assert not (tmp_path / "ran").exists()


def test_a_repository_fetches_nothing_when_it_is_asked(state: Path, tmp_path: Path) -> None:
    root = state.parent
    own_key(state, "mask.key")
    (root / "near").mkdir()
    (root / "near" / "file").touch()
    _git(root, "init", "-q")
    _git(root, "add", "-f", ".")
    _git(root, "commit", "-qm", "all")
    tree = _git(root, "rev-parse", "HEAD:.spine")
    _git(root, "sparse-checkout", "set", "--cone", "--sparse-index", "near")
    # A folder of the index that is to be looked up, and an address that is a program.
    (root / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    for name, value in {
        "remote.origin.promisor": "true",
        "remote.origin.url": f"ext::sh -c touch% {tmp_path}/ran",
        "protocol.ext.allow": "always",
    }.items():
        _git(root, "config", name, value)
    own_key(state, "mask.key")
    assert not (tmp_path / "ran").exists()


def test_an_exposed_key_signs_nothing_and_locks_nobody_out(tmp_path: Path) -> None:
    workspace = init(tmp_path / "shop", name="shop", told=lambda _: None)
    (workspace.state / "keys" / "dev.pem").chmod(0o644)
    _refused(lambda: dev_key(workspace))
    _refused(lambda: trust_of(workspace))
    file = workspace.root / "spine.yaml"
    file.write_text(file.read_text().replace("mode: dev", "mode: released"))
    assert trust_of(Workspace.open(workspace.root)).keys == ()


def test_a_key_that_is_missing_says_how_to_make_it(state: Path) -> None:
    (state / "keys").mkdir(mode=0o700)
    with pytest.raises(NotFoundError):
        own_pem(state, "dev.pem")


@pytest.mark.parametrize(
    ("value", "answer"),
    [(None, False), ("", False), ("0", False), ("False", False), ("true", True), ("1", True)],
)
def test_continuous_integration_is_said_by_a_variable(value: str | None, answer: bool) -> None:
    assert in_ci({} if value is None else {"CI": value}) is answer


def test_in_ci_no_state_comes_with_the_change(tmp_path: Path) -> None:
    root = init(tmp_path / "shop", name="shop", told=lambda _: None).root
    state = root / ".spine"
    _git(root, "init", "-q")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CI": "true"}
    assert run("schema", "subjects", folder=root, environment=environment).status == 0
    _git(root, "add", "-f", ".spine/spine.db")
    for arguments in (("schema", "subjects"), ("init", ".")):
        ended = run(*arguments, "--json", folder=root, environment=environment)
        error = ended.document["error"]
        assert (ended.status, error["code"], error["where"]) == (
            4,
            "spine.state_tracked",
            str(state),
        )
    require_own_state(state, {})
    assert run("schema", "subjects", folder=root, environment={**environment, "CI": ""}).status == 0


@pytest.mark.parametrize("name", ["mask.key", "dev.pem"])
def test_a_fresh_clone_is_told_of_a_key_that_it_brings(tmp_path: Path, name: str) -> None:
    root = init(tmp_path / "shop", name="shop", told=lambda _: None).root
    _git(root, "init", "-q")
    _git(root, "add", "-f", f".spine/keys/{name}")
    _refused(lambda: init(root, told=lambda _: None))
