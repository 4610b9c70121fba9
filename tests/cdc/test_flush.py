"""Flush, runner and replay together: histories, crashes, moves; the sink is a real DuckDB file."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from dataspine.cdc._tables import flushes, outcomes
from dataspine.cdc.dead_letter import DeadLetterStore
from dataspine.cdc.duckdb_sink import DuckDbSink
from dataspine.cdc.event import UNCHANGED, Batch, Change, Column, Commit, Op, Relation, Row
from dataspine.cdc.flush import CRASH_POINTS, FlushRecord, FlushTarget, recover
from dataspine.cdc.lag import Lag
from dataspine.cdc.mask import Masker
from dataspine.cdc.postgres import PostgresSource, SlotState
from dataspine.cdc.replay import replay
from dataspine.cdc.route import load_route
from dataspine.cdc.runner import Runner, Status
from dataspine.cdc.state import RouteStore
from dataspine.core.database import Database, metadata
from dataspine.core.errors import ConflictError, DataSpineError, NotFoundError, UnavailableError
from dataspine.decisions.decision import Decision, Policy, Violation
from dataspine.decisions.journal import Journal

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
MASKER = Masker(b"k" * 32, "analytics")
PEOPLE = Relation(
    1,
    "public",
    "people",
    (
        Column("id", "int4", True),
        Column("country", "text", False),
        Column("note", "text", False),
    ),
    "default",
)
ROUTE = """
name: r
sources:
  - {name: shop, engine: postgres, region: eu-west-1, dsn: env:X, tables: [
      {name: public.people, homes: allowed, home: {column: country}}]}
sinks:
  - {name: eu, kind: duckdb, region: eu-west-1, path: eu.duckdb}
  - {name: us, kind: duckdb, region: us-east-1, path: us.duckdb, masks: {people.id: hmac}}
dead-letter: {region: eu-west-1}
"""


@dataclass(frozen=True)
class Compiled:
    kind: str
    ucast: dict[str, Any] | None


@dataclass
class ListAsker:
    """Allows listed countries per sink, as OPA would."""

    allowed: dict[str, list[str]]
    number: int = 1
    asked: dict[str, Decision] = field(default_factory=dict)

    def decide(self, point: str, facts: Mapping[str, Any], row: Mapping[str, Any]) -> Decision:
        allow = row.get("country") in self.allowed[facts["sink"]["name"]]
        violation = Violation("residency.x", "error", "m", "/row", "Do something.")
        made = Decision(
            decision_id=f"d-{facts['sink']['name']}-{row.get('country')}",
            point=point,
            allow=allow,
            violations=() if allow else (violation,),
            obligations=(),
            policy=self.policy(),
            input_digest="sha256:0",
            evaluated_at=NOW,
            valid_until=None,
        )
        self.asked[made.decision_id] = made
        return made

    def compile_filter(self, facts: Mapping[str, Any], at: datetime) -> Compiled:
        countries = self.allowed[facts["sink"]["name"]]
        return Compiled(
            "condition",
            {"type": "field", "operator": "in", "field": "row.country", "value": countries},
        )

    def policy(self) -> Policy | None:
        return Policy(f"r{self.number}", self.number)


@dataclass
class MemorySource:
    """A log of transactions; ``stop`` is set when everything was handed out."""

    snapshot_rows: list[Row]
    log: list[Batch]
    stop: threading.Event
    confirmed: list[int] = field(default_factory=list)
    point: int = 100
    skew: float = 0.0
    lost: DataSpineError | None = None
    beats: int = 0
    done: Callable[[], bool] = lambda: True

    def prepare(self) -> int:
        return self.point

    def snapshot(self) -> Iterator[Batch]:
        changes = [Change(Op.INSERT, PEOPLE, r, None, i) for i, r in enumerate(self.snapshot_rows)]
        half = len(changes) // 2
        yield Batch(self.point, changes[:half], None, snapshot=True)
        commit = Commit(self.point, self.point, NOW.timestamp())
        yield Batch(self.point, changes[half:], commit, snapshot=True)

    def stream(self, start_lsn: int) -> Iterator[Batch | None]:
        yield from [b for b in self.log if b.begin_lsn >= start_lsn]
        while True:
            if self.done():
                self.stop.set()
            yield None

    def confirm(self, lsn: int) -> None:
        self.confirmed.append(lsn)

    def heartbeat(self) -> None:
        self.beats += 1

    def probe(self) -> SlotState:
        if self.lost is not None:
            raise self.lost
        return SlotState(0, True, 7, False)

    def clock_skew(self) -> float:
        return self.skew

    def destroy(self) -> None:
        self.lost = None

    def disconnect(self) -> None: ...


class World:
    """A route with two sinks in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        (folder / "route.yaml").write_text(ROUTE, encoding="utf-8")
        self.route = load_route(folder / "route.yaml")
        self.asker = ListAsker({"eu": ["DE", "FR"], "us": ["US", "FR"]})
        self.database = Database(folder / "spine.db")
        with self.database.begin() as connection:
            metadata.create_all(
                connection, [flushes, outcomes, metadata.tables["journal"]], checkfirst=True
            )
        self.journal = Journal(self.database)
        self.dead = DeadLetterStore(folder / "dead-letter" / "eu-west-1.db", "r")
        self.records: list[FlushRecord] = []
        self.target = FlushTarget(
            self.route,
            [
                DuckDbSink(s.name, folder / s.path, {"people": s.table_masks("people")}, MASKER)
                for s in self.route.sinks
            ],
            self.dead,
            self.database,
            self.asker,
            lambda table, relation, sink: {"table": table.name, "sink": {"name": sink}},
            self.record,
            clock=lambda: NOW,
        )

    def run(self, source: MemorySource) -> Runner:
        source.stop.clear()
        runner = Runner(self.target, {"shop": source}, flush_rows=1_000)
        runner.run(source.stop)
        return runner

    def rows(self, sink: str) -> dict[str, tuple[Any, ...]]:
        path = self.folder / f"{sink}.duckdb"
        connection = duckdb.connect(str(path), read_only=True)
        try:
            tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            if ("people",) not in tables:  # nothing ever came
                return {}
            found = connection.execute("SELECT id::VARCHAR, country, note FROM people").fetchall()
        finally:
            connection.close()
        assert len({r[0] for r in found}) == len(found)
        return {r[0]: r[1:] for r in found}

    def record(self, connection: sa.Connection, record: FlushRecord) -> None:
        self.records.append(record)
        for decision_id in record.classes:
            self.journal.record_class(
                connection,
                self.asker.asked[decision_id],
                name="r",
                actor="ada",
                flush_id=record.id,
            )

    def classes(self) -> dict[str, tuple[int, bool]]:
        """What the journal says of each class: its rows, and whether they were acted on."""
        entries = self.journal.list(limit=1000)
        return {e.decision.decision_id: (e.class_count, e.acted) for e in entries}

    def outcomes(self) -> dict[str, dict[str, int]]:
        return RouteStore(self.database).outcomes("r")

    def parked(self, sink: str) -> set[str]:
        """Keys whose newest version is parked."""
        found = set()
        letters = self.dead.parked(sink, "people", limit=10_000)
        with next(s for s in self.target.sinks if s.name == sink).open() as session:
            for letter in letters:
                key = json.loads(letter.payload)["id"]
                newest, _ = self.dead.newest(sink, "people", letter.key_hash)
                at_sink = session.positions(PEOPLE, [(key,)])[0] or (-1, -1)
                if newest == (letter.lsn, letter.seq) and at_sink < newest:
                    found.add(key)
        return found

    def states(self) -> list[str]:
        with self.database.read() as connection:
            return list(connection.execute(sa.select(flushes.c.state)).scalars())

    def close(self) -> None:
        self.dead.close()
        self.database.close()

    def check(self, rows: dict[str, Row]) -> None:
        """The outcomes equation, and the values, for both sinks."""
        for sink in ("eu", "us"):
            at_sink, parked = self.rows(sink), self.parked(sink)
            names = {key: MASKER.hmac(key) if sink == "us" else key for key in rows}
            assert set(at_sink) == {names[key] for key in set(rows) - parked}
            assert parked <= set(rows)
            for key, row in rows.items():
                if key not in parked:
                    assert at_sink[names[key]] == row[1:]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "w")
    yield made
    made.close()


class Log:
    """Builds transactions and keeps the rows that the source then has."""

    def __init__(self, start: int = 200) -> None:
        self.lsn = start
        self.rows: dict[str, Row] = {}
        self.batches: list[Batch] = []

    def transaction(self, *changes: tuple[Any, ...], pieces: int = 1) -> None:
        made = [self._change(number, *change) for number, change in enumerate(changes)]
        commit = Commit(self.lsn, self.lsn + 8, NOW.timestamp())
        size = max(1, -(-len(made) // pieces))
        parts = [made[i : i + size] for i in range(0, len(made), size)] or [[]]
        for part in parts:
            self.batches.append(Batch(self.lsn, part, commit if part is parts[-1] else None))
        self.lsn += 10

    def _change(self, number: int, op: str, *values: Any) -> Change:
        if op == "put":
            key, country, note = values
            row: Row = (key, country, note)
            kind = Op.UPDATE if key in self.rows else Op.INSERT
            self.rows[key] = row
            return Change(kind, PEOPLE, row, None, number)
        if op == "touch":  # the note does not change and is not sent
            key, country = values
            self.rows[key] = (key, country, self.rows[key][2])
            return Change(Op.UPDATE, PEOPLE, (key, country, UNCHANGED), None, number)
        if op == "rename":
            old, new, country = values
            kept = self.rows.pop(old)[2]
            self.rows[new] = (new, country, kept)
            return Change(Op.UPDATE, PEOPLE, (new, country, UNCHANGED), (old, None, None), number)
        if op == "delete":
            del self.rows[values[0]]
            return Change(Op.DELETE, PEOPLE, None, (values[0], None, None), number)
        self.rows.clear()
        return Change(Op.TRUNCATE, PEOPLE, None, None, number)


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


GONE = NotFoundError("the slot does not exist", remedy="…", code="cdc.slot_missing")


def test_lost_slot_starts_over_without_stale_rows_or_stale_letters(world: World) -> None:
    """Rows that went away unseen vanish, parked ones are superseded, and every row counts."""
    first = [("1", "DE", "a"), ("2", "BR", "b"), ("3", "BR", "c"), ("4", "DE", "d")]
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
    assert world.dead.counts() == {"discarded": 6, "parked": 3}
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


@settings(max_examples=40, deadline=None, derandomize=True)
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
    assert codes == [("residency.x",), ("cdc.sink_rejected",)]
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
    child = subprocess.run(
        [sys.executable, "-c", CHILD, __file__, str(folder), point], timeout=120, check=False
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
    subprocess.run(
        [sys.executable, "-c", CHILD, __file__, str(folder), "recorded"], timeout=120, check=False
    )
    world = World(folder)
    assert recover(world.target, "shop")["eu"] == 100
    assert set(world.classes().values()) == {(0, False)}
    assert world.outcomes()["eu"]["parked"] == 0
    world.close()
