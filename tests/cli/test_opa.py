"""`spine opa`: the commands about sidecars, as a user calls them."""

from pathlib import Path

import pytest
from tests.command import run
from tests.integration.fleet import Control

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Control:
    return Control(tmp_path_factory.mktemp("opa"), opa)


def _spine(control: Control, *arguments: str) -> tuple[int, dict[str, object]]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(control.root),
        "SPINE_OPA": str(control.opa),
    }
    done = run("opa", *arguments, "--json", folder=control.root, environment=environment)
    assert "Traceback" not in done.stderr
    return done.status, done.document


def test_a_ring_is_a_file_with_discovery_and_a_command_line(control: Control) -> None:
    code, told = _spine(control, "config", "--label", "app=shop", "--ring", "canary")
    file = told["file"]
    assert code == 0
    assert isinstance(file, dict)
    assert file["labels"] == {"app": "shop", "ring": "canary"}
    assert "bundles" not in file
    assert sorted(file["keys"]) == ["dev", "release-1"]
    assert file["decision_logs"]["mask_decision"] == "/dataspine/log/mask"
    assert file["services"]["spine"]["headers"] == {"X-Spine-Instance": "sidecar"}
    assert told["files"] == []
    assert told["command"] == [
        *("opa", "run", "--server", "--config-file", "opa.json"),
        *("--authentication=token", "--authorization=basic"),
        *("--addr", "unix://opa.sock", "--diagnostic-addr", "127.0.0.1:8282"),
        *("--skip-version-check", "--log-level", "error", "access.json"),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["config", "--ring", "canary", "--channel", "stable"],
        ["config", "--channel", "nobody-signs-for-it"],
        ["config", "--label", "no-value"],
        ["config", "--label", "a=${HOME}"],
        ["config", "-o", "."],
        ["config", "-o", "spine.yaml"],
        ["config", "--instance", "a b", "-o", "sidecar"],
        ["token", "a b"],
        ["token", "nobody", "--revoke"],
        ["token", "one", "--token-file", "spine.yaml"],
        ["release", "stable", "9", "--reason", "x"],
        ["discovery", "--key", "none.pem"],
        ["discovery", "--key", "none.pem", "--key-id", "a"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_says_what_to_do(control: Control, arguments: list[str]) -> None:
    code, told = _spine(control, *arguments)
    error = told["error"]
    assert code == 2
    assert isinstance(error, dict)
    assert error["problem"]


def test_a_token_is_written_once_and_ended(control: Control) -> None:
    file = control.root / ".spine" / "one.token"
    code, told = _spine(control, "token", "one", "--token-file", str(file))
    assert (code, told) == (0, {"instance": "one", "file": str(file)})
    assert file.stat().st_mode & 0o777 == 0o600
    with control.session() as session:
        caller = session.fleet.tokens.identify(f"Bearer {file.read_text()}", None)
    assert (caller.name, caller.authenticated) == ("one", True)
    assert _spine(control, "token", "one", "--revoke")[0] == 0


def test_discovery_and_status_are_told(control: Control) -> None:
    code, told = _spine(control, "discovery")
    assert (code, str(told["digest"])[:7]) == (0, "sha256:")
    code, told = _spine(control, "status")
    assert (code, told["instances"], told["holds"]) == (0, [], [])
    assert told["version"]
