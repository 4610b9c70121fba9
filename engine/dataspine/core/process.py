"""Child processes that never outlive their parent, not even on ``kill -9``."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

__all__ = ["Ended", "run", "spawn", "start_time", "stop"]

_PR_SET_PDEATHSIG = 1


def spawn(  # noqa: PLR0913 - the options of Popen that callers need
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    user: tuple[int, int] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own; it dies with the thread that called this.

    Linux sends the signal when the *thread* that forked ends, so call this from a thread that
    lives as long as the child (prctl(2), PR_SET_PDEATHSIG). Elsewhere ``stop`` is the only guard.
    ``user`` (user and group id) gives up root's rights before the signal is asked for, as changing
    the user would clear it.
    """
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None

    def die_with_parent() -> None:
        if libc is not None and hasattr(libc, "prctl"):
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent died between fork and prctl
                os._exit(1)

    return subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=dict(env) if env is not None else None,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        user=user[0] if user else None,
        group=user[1] if user else None,
        extra_groups=[] if user else None,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - only prctl and getppid run there
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit code, its output, and what it complained."""

    code: int
    output: bytes
    complaint: bytes


def run(
    argv: Sequence[str],
    *,
    seconds: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    data: bytes = b"",
) -> Ended:
    """Run a program to its end, with ``data`` on its standard input.

    Raises ``TimeoutError`` after ``seconds``, when it and its children are killed, and ``OSError``
    when it cannot be started.
    """
    pipe = subprocess.PIPE
    with spawn(argv, cwd=cwd, env=env, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            output, complaint = process.communicate(data, timeout=seconds)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimeoutError(f"no end after {seconds:g} seconds") from None
            raise
    return Ended(process.returncode, output, complaint)


def stop(process: subprocess.Popen[bytes], seconds: float = 5.0) -> int:
    """Ask the process to end, kill it after ``seconds``, and return its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def start_time(pid: int) -> int | None:
    """Return a process's start time (clock ticks since boot), or None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])
