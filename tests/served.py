"""A fresh workspace's service in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataspine.adapters.init import init
from dataspine.core.process import spawn, stop


@contextmanager
def served(folder: Path, opa: Path) -> Iterator[str]:
    """Run `spine serve` for a new workspace in a folder and yield its address."""
    workspace = init(folder / "shop", name="shop", told=lambda _: None)
    argv = [sys.executable, "-m", "dataspine.cli", "serve", "--port", "0", "--json"]
    environment = {**os.environ, "SPINE_OPA": str(opa)}
    child = spawn(argv, cwd=workspace.root, env=environment, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        yield json.loads(child.stdout.readline())["url"]
    finally:
        stop(child, 10)
        if child.stdout is not None:
            child.stdout.close()
