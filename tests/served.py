"""A fresh workspace's service, in one or several processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests import store

from dataspine.core.process import spawn, stop
from dataspine.core.workspace import Workspace


@contextmanager
def served(folder: Path, opa: Path) -> Iterator[str]:
    """Run `spine serve` for a new workspace in a folder and yield its address."""
    with replicas(folder, opa, 1) as (_, (address,)):
        yield address


@contextmanager
def replicas(
    folder: Path, opa: Path, count: int, kind: str = store.KIND
) -> Iterator[tuple[Workspace, list[str]]]:
    """Run several services on one new workspace; yield it and their addresses."""
    with ExitStack() as stack:
        workspace = stack.enter_context(store.workspace(folder / "shop", kind))
        started = [stack.enter_context(service(workspace, opa)) for _ in range(count)]
        yield workspace, [address for _, address in started]


@contextmanager
def service(workspace: Workspace, opa: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run one service; yield its process and its address."""
    argv = [sys.executable, "-m", "dataspine.cli", "serve", "--port", "0", "--json"]
    environment = {**os.environ, "SPINE_OPA": str(opa)}
    child = spawn(argv, cwd=workspace.root, env=environment, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        yield child, json.loads(child.stdout.readline())["url"]
    finally:
        stop(child, 10)
        if child.stdout is not None:
            child.stdout.close()
