"""The options of all commands: where they may stand, what wins, and that every command has them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Spine
from typer.core import TyperCommand, TyperGroup

from dataspine.adapters.init import init
from dataspine.cli.main import command
from dataspine.core.workspace import Workspace

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("quiet_environment")]

OPTIONS = {"--workspace", "--server", "--local", "--json", "--quiet", "--debug"}


def _commands(group: TyperGroup, *path: str) -> Iterator[tuple[str, TyperCommand]]:
    for name, each in group.commands.items():
        if isinstance(each, TyperGroup):
            yield from _commands(each, *path, name)
        elif isinstance(each, TyperCommand):
            yield " ".join((*path, name)), each


COMMANDS = dict(_commands(command()))


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_every_option_once_and_an_example(name: str, spine: Spine) -> None:
    found = [text for param in COMMANDS[name].params for text in param.opts]
    assert set(found) >= OPTIONS
    assert len(found) == len(set(found))
    assert str(COMMANDS[name].epilog).startswith("Example: spine ")
    shown = spine(*name.split(), "--help")
    assert shown.status == 0
    assert all(option in shown.stdout for option in OPTIONS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("schema", "latest", "none", "--json", "--workspace", "{root}"),
        ("schema", "latest", "--json", "-w", "{root}", "none"),
        ("--json", "--workspace", "{root}", "schema", "latest", "none"),
        ("schema", "--json", "-w", "{root}", "latest", "none"),
        # A command with parameters of its own for both.
        ("--json", "-w", "{root}", "bundle", "verify", "none"),
    ],
    ids=["after", "before", "root", "group", "own"],
)
def test_options_may_stand_anywhere(
    arguments: tuple[str, ...], spine: Spine, workspace: Workspace
) -> None:
    run = spine(*(a.replace("{root}", str(workspace.root)) for a in arguments))
    error = run.document["error"]
    assert (run.status, run.stderr, error["where"]) == (2, "", "none")
    assert error["code"] in ("registry.unknown_subject", "input.not_found")


@pytest.fixture
def other(tmp_path: Path) -> Workspace:
    return init(tmp_path / "other", name="other", told=lambda _: None)


@pytest.mark.parametrize("name", ["upgrade", "bundle status"], ids=["shared", "own"])
def test_written_workspace_wins_over_the_environment_and_the_folder(
    name: str,
    spine: Spine,
    workspace: Workspace,
    other: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (other.state / "spine.db").unlink()
    broken = other.root / "spine.yaml"
    broken.write_text("name: 1\n")
    root = str(workspace.root)
    monkeypatch.chdir(other.root)
    inside = spine(*name.split())
    monkeypatch.setenv("SPINE_WORKSPACE", root)
    environment = spine(*name.split())
    monkeypatch.setenv("SPINE_WORKSPACE", str(other.root))
    before = spine("-w", root, *name.split())
    after = spine(*name.split(), "-w", root)
    wrong = spine("-w", root, *name.split(), "-w", str(tmp_path / "none"))
    statuses = [run.status for run in (inside, environment, before, after, wrong)]
    assert statuses == [2, 0, 0, 0, 2]


def test_quiet_prints_errors_alone(spine: Spine, workspace: Workspace) -> None:
    root = str(workspace.root)
    good = spine("upgrade", "-w", root, "--quiet")
    bad = spine("schema", "latest", "none", "-w", root, "-q")
    assert (good.status, good.stdout, good.stderr) == (0, "", "")
    assert (bad.status, bad.stdout) == (2, "")
    assert "registry.unknown_subject" in bad.stderr


def test_debug_shows_the_traceback_and_keeps_the_exit_code(
    spine: Spine, workspace: Workspace
) -> None:
    argv = ("schema", "latest", "none", "-w", str(workspace.root))
    plain, debug = spine(*argv), spine(*argv, "--debug", "--json")
    assert (plain.status, debug.status) == (2, 2)
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert debug.document["error"]["code"] == "registry.unknown_subject"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("bundle", "build", "--server", "http://127.0.0.1:1"), "input.local_only"),
        (("schema", "subjects", "--server", "http://127.0.0.1:1", "--local"), "input.usage"),
        (("schema", "subjects", "--nonsense"), "input.usage"),
        (("nonsense",), "input.usage"),
    ],
    ids=["local-only", "both", "option", "command"],
)
def test_usage_fault_exits_2(spine: Spine, arguments: tuple[str, ...], code: str) -> None:
    run = spine(*arguments, "--json")
    assert (run.status, run.document["error"]["code"], run.stderr) == (2, code, "")
