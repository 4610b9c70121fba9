"""A route in a folder: two real DuckDB sinks, a source that plays a log, and a history to play."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa
from tests import store

from dataspine.cdc._tables import flushes, outcomes
from dataspine.cdc.dead_letter import DeadLetterStore
from dataspine.cdc.duckdb_sink import DuckDbSink
from dataspine.cdc.event import UNCHANGED, Batch, Change, Column, Commit, Op, Relation, Row
from dataspine.cdc.flush import FlushRecord, FlushTarget
from dataspine.cdc.key_hash import KeyHasher
from dataspine.cdc.mask import Masker
from dataspine.cdc.postgres import PostgresSource, SlotState
from dataspine.cdc.route import load_route
from dataspine.cdc.runner import Runner, Status
from dataspine.cdc.state import RouteStore
from dataspine.cdc.turn import Turn
from dataspine.core.database import Database, metadata
from dataspine.core.errors import DataSpineError, NotFoundError
from dataspine.core.identity import Principal
from dataspine.decisions.decision import Decision, DecisionInput, Policy, Violation
from dataspine.decisions.fault import Fault
from dataspine.decisions.journal import Journal

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
MASKER = Masker(b"k" * 32, "analytics")
HASHER = KeyHasher(b"h" * 32)
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

    def refuse(self, point: str, facts: Mapping[str, Any], code: str, words: Fault) -> Decision:
        made = Decision.refused(
            DecisionInput(point, NOW, facts), code, words.title, words.remedy, NOW
        )
        self.asked[made.decision_id] = made
        return made

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

    def prepare(self, on_wait: Callable[[str], None]) -> int:
        return self.point

    def snapshot(self, on_wait: Callable[[str], None]) -> Iterator[Batch]:
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


GONE = NotFoundError("the slot does not exist", remedy="…", code="cdc.slot_missing")


def place(folder: Path) -> store.Place:
    """Return where the world's database is; opened again, in any process, it finds what it left."""
    told = folder.with_name(f"{folder.name}.database")
    if not told.exists():
        told.write_text(store.address(store.place(folder)))
    return store.known(told.read_text())


class World:
    """A route with two sinks in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        (folder / "route.yaml").write_text(ROUTE, encoding="utf-8")
        self.route = load_route(folder / "route.yaml")
        self.asker = ListAsker({"eu": ["DE", "FR"], "us": ["US", "FR"]})
        self.database = Database(place(folder))
        with self.database.begin() as connection:
            metadata.create_all(
                connection, [flushes, outcomes, metadata.tables["journal"]], checkfirst=True
            )
        self.journal = Journal(self.database)
        self.dead = DeadLetterStore(folder / "dead-letter" / "eu-west-1.db", "r", HASHER)
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
            turn=Turn(folder, "r"),
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
                actor=Principal("ada"),
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
                newest = self.dead.version(sink, "people", (key,)).position
                at_sink = session.positions(PEOPLE, [(key,)])[0] or (-1, -1)
                # What is parked is the newest version, and there is one per key.
                assert (newest, key in found) == ((letter.lsn, letter.seq), False)
                assert at_sink < newest
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


def stream(world: World, source: PostgresSource, until: Callable[[Status], bool]) -> Status:
    """Run the route until its status is as wanted."""
    stop = threading.Event()

    def told(status: Status) -> None:
        if until(status):
            stop.set()

    runner = Runner(world.target, {"shop": source}, on_status=told, heartbeat_seconds=0.1)
    runner.run(stop)
    source.close()
    return runner.status
