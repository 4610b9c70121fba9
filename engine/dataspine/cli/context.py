"""What every command shares: the options of all commands, the session, the exit code."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from dataspine.adapters.session import Session
from dataspine.cli.output import Output
from dataspine.core.workspace import Workspace

__all__ = ["DENIED", "Json", "Options", "WorkspaceOption", "options"]

DENIED = 1

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", envvar="SPINE_WORKSPACE", help="The workspace's folder."),
]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of all commands, as one command was called."""

    output: Output
    folder: Path | None
    opa: Path | None

    def workspace(self) -> Workspace:
        """Open the named workspace, or the nearest one upwards."""
        if self.folder is not None:
            return Workspace.open(self.folder)
        return Workspace.find(Path.cwd())

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """Open a session on the workspace, closed at the end of the command."""
        with Session(self.workspace(), opa=self.opa) as session:
            yield session

    @contextlib.contextmanager
    def deciding(self) -> Iterator[Session]:
        """Open a session that will decide; a rebuilt bundle is told."""
        with self.session() as session:
            active = session.active
            if active.rebuilt:
                self.output.note(f"policy changed: revision {active.revision[:26]} is active")
            yield session


def options(as_json: bool, workspace: Path | None, *, quiet: bool = False) -> Options:
    """Return the options of a command."""
    opa = os.environ.get("SPINE_OPA")
    output = Output(as_json=as_json, quiet=quiet)
    return Options(output, workspace, Path(opa) if opa else None)
