"""An idle route on a real server: heartbeats pass slot, gate and sink, and nothing piles up."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cdc.world import World

from dataspine.cdc.postgres import PostgresSource
from dataspine.cdc.runner import Runner, Status

pytestmark = pytest.mark.integration


def test_idle_route_moves_slot_and_sinks_and_knows_its_lag(
    tmp_path: Path,
    run: Callable[..., list[tuple[object, ...]]],
    source: Callable[..., PostgresSource],
) -> None:
    run("CREATE TABLE people (id int PRIMARY KEY, country text, note text)")
    run("CREATE TABLE other (id int)")
    world, stop = World(tmp_path / "w"), threading.Event()
    positions: list[int] = []

    def told(status: Status) -> None:
        at = status.positions.get("shop", {}).get("eu")
        if status.state == "streaming" and at is not None and at not in positions:
            positions.append(at)
            run("INSERT INTO other VALUES (1)")  # not in the route, but in the server's log
        if len(positions) > 3:
            stop.set()

    real = source("people")
    runner = Runner(world.target, {"shop": real}, on_status=told, heartbeat_seconds=0.05)
    runner.run(stop)
    assert positions == sorted(positions)
    assert world.target.sinks[0].position("r", "shop") == positions[-1]
    state = real.slot_state()
    assert state is not None
    assert state.confirmed_flush_lsn >= positions[-1]
    lag = runner.status.lag["eu"]
    assert (lag.records, lag.skewed) == (0, False)
    assert 0 < lag.p50 <= lag.p95
    assert abs(runner.status.clock_skew["shop"]) < 1
    assert runner.status.slot_lag_bytes["shop"] >= 0
    assert world.states() == ["applied", "applied"]  # the snapshot's flushes, and no other
    world.close()
