"""Flush, runner and replay together: histories, crashes, moves; the sink is a real DuckDB file."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cdc.world import GONE, MASKER, NOW, PEOPLE, Log, MemorySource, World, place
from tests.store import KIND

from dataspine.cdc.event import Batch, Change, Commit, Op
from dataspine.cdc.flush import CRASH_POINTS, recover
from dataspine.cdc.lag import Lag
from dataspine.cdc.postgres import PostgresSource
from dataspine.cdc.replay import replay
from dataspine.cdc.runner import Runner, Status
from dataspine.core.errors import ConflictError, UnavailableError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "w")
    yield made
    made.close()


def test_snapshot_and_stream_put_each_row_where_policy_allows(world: World) -> None:
    log = Log()
    log.transaction(("put", "3", "FR", "c"), ("put", "4", None, "d"))
    log.rows |= {"1": ("1", "DE", "a"), "2": ("2", "US", "b")}
    source = MemorySource([("1", "DE", "a"), ("2", "US", "b")], log.batches, threading.Event())
    runner = world.run(source)
    assert world.rows("eu") == {"1": ("DE", "a"), "3": ("FR", "c")}
    assert world.rows("us") == {MASKER.hmac("2"): ("US", "b"), MASKER.hmac("3"): ("FR", "c")}
    assert runner.status.outcomes == {
        "eu": {"applied": 2, "masked": 0, "parked": 2, "deleted": 0, "dropped": 0},
        "us": {"applied": 0, "masked": 2, "parked": 2, "deleted": 0, "dropped": 0},
    }
    assert world.outcomes() == runner.status.outcomes
    assert set(world.states()) == {"applied"}
    assert source.confirmed == [208]
    world.check(log.rows)


def test_parked_rows_name_their_decision_and_replay_under_a_new_policy(world: World) -> None:
    source = MemorySource([("1", "BR", "a")], [], threading.Event())
    world.run(source)
    (letter,) = [x for x in world.dead.letters() if x.sink == "eu"]
    assert (letter.codes, letter.decision_id, letter.home) == (("residency.x",), "d-eu-BR", "BR")
    world.asker.allowed["eu"].append("BR")
    world.asker.number = 2
    dry = replay(world.target, {"people": PEOPLE}, dry_run=True)
    assert (dry.outcomes["replayed"], dry.outcomes["parked"]) == (1, 1)
    assert world.rows("eu") == {}
    assert replay(world.target, {"people": PEOPLE}).outcomes == dry.outcomes
    assert world.rows("eu") == {"1": ("BR", "a")}
    assert replay(world.target, {"people": PEOPLE}).outcomes == {"parked": 1}


def test_home_of_megabytes_parks_and_only_its_row_keeps_it(world: World) -> None:
    home = "x" * 2_000_000
    world.run(MemorySource([("1", home, "a"), ("2", home + "y", "b")], [], threading.Event()))
    found = [(x.codes, x.detail, x.home) for x in world.dead.letters(sink="eu")]
    detail = "The home is longer than 256 bytes"
    assert found == [(("cdc.home_too_long",), detail, "x" * 256)] * 2
    classes = [(e.decision.codes, e.class_count) for e in world.journal.list(limit=10)]
    assert classes == [(("cdc.home_too_long",), 2)] * 2
    assert world.rows("eu") == {}
    # A later replay parks them again, and asks nobody either.
    assert replay(world.target, {"people": PEOPLE}).outcomes == {"parked": 4}


def test_replay_never_brings_back_a_deleted_or_older_row(world: World) -> None:
    log = Log()
    log.transaction(("put", "1", "BR", "old"), ("put", "2", "BR", "old"), ("put", "3", "BR", "x"))
    log.transaction(("delete", "1"))
    log.transaction(("put", "2", "DE", "new"))
    log.transaction(("truncate",), ("put", "2", "DE", "newest"))
    source = MemorySource([], log.batches, threading.Event())
    world.run(source)
    world.asker.allowed["eu"].append("BR")
    world.asker.number = 2
    replay(world.target, {"people": PEOPLE})
    assert world.rows("eu") == {"2": ("DE", "newest")}


def test_row_that_leaves_the_allowed_homes_is_deleted_and_parked(world: World) -> None:
    log = Log()
    log.transaction(("put", "1", "DE", "a"))
    world.run(MemorySource([], log.batches, threading.Event()))
    assert world.rows("eu") == {"1": ("DE", "a")}
    log.transaction(("put", "1", "US", "a"))
    world.run(MemorySource([], log.batches, threading.Event()))
    assert world.rows("eu") == {}
    world.check(log.rows)


def test_unchanged_columns_come_from_the_sink_or_from_the_dead_letter(world: World) -> None:
    log = Log()
    log.transaction(("put", "1", "DE", "long one"), ("put", "2", "BR", "long two"))
    world.run(MemorySource([], log.batches, threading.Event()))
    log.transaction(("touch", "1", "FR"), ("touch", "2", "DE"))
    log.transaction(("rename", "1", "9", "DE"))
    world.run(MemorySource([], log.batches, threading.Event()))
    assert world.rows("eu") == {"9": ("DE", "long one"), "2": ("DE", "long two")}


def test_huge_transaction_in_pieces_is_one_flush(world: World) -> None:
    log = Log()
    log.transaction(*(("put", str(i), "DE", "n") for i in range(12_000)), pieces=12)
    world.run(MemorySource([], log.batches, threading.Event()))
    assert len(world.rows("eu")) == 12_000
    assert [r.counts["applied"] for r in world.records if r.sink == "eu"] == [0, 12_000]


def test_new_sink_starts_all_over_from_one_snapshot(world: World) -> None:
    world.run(MemorySource([("1", "DE", "a"), ("2", "BR", "b")], [], threading.Event()))
    (world.folder / "us.duckdb").unlink()
    world.run(MemorySource([("3", "FR", "c")], [], threading.Event(), point=300))
    world.check({"3": ("3", "FR", "c")})
    (world.folder / "us.duckdb").unlink()
    world.run(MemorySource([], [], threading.Event(), point=400))
    assert world.rows("eu") == {}


def test_lost_slot_starts_over_without_stale_rows_or_stale_letters(world: World) -> None:
    """Rows that went away unseen vanish, parked ones are superseded, and every row counts."""
    first: list[Any] = [("1", "DE", "a"), ("2", "BR", "b"), ("3", "BR", "c"), ("4", "DE", "d")]
    world.run(MemorySource(first, [], threading.Event()))
    told: list[tuple[str, str]] = []
    lost = MemorySource([("2", "BR", "b"), ("4", "DE", "new")], [], threading.Event(), point=300)
    lost.lost = GONE
    runner = Runner(
        world.target, {"shop": lost}, on_status=lambda s: told.append((s.state, s.problem))
    )
    runner.run(lost.stop)
    why = "cdc.slot_missing: the slot does not exist"
    assert told[:3] == [("starting over", why), ("snapshot", ""), ("streaming", "")]
    assert runner.status.started_over == {"shop": why}
    world.check({"2": ("2", "BR", "b"), "4": ("4", "DE", "new")})
    assert world.rows("eu") == {"4": ("DE", "new")}
    assert world.dead.counts() == {"superseded": 6, "parked": 3}
    assert world.dead.parked_by_sink() == {
        "eu": (1, int(NOW.timestamp())),
        "us": (2, int(NOW.timestamp())),
    }
    assert world.outcomes()["eu"] == {
        "applied": 3,
        "masked": 0,
        "parked": 3,
        "deleted": 0,
        "dropped": 0,
    }
    # Nothing that was given up comes back.
    world.asker.allowed["eu"].append("BR")
    world.asker.number = 2
    replay(world.target, {"people": PEOPLE})
    assert world.rows("eu") == {"2": ("BR", "b"), "4": ("DE", "new")}


def test_status_says_since_when_a_route_fails_and_what_to_do(world: World) -> None:
    times = iter(range(1_000))
    seen: list[tuple[object, ...]] = []

    class Refused(MemorySource):
        def prepare(self, on_wait: Callable[[str], None]) -> int:
            if len(seen) < 6:
                raise UnavailableError(
                    "wrong", where="route r, source shop", remedy="Correct it.", code="cdc.x"
                )
            return super().prepare(on_wait)

    def told(status: Status) -> None:
        row = (status.state, status.problem, status.where, status.remedy, status.failing_since)
        seen.append(row)

    source = Refused([], [], threading.Event())
    runner = Runner(world.target, {"shop": source}, on_status=told, now=lambda: float(next(times)))
    runner.run(source.stop)
    first = seen[1][-1]
    assert first is not None
    waits = [
        ("snapshot", "", "", "", first),
        ("waiting", "cdc.x: wrong", "route r, source shop", "Correct it.", first),
    ]
    assert seen[:7] == [("snapshot", "", "", "", None), waits[1], *waits, *waits, waits[0]]
    assert seen[7] == ("streaming", "", "", "", None)


def test_foreign_slot_ends_the_route_untouched(world: World) -> None:
    world.run(MemorySource([("1", "DE", "a")], [], threading.Event()))

    class Foreign(MemorySource):
        def destroy(self) -> None:
            raise ConflictError("the slot belongs to another database", code="cdc.slot_foreign")

    source = Foreign([], [], threading.Event(), lost=GONE)
    with pytest.raises(ConflictError, match="another database"):
        world.run(source)
    assert world.rows("eu") == {"1": ("DE", "a")}


def test_heartbeat_moves_the_sinks_and_writes_nothing_else(world: World) -> None:
    world.run(MemorySource([("1", "DE", "a")], [], threading.Event()))
    before = world.states()
    beat = Batch(500, [], Commit(500, 508, NOW.timestamp() - 2), heartbeat=True)
    foreign = Batch(600, [], Commit(600, 608, NOW.timestamp() - 9))
    source = MemorySource([], [beat, foreign], threading.Event())
    runner = Runner(world.target, {"shop": source}, now=NOW.timestamp)
    runner.run(source.stop)
    assert source.beats == 1
    assert [s.position("r", "shop") for s in world.target.sinks] == [608, 608]
    assert source.confirmed == [608]
    assert world.states() == before
    assert runner.status.lag == {s: Lag(2.0, 2.0, 0, skewed=False) for s in ("eu", "us")}
    assert runner.status.slot_lag_bytes == {"shop": 7}


@pytest.mark.parametrize("skew", [5.0, -5.0])
def test_a_skewed_source_clock_is_measured_and_subtracted(world: World, skew: float) -> None:
    row = Change(Op.INSERT, PEOPLE, ("1", "DE", "a"), None, 0)
    log = [Batch(500, [row], Commit(500, 508, NOW.timestamp() + skew - 1))]
    source = MemorySource([], log, threading.Event(), skew=skew)
    runner = Runner(world.target, {"shop": source}, now=NOW.timestamp)
    runner.run(source.stop)
    assert runner.status.lag["eu"] == Lag(1.0, 1.0, 1, skewed=False)
    assert runner.status.clock_skew == {"shop": skew}


def test_paused_sink_raises_the_lag_until_it_goes_on(world: World) -> None:
    row = Change(Op.INSERT, PEOPLE, ("1", "DE", "a"), None, 0)
    at = NOW.timestamp()
    source = MemorySource([], [Batch(500, [row], Commit(500, 508, at - 1))], threading.Event())
    seen: list[tuple[str, float]] = []
    failures = [1, 1]

    def fail(point: str) -> None:
        if (
            point == "dead-letter"
            and world.target.sinks[0].path.exists()
            and world.records
            and failures
        ):
            failures.pop()
            raise UnavailableError("the sink is away", code="cdc.sink_failed")

    world.target.hook = fail
    times = (at + 60 * n for n in itertools.count())
    runner = Runner(
        world.target,
        {"shop": source},
        on_status=lambda s: seen.append((s.state, s.lag["eu"].p95)),
        now=lambda: next(times),
    )
    source.done = lambda: not failures and runner.status.outcomes["eu"]["applied"] > 0
    runner.run(source.stop)
    waiting = [lag for state, lag in seen if state == "waiting"]
    assert len(waiting) == 2
    assert 60 <= waiting[0] < waiting[1]
    assert runner.status.outcomes["eu"]["applied"] == 1


def test_sources_take_turns_and_a_huge_transaction_is_not_cut_in(world: World) -> None:
    many = Log()
    many.transaction(*(("put", str(i), "DE", "n") for i in range(40)), pieces=8)
    few = Log()
    few.transaction(("put", "900", "DE", "n"))
    one = MemorySource([], many.batches, threading.Event())
    other = MemorySource([], few.batches, one.stop)
    one.stop = threading.Event()  # the second source ends the run, and it comes last
    runner = Runner(world.target, {"shop": one, "more": other}, flush_rows=10)
    runner.run(other.stop)
    assert runner.status.outcomes["eu"]["applied"] == 41


def test_open_sink_file_makes_the_route_wait(world: World) -> None:
    source = MemorySource([("1", "DE", "a")], [], threading.Event())
    code = (
        "import duckdb,sys; c=duckdb.connect(sys.argv[1]); print('open',flush=True);"
        "sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(world.folder / "eu.duckdb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"open\n"
    seen: list[str] = []

    def release(status: Any) -> None:
        seen.append(status.problem)
        if status.state == "waiting" and other.poll() is None:
            other.communicate()

    Runner(world.target, {"shop": source}, on_status=release).run(source.stop)
    assert seen[0] == "cdc.sink_locked: sink file open elsewhere"
    assert world.rows("eu") == {"1": ("DE", "a")}


def test_sink_file_that_is_held_for_a_moment_is_waited_for(world: World) -> None:
    """A running route's flush and a replay of another process meet like this."""
    world.run(MemorySource([("1", "DE", "a")], [], threading.Event()))
    code = (
        "import duckdb,sys,time; c=duckdb.connect(sys.argv[1]); print('open',flush=True);"
        "time.sleep(0.5)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(world.folder / "eu.duckdb")], stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"open\n"
    assert world.target.sinks[0].position("r", "shop") == 100
    other.communicate()


KEYS = st.sampled_from(["1", "2", "3", "4"])
COUNTRIES = st.sampled_from(["DE", "US", "FR", "BR", None])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, COUNTRIES, st.sampled_from(["x", "y", None])),
        st.tuples(st.just("put"), KEYS, COUNTRIES, st.sampled_from(["x", "y", None])),
        st.tuples(st.just("touch"), KEYS, COUNTRIES),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("rename"), KEYS, KEYS, COUNTRIES),
        st.tuples(st.just("truncate")),
        st.tuples(st.just("commit")),
        st.tuples(st.just("flush")),
        st.tuples(st.just("replay")),
        st.tuples(st.just("allow"), st.sampled_from(["BR", "US", "DE"])),
    ),
    max_size=18,
)


class Player:
    """Plays generated steps on a world and on the log of its source."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.log = Log()
        self._open: list[tuple[Any, ...]] = []
        self._keys: set[str] = set()

    def play(self, step: tuple[Any, ...]) -> None:
        op = step[0]
        if op in {"flush", "replay", "allow"}:
            self.flush()
        if op == "commit":
            self._commit()
        elif op == "replay":
            replay(self.world.target, {"people": PEOPLE})
        elif op == "allow":
            self.world.asker.allowed["eu"] = [step[1], "FR"]
            self.world.asker.number += 1
        elif self._possible(step):
            self._open.append(step)

    def flush(self) -> None:
        self._commit()
        self.world.run(MemorySource([], self.log.batches, threading.Event()))
        self.world.check(self.log.rows)

    def _commit(self) -> None:
        if self._open:
            self.log.transaction(*self._open)
        self._open.clear()

    def _possible(self, step: tuple[Any, ...]) -> bool:
        gone = {"delete": step[1:2], "rename": step[1:2], "touch": step[1:2]}.get(step[0], ())
        new = {"put": step[1:2], "rename": step[2:3]}.get(step[0], ())
        if not self._keys.issuperset(gone) or (step[0] == "rename" and step[2] in self._keys):
            return False
        if step[0] == "truncate":
            self._keys.clear()
        elif step[0] != "touch":
            self._keys = (self._keys - set(gone)) | set(new)
        return step[0] in {"put", "delete", "rename", "touch", "truncate"}


@pytest.mark.integration  # 40 histories through DuckDB and SQLite, each flush fsynced
@settings(max_examples=40 if KIND == "sqlite" else 8, deadline=None, derandomize=True)
@given(steps=STEPS)
def test_source_keys_are_sink_keys_or_parked_keys(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]]
) -> None:
    player = Player(World(tmp_path_factory.mktemp("history")))
    for step in steps:
        player.play(step)
    player.flush()
    player.world.close()


@pytest.mark.integration
def test_real_source_from_snapshot_over_a_restart_to_typed_columns(
    tmp_path: Path,
    run: Callable[..., list[tuple[object, ...]]],
    source: Callable[..., PostgresSource],
) -> None:
    run(
        "CREATE TABLE people (id int PRIMARY KEY, country text, note text,"
        " amount numeric(12,2), seen timestamptz, raw bytea, tags text[], ok bool)"
    )
    values = "'2026-11-24 09:00+00', '\\x00ff', '{a,b}', true"
    run(f"INSERT INTO people VALUES (1, 'DE', 'a', 1.50, {values}), (2, 'US', 'b', 2, {values})")
    world = World(tmp_path / "w")
    stop = threading.Event()
    real = source("public.people")
    wanted = 2

    def end(status: Status) -> None:
        if sum(status.outcomes["eu"].values()) >= wanted and status.state == "streaming":
            stop.set()

    Runner(world.target, {"shop": real}, on_status=end).run(stop)
    assert world.rows("eu") == {"1": ("DE", "a")}
    # A longer note than fits in a page is not sent again when it does not change.
    run("ALTER TABLE people ALTER COLUMN note SET STORAGE EXTERNAL")
    run("UPDATE people SET note = repeat('long', 2000) WHERE id = 1")
    run("UPDATE people SET country = 'FR' WHERE id = 1")
    run("UPDATE people SET id = 3 WHERE id = 1")
    run(f"INSERT INTO people VALUES (4, 'DE', 'x', 'NaN', {values})")
    run("DELETE FROM people WHERE id = 2")
    wanted, stop = 5, threading.Event()
    Runner(world.target, {"shop": source("public.people")}, on_status=end).run(stop)
    connection = duckdb.connect(str(tmp_path / "w" / "eu.duckdb"), read_only=True)
    found = connection.execute(
        "SELECT id, country, note, amount, seen = '2026-11-24 09:00+00'::TIMESTAMPTZ, raw, tags, ok"
        " FROM people"
    ).fetchall()
    connection.close()
    assert found == [(3, "FR", "long" * 2000, Decimal("1.50"), True, b"\x00\xff", "{a,b}", True)]
    codes = [x.codes for x in world.dead.letters(sink="eu")]
    assert codes == [("cdc.sink_rejected",)]
    world.close()


CHILD = """
import importlib.util, os, signal, sys, threading
from pathlib import Path
spec = importlib.util.spec_from_file_location("crash_world", sys.argv[1])
module = importlib.util.module_from_spec(spec); sys.modules["crash_world"] = module
spec.loader.exec_module(module)
module.crash(Path(sys.argv[2]), sys.argv[3])
"""


def history() -> Log:
    log = Log()
    log.transaction(("put", "1", "DE", "a"), ("put", "2", "US", "b"), ("put", "3", "FR", "c"))
    log.transaction(("put", "1", "US", "a"), ("delete", "3"), ("put", "4", "BR", "d"))
    return log


def crash(folder: Path, point: str) -> None:
    """Die at a step of the second flush (the first is the snapshot's)."""
    world = World(folder)
    seen: list[str] = []

    def die(name: str) -> None:
        seen.append(name)
        # Empty snapshot first: its flush has every point but the slot's.
        if name == point and seen.count(name) == (1 if point == "confirmed" else 2):
            os.kill(os.getpid(), 9)

    world.target.hook = die
    world.run(MemorySource([], history().batches, threading.Event()))


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_killed_at_any_step_the_next_run_loses_and_doubles_nothing(
    tmp_path: Path, point: str
) -> None:
    folder = tmp_path / "w"
    place(folder)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, __file__, str(folder), point],
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert child.returncode == -9
    world, log = World(folder), history()
    world.run(MemorySource([], log.batches, threading.Event()))
    world.check(log.rows)
    assert set(world.states()) <= {"applied", "discarded"}
    assert world.dead.pending() == set()
    assert len(world.dead.parked("eu", "people")) == 3
    # Whatever was undone or done again, each class counts its rows once, and no class is missing.
    assert world.classes() == {
        f"d-{sink}-{country}": (rows, True)
        for sink in ("eu", "us")
        for country, rows in {"DE": 1, "US": 2, "FR": 1, "BR": 1}.items()
    }
    assert world.outcomes() == {
        "eu": {"applied": 2, "masked": 0, "parked": 3, "deleted": 1, "dropped": 0},
        "us": {"applied": 0, "masked": 3, "parked": 2, "deleted": 1, "dropped": 0},
    }
    world.close()


def test_class_counts_the_rows_of_later_flushes_too(world: World) -> None:
    log = Log()
    for number in range(3):
        log.transaction(("put", str(number), "DE", "a"), ("put", f"1{number}", "BR", "b"))
        world.run(MemorySource([], log.batches, threading.Event()))
    assert {k: v for k, v in world.classes().items() if k.startswith("d-eu")} == {
        "d-eu-DE": (3, True),
        "d-eu-BR": (3, True),
    }


def test_decision_of_a_discarded_flush_is_recorded_again_by_the_next(world: World) -> None:
    log, failures = Log(), [1]
    log.transaction(("put", "1", "DE", "a"))

    def fail(point: str) -> None:
        if point == "recorded" and world.records[-1].counts["parked"] and failures:
            failures.pop()
            raise UnavailableError("the disk is full", remedy="Free it.", code="cdc.sink_failed")

    world.target.hook = fail
    for expected in ({}, {"d-eu-DE": (1, True), "d-us-DE": (1, True)}):
        world.run(MemorySource([], log.batches, threading.Event()))
        assert world.classes() == expected
    assert sorted(world.states()) == ["applied"] * 4 + ["discarded"] * 2


def test_asked_and_discarded_is_not_acted_on(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    place(folder)
    subprocess.run(
        [sys.executable, "-c", CHILD, __file__, str(folder), "recorded"],
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    world = World(folder)
    assert recover(world.target, "shop")["eu"] == 100
    assert set(world.classes().values()) == {(0, False)}
    assert world.outcomes()["eu"]["parked"] == 0
    world.close()
