"""Turns: who waits comes next, a dead process waits for nobody."""

import fcntl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dataspine.cdc.turn import Turn
from dataspine.core.errors import UnavailableError

HOLD = """
import sys
from pathlib import Path
from dataspine.cdc.turn import Turn
with Turn(Path(sys.argv[1]), "r")():
    print("mine", flush=True)
    sys.stdin.read()
"""


def is_locked(path: Path) -> bool:
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_who_waits_comes_before_who_just_had_it(tmp_path: Path) -> None:
    turn, order = Turn(tmp_path, "r", patience=60), ["route"]

    def replay() -> None:
        with turn():
            order.append("replay")

    waiting = threading.Thread(target=replay)
    with turn():
        waiting.start()
        while not is_locked(tmp_path / "next-r.lock"):
            time.sleep(0.001)
    with turn():
        order.append("route")
    waiting.join()
    assert order == ["route", "replay", "route"]


def test_killed_process_leaves_the_turn_free(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"mine\n"
    with pytest.raises(UnavailableError) as caught, Turn(tmp_path, "r", patience=0)():
        pass
    assert caught.value.document() == {
        "code": "cdc.route_busy",
        "problem": "another flush or replay of the route does not end",
        "where": "r",
        "remedy": "Do the same again when its snapshot, huge transaction or other replay is done.",
        "retry": True,
    }
    with Turn(tmp_path, "other", patience=0)():
        pass
    holder.kill()
    holder.communicate()
    with Turn(tmp_path, "r", patience=0)():
        pass


def test_interrupted_wait_leaves_the_turn_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    turn = Turn(tmp_path, "r")
    with turn():
        monkeypatch.setattr("dataspine.cdc.turn.time.sleep", interrupt)
        with pytest.raises(KeyboardInterrupt), turn():
            pass
    with turn():
        pass
