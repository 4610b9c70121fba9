"""A program of the user: where it is, and one run of it within a deadline."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dataspine.core.errors import UnavailableError
from dataspine.core.process import spawn
from dataspine.decisions.program import cached_opa

__all__ = ["MAX_OUTPUT", "Diagnostic", "Run", "find_program", "run"]

MAX_OUTPUT = 64 * 1_048_576


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """What a tool says about a place; ``line`` is 1-based, None when it is about the whole file."""

    message: str
    file: str = ""
    line: int | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run of a program, its output as text."""

    status: int
    output: str
    complaint: str

    def document(self) -> Any:
        """Return the output as JSON, or None when it is none."""
        try:
            return json.loads(self.output)
        except (ValueError, RecursionError):
            return None

    @property
    def reason(self) -> str:
        """What the program said last, short enough for an error."""
        return (self.complaint or self.output).strip()[:2000] or "no reason was given"


def find_program(name: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return where a program is: ``SPINE_<NAME>``, PATH, the user's cache; None when nowhere.

    Never a program that a workspace names: a cloned repository must not choose what runs.
    """
    named = environment.get(f"SPINE_{name.upper()}")
    if named:
        return Path(named).expanduser().absolute()
    on_path = shutil.which(name, path=environment.get("PATH", ""))
    if on_path:
        return Path(on_path).absolute()
    cached = cached_opa(environment).with_name(name)
    return cached if os.access(cached, os.X_OK) else None


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    seconds: float,
) -> Run:
    """Run a program to its end, whatever its status; ``env`` is all of its environment.

    Raises ``UnavailableError`` when it cannot be started, outlives ``seconds`` or says more than
    ``MAX_OUTPUT`` bytes; then it and its children are killed.
    """
    name = Path(argv[0]).name
    # Files, not pipes: a child of the program that lives on cannot keep the reader waiting.
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as said,
        tempfile.TemporaryFile() as complained,
    ):
        given.write(stdin)
        given.seek(0)
        try:
            process = spawn(
                [str(each) for each in argv],
                cwd=cwd,
                env=env or {},
                stdin=given,
                stdout=said,
                stderr=complained,
            )
        except OSError as error:
            raise _failed(name, error.strerror or "it cannot be run") from None
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise _failed(name, f"no answer within {seconds:g} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return Run(status, _text(said, name), _text(complained, name))


def _text(file: IO[bytes], name: str) -> str:
    if file.seek(0, os.SEEK_END) > MAX_OUTPUT:
        raise _failed(name, "it says too much")
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _failed(name: str, problem: str) -> UnavailableError:
    return UnavailableError(
        problem, where=name, remedy="Run `spine doctor`.", code=f"tool.{name}_failed"
    )
