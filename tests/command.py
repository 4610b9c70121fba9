"""The ``spine`` command, run in this process with a folder and an environment of its own."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from dataspine.cli.main import main


@dataclass(frozen=True)
class Run:
    """What a command left: its exit code and what it wrote."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)


def run(
    *arguments: str, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> Run:
    """Run ``spine ARGUMENTS``; what is left out is this process's own."""
    variables = os.environ if environment is None else environment
    out, err = io.BytesIO(), io.BytesIO()
    streams = [io.TextIOWrapper(each, "utf-8", write_through=True) for each in (out, err)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, dict(variables), clear=True))
        stack.enter_context(mock.patch.object(sys, "argv", ["spine", *arguments]))
        stack.enter_context(contextlib.chdir(folder or Path.cwd()))
        stack.enter_context(contextlib.redirect_stdout(streams[0]))
        stack.enter_context(contextlib.redirect_stderr(streams[1]))
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Run(ended.value.code, out.getvalue().decode(), err.getvalue().decode())
