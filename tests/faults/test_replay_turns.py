"""Replay and a busy route take turns: the replay gets in, and the route goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cdc.world import NOW, PEOPLE, Log, MemorySource, World, place

from dataspine.cdc.event import Batch, Change, Commit, Op
from dataspine.cdc.replay import replay
from dataspine.cdc.runner import Runner, Status

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
ROWS = 2_500
CHILD = """
import sys
from pathlib import Path
from tests.faults.test_replay_turns import busy
busy(Path(sys.argv[1]))
"""


class BusySource(MemorySource):
    """Has a transaction whenever it is asked, until a file says that it is enough."""

    def stream(self, start_lsn: int) -> Iterator[Batch | None]:
        enough, lsn = Path("enough"), start_lsn
        while not enough.exists():
            rows = [(str(100_000 + lsn + i), "DE", "busy") for i in range(500)]
            changes = [Change(Op.INSERT, PEOPLE, row, None, i) for i, row in enumerate(rows)]
            yield Batch(lsn, changes, Commit(lsn, lsn + 8, NOW.timestamp()))
            lsn += 1_000
        self.stop.set()
        while True:
            yield None


def busy(folder: Path) -> None:
    """Flush after flush, without a pause; tell what states the route had, and its flushes."""
    world, states = World(folder), []

    def note(status: Status) -> None:
        states.append(status.state)
        if states.count("streaming") == 3:
            sys.stdout.write("busy\n")
            sys.stdout.flush()

    source = BusySource([], [], threading.Event())
    Runner(world.target, {"shop": source}, on_status=note, flush_rows=1).run(source.stop)
    world.close()
    sys.stdout.write(json.dumps(states))


@pytest.mark.parametrize("dry_run", [True, False], ids=["dry run", "replay"])
def test_replay_gets_in_while_the_route_flushes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "w"
    place(folder)
    world, log = World(folder), Log()
    log.transaction(*(("put", str(i), "BR", "n") for i in range(ROWS)))
    world.run(MemorySource([], log.batches, threading.Event()))
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "busy\n"
        world.asker.allowed["eu"].append("BR")
        world.asker.number += 1
        outcomes = replay(world.target, {"people": PEOPLE}, dry_run=dry_run).outcomes
    finally:
        (tmp_path / "enough").touch()
        told, _ = child.communicate(timeout=60)
    assert outcomes["replayed"] == ROWS
    assert outcomes.keys() == {"replayed", "parked"}
    states = json.loads(told.splitlines()[-1])
    assert set(states) == {"streaming", "stopped"}
    assert states.count("streaming") > ROWS // 500
    world.close()
