"""Commands in this process, a workspace to run them on, and the real service beside it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataspine.adapters.init import init
from dataspine.core.process import spawn, stop
from dataspine.core.workspace import Workspace


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace to copy, which is faster than to make one."""
    return init(tmp_path_factory.mktemp("template") / "shop", name="shop", told=lambda _: None).root


@pytest.fixture
def workspace(tmp_path: Path, template: Path) -> Workspace:
    shutil.copytree(template, tmp_path / "shop", copy_function=shutil.copy2)
    return Workspace.open(tmp_path / "shop")


@pytest.fixture
def quiet_environment(monkeypatch: pytest.MonkeyPatch, opa: Path) -> None:
    """Leave nothing of the caller's environment to choose who answers."""
    for name in ("CI", "SPINE_SERVER", "SPINE_TOKEN", "SPINE_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPINE_OPA", str(opa))
    monkeypatch.setenv("COLUMNS", "200")


def serving(workspace: Workspace, opa: Path) -> Iterator[str]:
    """Run ``spine serve`` on a workspace and yield its address."""
    environment = {**os.environ, "SPINE_OPA": str(opa), "CI": ""}
    argv = [sys.executable, "-m", "dataspine.cli", "serve", "--port", "0", "--json"]
    argv += ["--workspace", str(workspace.root)]
    with (workspace.state / "serve.log").open("wb") as log:
        child = spawn(argv, env=environment, stdout=subprocess.PIPE, stderr=log)
    try:
        assert child.stdout is not None
        yield json.loads(child.stdout.readline())["url"]
    finally:
        stop(child, 10)
        if child.stdout is not None:
            child.stdout.close()
