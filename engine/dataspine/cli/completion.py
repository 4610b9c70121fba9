"""What the shell proposes for points, subjects, codes, routes and channels.

Fast and silent: nothing is started, built or migrated, and no error is shown. A shell that prints
in the middle of a line is worse than one that proposes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from dataspine.adapters import explanation
from dataspine.core.workspace import Workspace
from dataspine.decisions.decision import POINTS
from dataspine.registry import Registry

__all__ = ["channels", "codes", "points", "routes", "subjects"]

CHANNELS = ("dev", "candidate", "canary", "stable")


def points() -> list[str]:
    """Propose the enforcement points."""
    return list(POINTS)


def channels() -> list[str]:
    """Propose the channels."""
    return list(CHANNELS)


def subjects(ctx: typer.Context) -> list[str]:
    """Propose the workspace's subjects."""
    return _silently(ctx, lambda workspace: Registry(workspace.database).subjects())


def routes(ctx: typer.Context) -> list[str]:
    """Propose the route files that the workspace names, as seen from here."""
    return _silently(ctx, _route_files)


def codes(ctx: typer.Context) -> list[str]:
    """Propose the codes of the workspace's rules, or of the product's outside of one."""
    return _silently(ctx, explanation.codes) or explanation.codes(None)


def _silently(ctx: typer.Context, found: Callable[[Workspace], Iterable[str]]) -> list[str]:
    folder = ctx.meta.get("workspace")
    try:
        workspace = Workspace.open(folder) if folder else Workspace.find(Path.cwd())
        return list(found(workspace)) if workspace.database.exists else []
    except Exception:  # also what only a broken database raises
        return []


def _route_files(workspace: Workspace) -> Iterable[str]:
    here = Path.cwd()
    for each in workspace.settings.routes:
        file = workspace.root / each
        yield str(file.relative_to(here) if file.is_relative_to(here) else file)
