"""Route, server and replays die amid a random load; in the end every row is where it belongs.

The seed is the commit's, and printed. For a long run see `make soak`: rounds, seconds of load per
round and the seed come from SPINE_WORKLOAD_ROUNDS, _SECONDS and _SEED.
"""

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests import shop_route as deployed
from tests.faults import workload

from dataspine.cdc.cluster import DemoCluster
from dataspine.core.workspace import Workspace

FAULTS = ("route", "route", "server", "replay")
LAST = len(FAULTS) - 1

pytestmark = [pytest.mark.faults, pytest.mark.integration]


@pytest.fixture
def cluster() -> Iterator[DemoCluster]:
    with DemoCluster() as running:
        workload.create(running.create_database("shop"))
        yield running


@pytest.fixture
def workspace(
    tmp_path: Path, opa: Path, cluster: DemoCluster, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    monkeypatch.setenv(workload.DSN, cluster.dsn("shop"))
    monkeypatch.setenv("SPINE_OPA", str(opa))
    return workload.deploy(tmp_path / "shop", opa)


class Round:
    """One round: load with faults, then quiet until everything has arrived."""

    def __init__(self, workspace: Workspace, cluster: DemoCluster, seed: str) -> None:
        self.workspace = workspace
        self.cluster = cluster
        self.dsn = cluster.dsn("shop")
        self.log = workspace.root / "log"
        self._chance = random.Random(seed)
        self._seed = seed
        self._route: subprocess.Popen[bytes] | None = None
        self._replays: list[subprocess.Popen[bytes]] = []
        self.done = dict.fromkeys(("transactions", "route", "server", "replay"), 0)

    def run(self, seconds: float) -> None:
        """Write, kill and replay for about so long, then wait until everything has arrived."""
        stop = threading.Event()
        writers = [workload.Writer(self.dsn, f"{self._seed}-{n}", stop) for n in range(2)]
        for writer in writers:
            writer.start()
        try:
            self._start()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for number, kind in enumerate(self._chance.sample(FAULTS, len(FAULTS))):
                    if number != LAST:  # it may die while it recovers, but not each time
                        self._wait_for_flush()
                    stop.wait(self._chance.uniform(0.0, 2.0))
                    self._disturb(kind)
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        assert [writer.failure for writer in writers] == [None, None]
        # One that finds the server dead, or the sink busy, says so and moves nothing.
        codes = {replay.wait(120) for replay in self._replays}
        assert codes <= {0, 3}, self.log.read_text()
        self.done["transactions"] = sum(writer.transactions for writer in writers)
        self.catch_up()

    def _disturb(self, kind: str) -> None:
        self.done[kind] += 1
        if kind == "route":
            self.kill()
            self._start()
        elif kind == "server":
            self.cluster.kill()
            self.cluster.start()
        else:
            self._replays.append(self._start_replay())

    def _start(self) -> None:
        self._route = deployed.start(self.workspace, log=self.log)

    def kill(self) -> None:
        """End the route as a crash would."""
        if self._route is not None:
            self._route.kill()
            self._route.wait()
            self._route = None

    def _start_replay(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dataspine.cli", "cdc", "dlq", "replay"],
                cwd=self.workspace.root,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def replay(self) -> int:
        """Replay what is parked and return the exit code."""
        return self._start_replay().wait(120)

    def catch_up(self) -> None:
        """Wait until both sinks have a last transaction, then end the route in good order."""
        deployed.rows(
            self.dsn,
            "INSERT INTO numbers (id, home) VALUES (1000, 'DE')"
            " ON CONFLICT (id) DO UPDATE SET number = numbers.number + 1",
        )
        end = int(str(deployed.rows(self.dsn, "SELECT pg_current_wal_lsn() - '0/0'")[0][0]))
        if self._route is None or self._route.poll() is not None:
            self._start()
        # A flush's position is the end of its last transaction, a little before the log's own end.
        deployed.wait(lambda: self._applied() >= end - 256, seconds=120)
        assert self._route is not None
        self._route.send_signal(signal.SIGTERM)
        assert self._route.wait(30) == 0
        self._route = None

    def _wait_for_flush(self) -> None:
        before = self._applied()
        deployed.wait(lambda: self._applied() > before)

    def _applied(self) -> int:
        assert self._route is not None
        assert self._route.poll() is None, self.log.read_text()
        with closing(sqlite3.connect(self.workspace.state / "spine.db")) as database:
            found = database.execute(
                "SELECT sink, max(end_lsn) FROM cdc_flushes WHERE state = 'applied' GROUP BY sink"
            ).fetchall()
        return min((lsn for _, lsn in found), default=0) if len(found) == 2 else 0


def test_random_workload_with_kills_and_replays_loses_and_doubles_nothing(
    workspace: Workspace, cluster: DemoCluster
) -> None:
    seed, seconds = workload.seed(), workload.number("SECONDS", 20)
    for number in range(workload.number("ROUNDS", 1)):
        one = Round(workspace, cluster, f"{seed}-{number}")
        print(f"seed {seed}, round {number}, {seconds} s")  # noqa: T201 - to run it again
        try:
            one.run(seconds)
        except AssertionError:
            print(one.log.read_text()[-4_000:])  # noqa: T201 - what the route said last
            raise
        finally:
            one.kill()
        where = workload.check(workspace, one.dsn)
        print(one.done, dict(where))  # noqa: T201 - figures for who runs it with -s
        assert one.replay() == 0
        assert workload.check(workspace, one.dsn) == where
        assert "Traceback" not in one.log.read_text()
