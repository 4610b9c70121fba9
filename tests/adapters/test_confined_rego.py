"""Rules and tests that nobody has vouched for: they run without network, environment or clock."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.adapters.odd_rule import RULE, TEST
from tests.bundles.sample import inputs
from tests.conftest import Spine

from dataspine.adapters.tools.conftest import Conftest
from dataspine.adapters.tools.opa import Opa
from dataspine.adapters.tools.regal import Regal
from dataspine.bundles import build, packaged
from dataspine.bundles._capabilities import pure
from dataspine.bundles.confined import CAPABILITIES
from dataspine.core.errors import DataSpineError
from dataspine.decisions.program import VERSION, find_opa

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
FOLDER = "dataspine/custom/shop/odd"
SPY = """\
# METADATA
# description: Spies.
package custom.regal.rules.naming.spy

import data.regal.result

report contains result.fail(rego.metadata.chain(), {}) if CALL
"""
CALLS = {
    "network": 'http.send({"method": "GET", "url": "ADDRESS/send"}).status_code == 200',
    "environment": 'opa.runtime().env.MY_SECRET == "hunter2"',
    "clock": "time.now_ns() > 0",
    "schema": 'json.match_schema({}, {"$ref": "ADDRESS/match"})[0]',
}


class Listener(ThreadingHTTPServer):
    """Notes what is fetched from it."""

    daemon_threads = True

    def __init__(self) -> None:
        self.fetched: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Listener)
        self.server.fetched.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"type": "object"}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    root = tmp_path / "shop"
    (root / "policies" / FOLDER).mkdir(parents=True)
    (root / "policies" / FOLDER / "odd.rego").write_text(RULE)
    (root / "policies" / FOLDER / "odd_test.rego").write_text(TEST)
    (root / "spine.yaml").write_text("name: shop\nmode: dev\n")
    (root / "schema").mkdir()
    matrix = ROOT / "schema/data-residency-matrix.yaml"
    (root / "schema/data-residency-matrix.yaml").write_text(matrix.read_text())
    return root


def _call(name: str, listener: Listener) -> str:
    return CALLS[name].replace("ADDRESS", listener.address)


@pytest.mark.parametrize("command", ["check", "check --fast", "lint", "test"])
@pytest.mark.parametrize("name", CALLS)
def test_a_test_reaches_nothing_and_its_line_is_named(
    name: str, command: str, workspace: Path, listener: Listener, spine: Spine
) -> None:
    test = workspace / "policies" / FOLDER / "odd_test.rego"
    test.write_text(f"{TEST}\ntest_spy if {_call(name, listener)}\n")

    ran = spine("policy", *command.split(), folder=workspace)

    assert listener.fetched == []
    assert ran.status == 1, ran.stderr
    assert f"policy.capability policies/{FOLDER}/odd_test.rego:14 " in ran.stdout
    assert "bring it as a fact" in ran.stdout


@pytest.mark.parametrize("name", CALLS)
def test_a_rule_reaches_nothing(
    name: str, workspace: Path, listener: Listener, spine: Spine
) -> None:
    rule = workspace / "policies" / FOLDER / "odd.rego"
    call = _call(name, listener)
    rule.write_text(RULE.replace('.name == "odd"\n', f'.name == "odd"\n\t{call}\n'))

    checked = spine("policy", "check", folder=workspace)
    built = spine("bundle", "build", folder=workspace)

    assert listener.fetched == []
    assert (checked.status, built.status) == (1, 2), checked.stderr + built.stderr
    assert f"policy.capability policies/{FOLDER}/odd.rego:19 " in checked.stdout
    assert "odd.rego:19" in built.stderr


def test_a_schema_in_a_comment_is_fetched_from_nowhere(
    workspace: Path, listener: Listener, spine: Spine
) -> None:
    rule = workspace / "policies" / FOLDER / "odd.rego"
    remote = f'# schemas:\n# - input: {{"$ref": "{listener.address}/schema"}}\n'
    rule.write_text(
        RULE.replace("denied.\n", "denied.\n" + remote).replace(
            "odd.\ndeny", "odd.\n" + remote + "deny"
        )
    )

    checked = spine("policy", "check", folder=workspace)
    built = spine("bundle", "build", folder=workspace)

    assert listener.fetched == []
    assert (checked.status, built.status) == (1, 2), checked.stderr + built.stderr
    assert "remote reference loading disabled" in checked.stdout


def _recorded(program: Path, folder: Path) -> tuple[Path, Path]:
    """Return a program that notes its arguments and environment, and where it does."""
    notes = folder / "notes"
    wrapper = folder / program.name
    wrapper.write_text(
        f'#!/bin/sh\n{{ echo "argv: $*"; /usr/bin/env; }} >> "{notes}"\nexec "{program}" "$@"\n'
    )
    wrapper.chmod(0o755)
    return wrapper, notes


# What a shell adds by itself, and what of ours only tells Go how to use memory.
HARMLESS = {"HOME", "PWD", "OLDPWD", "SHLVL", "_", "GOGC", "GOMEMLIMIT"}


def _names(notes: Path) -> set[str]:
    lines = notes.read_text().splitlines()
    return {line.partition("=")[0] for line in lines if not line.startswith("argv: ")}


def test_no_opa_gets_our_environment_or_all_built_ins(
    opa: Path, workspace: Path, tmp_path: Path
) -> None:
    wrapper, notes = _recorded(opa, tmp_path)
    folder = workspace / "policies"
    (folder / FOLDER / "odd.rego").write_text("package a\n\nb := 1\n")
    (folder / FOLDER / "odd_test.rego").write_text("package a_test\n\ntest_b if data.a.b == 1\n")
    program = Opa(wrapper)

    program.unformatted(folder)
    program.check(folder)
    program.annotations(folder)
    program.test(folder, coverage=True)
    program.parse(folder / FOLDER / "odd.rego")
    program.evaluate(folder, "data.a.b", {})
    program.answers(folder, ["data.a.b"])
    with program.serve(folder):
        pass
    find_opa(wrapper)
    build(packaged(), inputs(), opa=wrapper)

    assert _names(notes) <= HARMLESS
    calls = [line.split()[1:] for line in notes.read_text().splitlines() if "argv: " in line]
    assert {call[0] for call in calls} == {
        *("fmt", "check", "inspect", "test", "parse", "eval", "run", "version")
    }
    evaluating = [call for call in calls if call[0] in {"check", "test", "eval"}]
    assert len(evaluating) >= 7
    assert all("--capabilities" in call for call in evaluating)


def test_regal_gets_no_environment(regal: Path, workspace: Path, tmp_path: Path) -> None:
    wrapper, notes = _recorded(regal, tmp_path)

    Regal(wrapper).lint(workspace / "policies")

    assert _names(notes) <= HARMLESS


def test_regal_runs_no_rules_that_stand_in_a_folder_above(
    regal: Path, workspace: Path, listener: Listener, spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = workspace.parent / "shared"
    spy = shared / ".regal/rules/spy.rego"
    spy.parent.mkdir(parents=True)
    spy.write_text(SPY.replace("CALL", _call("network", listener)))
    monkeypatch.setattr(tempfile, "tempdir", str(shared))

    ran = spine("policy", "lint", folder=workspace)

    assert listener.fetched == []
    assert ran.status == 0, ran.stdout


def test_conftest_gets_no_environment_and_reaches_nothing(
    conftest: Path, workspace: Path, listener: Listener, tmp_path: Path
) -> None:
    wrapper, notes = _recorded(conftest, tmp_path)
    spy = tmp_path / "policy/spy.rego"
    spy.parent.mkdir()
    spy.write_text(
        f'package dataspine.conftest\n\ndeny contains "x" if {_call("network", listener)}\n'
    )

    with pytest.raises(DataSpineError, match=r"undefined function http\.send"):
        Conftest(wrapper).test(spy.parent, stdin=b"{}", parser="json")

    assert listener.fetched == []
    assert _names(notes) <= HARMLESS


def test_the_shipped_built_ins_are_those_of_the_pinned_opa_that_are_pure(opa: Path) -> None:
    argv = [str(opa), "capabilities", "--current"]
    current = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)

    assert find_opa(opa).version == VERSION
    assert json.loads(CAPABILITIES.read_bytes()) == pure(current)
