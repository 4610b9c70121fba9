"""A pipe that nobody reads, a full disk under stdout, Ctrl-C while the program loads."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from tests.conftest import missing

from dataspine.core.workspace import Workspace

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("quiet_environment")]

CLOSED = 141


def _spine(workspace: Workspace, *arguments: str, stdout: int | IO[bytes]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "dataspine.cli", *arguments],
        cwd=workspace.root,
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
    )
    return done.returncode, done.stderr.decode()


COMMANDS = [
    ("schema", "subjects", "--json"),
    ("cdc", "status"),
    ("explain", "pii.untagged_field"),
    ("input", "schema.publish", "schema/customers.avsc"),
    ("--help",),
    ("schema", "latest", "none", "--json"),
]


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_reader_that_went_away_is_no_denial(
    workspace: Workspace,
    arguments: tuple[str, ...],
    unbuffered: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        assert _spine(workspace, *arguments, stdout=pipe) == (CLOSED, "")


@pytest.fixture
def full_device() -> Path:
    device = Path("/dev/full")
    if not device.exists():
        missing("/dev/full")
    return device


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk_under_the_output_is_told(
    workspace: Workspace, arguments: tuple[str, ...], full_device: Path
) -> None:
    with full_device.open("wb") as full:
        code, complaint = _spine(workspace, *arguments, stdout=full)
    assert (code, complaint.split()[:3]) == (3, ["error", "spine.output", "stdout:"])
    assert "Traceback" not in complaint


def test_an_error_that_nobody_can_read_keeps_its_exit_code(
    workspace: Workspace, full_device: Path
) -> None:
    with full_device.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dataspine.cli", "schema", "latest", "none"],
            cwd=workspace.root,
            stderr=full,
            check=False,
        )
    assert done.returncode == 2


# The loader waits on a pipe in the middle of an import, so the signal arrives just there.
LOADING = """
import builtins, os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits another
known = builtins.__import__
def importing(name, *rest, **named):
    if name == "dataspine.cli.main":
        os.write(1, b"loading")
        os.read(0, 1)
    return known(name, *rest, **named)
builtins.__import__ = importing
sys.argv = ["spine", "--help"]
runpy.run_module("dataspine.cli", run_name="__main__")
"""


def test_ctrl_c_while_the_program_loads_is_quiet() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", LOADING], stdin=pipe, stdout=pipe, stderr=pipe
    ) as child:
        assert child.stdout is not None
        assert child.stdout.read(7) == b"loading"
        child.send_signal(signal.SIGINT)
        output, complaint = child.communicate(timeout=30)
    assert (child.returncode, output, complaint) == (-signal.SIGINT, b"", b"")


def test_an_argument_that_is_no_text_is_named(workspace: Workspace) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dataspine.cli", "schema", "latest", b"\xff"],
        cwd=workspace.root,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr.split(b"\n")[0]) == (
        2,
        b"error  input.invalid \\udcff: it is no UTF-8",
    )
