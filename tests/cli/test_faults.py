"""Whatever is wrong: an exit code that says so, one JSON document, no traceback; every command."""

import io
import json
from pathlib import Path

import pytest
from tests.cli.test_options import COMMANDS
from tests.conftest import Spine
from typer.core import TyperCommand, TyperOption

from dataspine.core.workspace import Workspace

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("quiet_environment")]

# They make or install something and need no workspace.
MAKERS = {"access token", "init", "demo", "opa install", "bundle keys new"}
# It would run until it is ended.
ENDLESS = {"serve"}
WITHOUT_WORKSPACE = {"doctor", "opa status", "policy docs"}


def _required(command: TyperCommand) -> list[str]:
    """Return a value for everything that the command cannot do without."""
    options: list[str] = []
    arguments: list[str] = []
    for parameter in command.params:
        if not parameter.required:
            continue
        if isinstance(parameter, TyperOption):
            options += [parameter.opts[0], "1"]
        else:
            arguments.append("1")
    return [*options, *arguments]


def _error(run_stdout: str) -> dict[str, object]:
    found = json.loads(run_stdout)
    assert list(found) == ["error"]
    error: dict[str, object] = found["error"]
    assert sorted(error) == ["code", "problem", "remedy", "retry", "where"]
    assert error["code"] != "spine.internal"
    return error


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - MAKERS - WITHOUT_WORKSPACE))
def test_bad_workspace_is_refused(
    name: str, spine: Spine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spine.yaml").write_text("name: shop\nmode: dev\nmoed: x\n")
    argv = [*name.split(), *_required(COMMANDS[name]), "--json"]
    runs = [spine(*argv), spine(*argv, "--workspace", "nowhere")]
    for run in runs:
        error = _error(run.stdout)
        assert (run.status, run.stderr) == (2, ""), error
        assert error["remedy"]


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - MAKERS - ENDLESS))
def test_senseless_input_is_one_document_and_no_fault_of_ours(
    name: str,
    spine: Spine,
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    required = _required(COMMANDS[name])
    run = spine(*name.split(), *required, "--json", "-w", str(workspace.root))
    assert run.status in {0, 1, 2, 3, 4}, run.stdout
    assert "Traceback" not in run.stderr
    if "error" in json.loads(run.stdout):
        _error(run.stdout)
        assert run.status in {2, 3, 4}
    else:
        assert not required or run.status in {0, 1}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_unknown_option_is_a_usage_fault(name: str, spine: Spine) -> None:
    run = spine(*name.split(), "--nonsense", "--json")
    assert (run.status, run.stderr) == (2, "")
    assert _error(run.stdout)["code"] == "input.usage"


@pytest.mark.parametrize(
    ("name", "content", "arguments", "where"),
    [
        ("a.avsc", "{", ("schema", "publish", "a", "{file}"), "{file}:1"),
        ("a.avsc", "{", ("schema", "validate", "a", "{file}"), "{file}:1"),
        ("a.proto", "syntax", ("schema", "publish", "a", "{file}"), "{file}:1"),
        ("a.avsc", "\xff", ("schema", "publish", "a", "{file}"), "{file}"),
        ("a.json", "[]", ("decide", "schema.publish", "--input", "{file}"), "{file}"),
        ("a.json", "{", ("decide", "schema.publish", "--input", "{file}"), "{file}:1"),
        ("a.avsc", "{", ("input", "schema.publish", "{file}"), "{file}:1"),
        ("a.yaml", "name: [", ("input", "route.deploy", "{file}"), "{file}:1"),
        ("a.yaml", "name: a\nnmae: b\n", ("cdc", "plan", "{file}"), "{file}:1"),
    ],
    ids=["avro", "validate", "proto", "latin", "list", "json", "input", "yaml", "route"],
)
def test_broken_file_is_named_with_its_line(
    spine: Spine,
    workspace: Workspace,
    tmp_path: Path,
    name: str,
    content: str,
    arguments: tuple[str, ...],
    where: str,
) -> None:
    file = tmp_path / name
    file.write_bytes(content.encode("latin-1"))
    argv = [argument.replace("{file}", str(file)) for argument in arguments]
    run = spine(*argv, "-w", str(workspace.root), "--json")
    error = _error(run.stdout)
    assert (run.status, run.stderr) == (2, "")
    assert str(error["where"]).startswith(where.replace("{file}", str(file)))


@pytest.mark.parametrize(
    ("sent", "code"),
    [(b"\xff", "input.invalid"), (b"[" * 2_000_000, "input.too_large"), (b"", "input.invalid")],
    ids=["latin", "large", "nothing"],
)
def test_bad_question_on_stdin_is_refused(
    spine: Spine,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    sent: bytes,
    code: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(sent)))
    argv = ("decide", "schema.publish", "--input", "-", "-w", str(workspace.root), "--json")
    error = _error(spine(*argv).stdout)
    assert (error["code"], str(error["where"]).partition(":")[0]) == (code, "stdin")


@pytest.mark.parametrize(
    "arguments",
    [
        ("schema", "publish", "a", "missing.avsc"),
        ("schema", "validate", "a", "missing.proto"),
        ("input", "schema.publish", "missing.avsc"),
        ("input", "route.deploy", "missing.yaml"),
        ("decide", "schema.publish", "--input", "missing.json"),
        ("cdc", "plan", "missing.yaml"),
        ("cdc", "run", "missing.yaml"),
        ("cdc", "destroy", "missing.yaml"),
        ("cdc", "dlq", "list", "missing.yaml"),
        ("bundle", "verify", "missing.tar.gz"),
        ("bundle", "sign", "missing.tar.gz"),
        ("bundle", "unpack", "--verify", "out", "missing.tar.gz"),
        ("bundle", "publish", "missing.tar.gz"),
        ("bundle", "publish", "--tests", "missing.json"),
        ("schema", "subjects", "-w", "missing"),
    ],
    ids=" ".join,
)
def test_a_missing_file_is_the_same_error_everywhere(
    spine: Spine, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(workspace.root)
    run = spine(*arguments, "--json")
    error = _error(run.stdout)
    assert (run.status, error["code"], error["problem"]) == (2, "input.not_found", "no such file")
    assert str(error["where"]).startswith("missing")


def test_what_is_no_bundle_is_named(spine: Spine, workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "junk.tar.gz"
    file.write_bytes(b"junk")
    run = spine("bundle", "verify", str(file), "-w", str(workspace.root), "--json")
    error = _error(run.stdout)
    assert (run.status, error["code"], error["where"]) == (4, "bundle.malformed", str(file))


def test_an_oversized_file_says_what_to_do(
    spine: Spine, workspace: Workspace, tmp_path: Path
) -> None:
    file = tmp_path / "large.yaml"
    file.write_bytes(b"#" * 5_000_000)
    run = spine("cdc", "plan", str(file), "-w", str(workspace.root), "--json")
    error = _error(run.stdout)
    assert (run.status, error["code"], error["where"]) == (2, "input.too_large", str(file))
    assert error["remedy"]


def test_a_route_that_was_not_applied_has_no_list(
    spine: Spine, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.root)
    run = spine("cdc", "dlq", "list", "--json")
    error = _error(run.stdout)
    assert (run.status, error["code"], error["where"]) == (2, "cdc.not_applied", "shop-to-us")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("schema", "subjects"), "no schema is published; see `spine schema publish`"),
        (("lineage", "dlq", "list"), "no receiver refused an event"),
        (("audit", "decisions", "--deny"), "no such decision was made"),
    ],
    ids=["subjects", "events", "decisions"],
)
def test_nothing_to_list_is_said(
    spine: Spine,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(workspace.root)
    run = spine(*arguments)
    assert (run.status, run.stdout) == (0, f"{said}\n")
