"""What the shell proposes, asked as bash asks."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import Spine

from dataspine.adapters import schema_publish
from dataspine.adapters.init import init
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.core.workspace import Workspace

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("quiet_environment")]


def _proposed(line: str, monkeypatch: pytest.MonkeyPatch, spine: Spine) -> tuple[list[str], str]:
    words = line.split(" ")
    monkeypatch.setenv("_SPINE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    # Completion starts no engine: there is none.
    monkeypatch.setenv("SPINE_OPA", "/nowhere/opa")
    run = spine()
    return run.stdout.split(), run.stderr


@pytest.mark.parametrize(
    ("line", "proposed"),
    [
        ("spine decide sch", ["schema.publish"]),
        ("spine audit decisions --point row", ["row.replicate"]),
        ("spine schema latest shop.", ["shop.money", "shop.orders"]),
        ("spine schema diff shop.o", ["shop.orders"]),
        ("spine explain contract.owner", ["contract.owner_missing"]),
        ("spine audit decisions --code engine.u", ["engine.unavailable", "engine.undefined"]),
        ("spine cdc plan ", ["streaming/cdc/data-spine.yaml"]),
        ("spine schema latest none", []),
        ("spine schema latest --wor", ["--workspace"]),
        ("spine bundle status --j", ["--json"]),
        ("spine aud", ["audit"]),
    ],
)
def test_values_are_proposed(
    line: str,
    proposed: list[str],
    spine: Spine,
    filled: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(filled.root)
    assert _proposed(line, monkeypatch, spine) == (proposed, "")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Workspace:
    made = init(tmp_path_factory.mktemp("filled") / "shop", name="shop", told=lambda _: None)
    with Session(made, opa=opa) as session:
        for subject in ("shop.money", "shop.orders"):
            schema_publish.publish(session, Proposal(subject, '"string"'))
    return made


def test_named_workspace_is_the_one_that_is_asked(
    spine: Spine, filled: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = f"spine -w {filled.root} schema latest shop.m"
    assert _proposed(line, monkeypatch, spine) == (["shop.money"], "")


@pytest.mark.parametrize("line", ["spine schema latest ", "spine cdc plan "])
def test_nothing_is_proposed_where_nothing_is_known(
    line: str, spine: Spine, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outside = _proposed(line, monkeypatch, spine)
    monkeypatch.chdir(workspace.root)
    (workspace.root / "spine.yaml").write_text("name: [")
    assert outside == _proposed(line, monkeypatch, spine) == ([], "")


def test_broken_database_proposes_nothing(
    spine: Spine, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.root)
    (workspace.state / "spine.db").write_bytes(b"no database" * 1000)
    assert _proposed("spine schema latest ", monkeypatch, spine) == ([], "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_of_a_shell_is_shown(shell: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "dataspine.cli", "--show-completion", shell],
        env={"PATH": "/usr/bin:/bin", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, "_SPINE_COMPLETE=complete_" in run.stdout) == (0, True), run.stderr
