import os
import subprocess
from pathlib import Path

from dataspine.core.scratch import make_scratch, scratch


def test_folder_is_private_and_gone_at_the_end() -> None:
    with scratch("test") as folder:
        (folder / "a").write_text("x")
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_only_what_a_dead_process_left_is_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = (
        f"spine-rego-{dead.pid}-x",
        f"spine-rego-{os.getpid()}-y",
        "spine-demo-abc",
        f"other-rego-{dead.pid}-x",
    )
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / f"spine-opa-{dead.pid}-link").symlink_to(tmp_path / "spine-demo-abc")
    made = make_scratch("test", tmp_path)
    kept = {path.name for path in tmp_path.iterdir()} - {made.name}
    assert kept == {*names[1:], f"spine-opa-{dead.pid}-link"}


def test_a_folder_is_swept_once_by_a_process(tmp_path: Path) -> None:
    make_scratch("test", tmp_path)
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = tmp_path / f"spine-rego-{dead.pid}-x"
    left.mkdir()
    make_scratch("test", tmp_path)
    assert left.exists()
