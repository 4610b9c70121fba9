"""One flush: dead letters, its row in ``spine.db``, the sinks, *applied*, then the slot.

Each step is durable before the next begins, so a process that dies anywhere leaves a state which
``recover`` completes or undoes. A flush holds whole transactions; a huge one comes in pieces, which
wait in the open transactions of dead-letter store and sinks.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa

from dataspine.cdc._plan import Entries, Segment, entries, fill, segments
from dataspine.cdc._tables import flushes, outcomes
from dataspine.cdc.dead_letter import WHOLE_TABLE, DeadLetterStore, Parked, Tombstone
from dataspine.cdc.duckdb_sink import DuckDbSink, Partial, SinkSession, Upserts
from dataspine.cdc.event import UNCHANGED, Batch, Column, Op, Relation, Row
from dataspine.cdc.gate import Action, Asker, Gate, Verdict, bounded
from dataspine.cdc.route import Route, Table
from dataspine.core.clock import Clock, rfc3339, utc_now
from dataspine.core.database import Database
from dataspine.core.errors import ConflictError, DataSpineError, InputError
from dataspine.core.statement import upsert
from dataspine.decisions.journal import count_rows, release

__all__ = [
    "CRASH_POINTS",
    "Flush",
    "FlushRecord",
    "FlushTarget",
    "Outcome",
    "Recorder",
    "older_sink",
    "recover",
]

CRASH_POINTS = ("planned", "dead-letter", "recorded", "sink", "settled", "applied", "confirmed")

Facts = Callable[[Table, Relation, str], Mapping[str, Any]]
Hook = Callable[[str], None]


class Outcome:
    """The words of ``cdc_flushes.counts``; exactly one per captured event and sink."""

    APPLIED = "applied"
    MASKED = "masked"
    PARKED = "parked"
    DELETED = "deleted"
    DROPPED = "dropped"
    ALL = (APPLIED, MASKED, PARKED, DELETED, DROPPED)


@dataclass(frozen=True, slots=True)
class FlushRecord:
    """What a flush did at one sink; ``classes`` counts the rows under each decision id.

    The rows count in the journal, and the outcomes in the route's, when the flush is *applied*.
    """

    id: int
    uid: str
    route: str
    source: str
    sink: str
    end_lsn: int
    revision: str
    counts: Mapping[str, int]
    classes: Mapping[str, int]
    tables: tuple[str, ...]
    snapshot: bool


class Recorder(Protocol):
    """Who writes a flush's lineage event and journal rows, in the flush's own transaction."""

    def __call__(self, connection: sa.Connection, record: FlushRecord) -> None:
        """Write them with ``flush_id = record.id``."""


@dataclass
class FlushTarget:
    """Everything that flushes of one route share; gates live here between flushes.

    ``facts`` returns the facts of ``row.replicate`` for a table, its relation and a sink's name.
    ``hook`` is called with each name of ``CRASH_POINTS`` as it is reached. ``turn`` is had by a
    flush from its beginning to its end, by a replay for a page.
    """

    route: Route
    sinks: Sequence[DuckDbSink]
    dead_letter: DeadLetterStore
    database: Database
    asker: Asker
    facts: Facts
    recorder: Recorder
    clock: Clock = utc_now
    hook: Hook = lambda _point: None
    turn: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    _gates: dict[tuple[str, str], tuple[Relation, Gate]] = field(default_factory=dict)

    def begin_flush(self) -> None:
        """Let each gate ask about as many classes again as one flush may have."""
        for _, gate in self._gates.values():
            gate.begin_flush()

    def gate(self, sink: DuckDbSink, relation: Relation) -> Gate:
        """Return the refreshed gate of a table and sink."""
        held = self._gates.get((sink.name, relation.name))
        if held is None or held[0] != relation:
            table = self.route.table(relation.name)
            guards = [_column(relation, name) for name in table.guard_columns]
            gate = Gate(
                self.asker,
                self.facts(table, relation, sink.name),
                guards,
                sink.masks.get(relation.name, {}),
                self.clock,
            )
            held = self._gates[(sink.name, relation.name)] = (relation, gate)
        held[1].refresh()
        return held[1]


def _column(relation: Relation, name: str) -> Column:
    for column in relation.columns:
        if column.name == name:
            return column
    raise InputError(
        f"the guard column {name!r} is not in the table {relation.name}",
        where=relation.name,
        remedy="Correct `home` in the route file, or the table.",
        code="cdc.guard_missing",
    )


class Flush:
    """One open flush of a source to some sinks: ``add`` pieces, then ``commit`` or ``abort``."""

    def __init__(
        self,
        target: FlushTarget,
        source: str,
        sinks: Sequence[DuckDbSink],
        *,
        snapshot: bool = False,
    ) -> None:
        self._target = target
        self._source = source
        self._snapshot = snapshot
        self._turn, self._stack = contextlib.ExitStack(), contextlib.ExitStack()
        self._lanes: list[_Lane] = []
        try:
            self._turn.enter_context(target.turn())
            for sink in sinks:
                session = self._stack.enter_context(sink.open())
                self._lanes.append(_Lane(target, source, sink, session, snapshot))
            target.begin_flush()
            target.dead_letter.begin()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Undo everything since the beginning."""
        with self._turn:  # given up even where there is nothing left to undo
            self._stack.close()
            self._target.dead_letter.rollback()

    def add(self, batches: Sequence[Batch], sinks: Mapping[str, int | None] | None = None) -> None:
        """Judge and stage changes; ``sinks`` gives each one's position; what it has is skipped."""
        for lane in self._lanes:
            known = (sinks or {}).get(lane.sink.name)
            new = [b for b in batches if known is None or b.snapshot or b.begin_lsn >= known]
            for segment in segments(new):
                lane.add(segment)
        self._target.hook("planned")

    def commit(self, end_lsn: int) -> list[FlushRecord]:
        """Make it durable in the order of this module's first line, up to *applied*."""
        target, hook = self._target, self._target.hook
        try:
            for lane in self._lanes:
                lane.finish(end_lsn)
            # 1. Dead letters: pending until the sink has the flush.
            target.dead_letter.commit()
            hook("dead-letter")
            # 2. The flush's row, with its lineage event.
            records = self._record(end_lsn)
            hook("recorded")
            # 3. Each sink, with the position, in its own transaction.
            for lane in self._lanes:
                lane.session.commit(target.route.name, self._source, end_lsn)
            hook("sink")
        finally:
            self._stack.close()
        # 4. Only now anything of it is visible.
        for record in records:
            target.dead_letter.settle(record.uid)
        hook("settled")
        _mark(target.database, [record.uid for record in records])
        hook("applied")
        target.dead_letter.truncate_log()
        self._turn.close()
        return records

    def _record(self, end_lsn: int) -> list[FlushRecord]:
        # A heartbeat moves the sinks' position and is nothing to tell.
        moved = [lane for lane in self._lanes if self._snapshot or lane.tables]
        if not moved:
            return []
        with self._target.database.begin() as connection:
            return [self._record_lane(connection, lane, end_lsn) for lane in moved]

    def _record_lane(self, connection: sa.Connection, lane: _Lane, end_lsn: int) -> FlushRecord:
        counts = {name: lane.counts[name] for name in Outcome.ALL}
        inserted = connection.execute(
            flushes.insert().values(
                uid=lane.uid,
                route=self._target.route.name,
                source=self._source,
                sink=lane.sink.name,
                end_lsn=end_lsn,
                revision=lane.revision,
                counts=counts,
                classes=dict(lane.classes),
                state="pending",
                created_at=rfc3339(self._target.clock()),
            )
        )
        (number,) = inserted.inserted_primary_key or (0,)
        record = FlushRecord(
            id=number,
            uid=lane.uid,
            route=self._target.route.name,
            source=self._source,
            sink=lane.sink.name,
            end_lsn=end_lsn,
            revision=lane.revision,
            counts=counts,
            classes=dict(lane.classes),
            tables=tuple(sorted(lane.tables)),
            snapshot=self._snapshot,
        )
        self._target.recorder(connection, record)
        return record


class _Lane:
    """One sink's part of a flush."""

    def __init__(
        self,
        target: FlushTarget,
        source: str,
        sink: DuckDbSink,
        session: SinkSession,
        snapshot: bool,
    ) -> None:
        self.sink = sink
        self.session = session
        self.uid = uuid.uuid4().hex
        self.counts: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.tables: set[str] = set()
        self.revision = ""
        self._target = target
        self._source = source
        self._snapshot = snapshot

    def add(self, segment: Segment) -> None:
        """Bring one table forward by one segment."""
        relation = segment.relation
        gate = self._target.gate(self.sink, relation)
        self.revision = gate.revision
        self.session.ensure(relation)
        if self._snapshot and relation.name not in self.tables:
            # What an earlier, unfinished life of the route left is not in this snapshot.
            self._empty(relation.name, segment.lsns[0], -1)
        self.tables.add(relation.name)
        if segment.truncate:
            for change, lsn in zip(segment.changes, segment.lsns, strict=True):
                self._empty(relation.name, lsn, change.sequence)
            self.counts[Outcome.DELETED] += len(segment.changes)
            return
        self._apply(segment, entries(segment), gate)

    def finish(self, lsn: int) -> None:
        """After a snapshot, a table without rows is empty at the sink too."""
        for source in self._target.route.sources if self._snapshot else ():
            for table in source.tables if source.name == self._source else ():
                if table.short_name not in self.tables:
                    self._empty(table.short_name, lsn, -1)

    def _empty(self, table: str, lsn: int, sequence: int) -> None:
        self.session.empty(table)
        self._target.dead_letter.bury([self._stone(table, WHOLE_TABLE, lsn, sequence)])

    def _stone(self, table: str, key_hash: str, lsn: int, sequence: int) -> Tombstone:
        at = int(self._target.clock().timestamp())
        return Tombstone(self.sink.name, table, key_hash, lsn, sequence, self.uid, at)

    def _apply(self, segment: Segment, found: Entries, gate: Gate) -> None:
        # 1. Complete what the sink does not have; what nobody has parks.
        incomplete = self._complete(segment.relation, found)
        # 2. One verdict per put.
        verdicts = self._judge(segment.relation, found, gate, incomplete)
        # 3. The last state of each key is what the sink gets.
        upserts, chosen = self._final(segment, found, verdicts)
        rejected = self.session.rejected(segment.relation, upserts)
        for index, columns in rejected:
            verdict = verdicts[chosen[index]]
            if verdict is not None:
                verdicts[chosen[index]] = _rejected(verdict, columns)
        if rejected:
            upserts, _ = self._final(segment, found, verdicts)
        # 4. Every event has one outcome; older parked rows are given up, parked rows and keys that
        # went away are written down.
        self._count(segment, found, verdicts)
        self._supersede(segment, found)
        self._park(segment, found, verdicts)
        self._bury(segment, found, verdicts)
        self.session.apply(segment.relation, upserts, fresh=self._snapshot)

    def _complete(self, relation: Relation, found: Entries) -> set[int]:
        if not found.origins:
            return set()
        indexes = list(found.origins)
        at_sink = self.session.positions(relation, [found.origins[i] for i in indexes])
        incomplete = set()
        names = [column.name for column in relation.columns]
        for index, position in zip(indexes, at_sink, strict=True):
            newest = self._target.dead_letter.version(
                self.sink.name, relation.name, found.origins[index]
            )
            # Only the newest version has what is unchanged; any older one may have something else.
            if position is not None and position >= newest.position:
                continue
            del found.origins[index]
            row = found.rows[index]
            if row is not None and newest.payload is not None:
                missing = UNCHANGED
                row = fill(row, tuple(newest.payload.get(name, missing) for name in names))
                found.rows[index] = row
            if row is not None and UNCHANGED in row:
                incomplete.add(index)
        return incomplete

    def _judge(
        self, relation: Relation, found: Entries, gate: Gate, incomplete: set[int]
    ) -> list[Verdict | None]:
        table = self._target.route.table(relation.name)
        guards = [
            i
            for name in table.guard_columns
            for i, c in enumerate(relation.columns)
            if c.name == name
        ]
        live = [row for row in found.rows if row is not None]
        columns = [[_value(row[i]) for row in live] for i in guards]
        judged = gate.judge(columns, len(live)) if live else []
        if len(live) == len(found.rows) and not incomplete and not found.origins:
            return list(judged)
        verdicts: list[Verdict | None] = []
        answers = iter(judged)
        for index, row in enumerate(found.rows):
            verdict = next(answers) if row is not None else None
            unknown = row is not None and any(row[i] is UNCHANGED for i in guards)
            if verdict is not None and (index in incomplete or unknown):
                verdict = Verdict(Action.PARK, verdict.decision_id, ("cdc.incomplete_row",))
            verdicts.append(verdict)
        return verdicts

    def _final(
        self, segment: Segment, found: Entries, verdicts: Sequence[Verdict | None]
    ) -> tuple[Upserts, list[int]]:
        last = {key: index for index, key in enumerate(found.keys)}
        upserts, chosen, completed = Upserts(), [], []
        changes, lsns, rows, events = segment.changes, segment.lsns, found.rows, found.events
        for key, index in last.items():
            verdict, row = verdicts[index], rows[index]
            if verdict is None or row is None or verdict.action is not Action.ALLOW:
                upserts.removals.append(key)
                continue
            event = events[index]
            position = (lsns[event], changes[event][4])
            if index in found.origins:
                upserts.partials.append(Partial(row, found.origins[index], position))
                completed.append(index)
            else:
                upserts.rows.append(row)
                upserts.positions.append(position)
                chosen.append(index)
        return upserts, chosen + completed

    def _count(self, segment: Segment, found: Entries, verdicts: Sequence[Verdict | None]) -> None:
        masked = bool(self.sink.masks.get(segment.relation.name))
        words = {
            Action.ALLOW: Outcome.MASKED if masked else Outcome.APPLIED,
            Action.PARK: Outcome.PARKED,
            Action.DROP: Outcome.DROPPED,
        }
        for verdict, count in Counter(v for v in verdicts if v is not None).items():
            self.counts[words[verdict.action]] += count
            self.classes[verdict.decision_id] += count
        self.counts[Outcome.DELETED] += sum(c[0] is Op.DELETE for c in segment.changes)

    def _supersede(self, segment: Segment, found: Entries) -> None:
        if self._snapshot:
            return  # it supersedes whole tables
        # A key that is inserted had no version, or the one before was deleted.
        versions = {
            key: (segment.lsns[event], segment.changes[event].sequence)
            for key, event in zip(found.keys, found.events, strict=True)
            if segment.changes[event].op is not Op.INSERT
        }
        if versions:
            self._target.dead_letter.supersede(
                self.sink.name, segment.relation.name, versions.items(), self.uid
            )

    def _park(self, segment: Segment, found: Entries, verdicts: Sequence[Verdict | None]) -> None:
        parked = [
            (index, verdict)
            for index, verdict in enumerate(verdicts)
            if verdict is not None and verdict.action is Action.PARK
        ]
        if not parked:
            return
        relation, table = segment.relation, self._target.route.table(segment.relation.name)
        names = [column.name for column in relation.columns]
        guard = names.index(table.guard_columns[0]) if table.guard_columns else -1
        constant = table.home.get("constant")
        parked_at = int(self._target.clock().timestamp())
        codes: dict[Verdict, str] = {}
        last = {key: index for index, key in enumerate(found.keys)}
        store = self._target.dead_letter
        letters = []
        for index, verdict in parked:
            row, event = found.rows[index] or (), found.events[index]
            text = codes.get(verdict) or codes.setdefault(verdict, json.dumps(verdict.codes))
            letters.append(
                Parked(
                    self._source,
                    self.sink.name,
                    relation.name,
                    store.key_hash(self.sink.name, relation.name, found.keys[index]),
                    segment.lsns[event],
                    segment.changes[event].sequence,
                    _home(row[guard]) if guard >= 0 else constant,
                    text,
                    verdict.decision_id,
                    _payload(names, row) if last[found.keys[index]] == index else "",
                    self.uid,
                    parked_at,
                    verdict.detail,
                )
            )
        store.park(letters)

    def _bury(self, segment: Segment, found: Entries, verdicts: Sequence[Verdict | None]) -> None:
        store, table = self._target.dead_letter, segment.relation.name
        store.bury(
            [
                self._stone(
                    table,
                    store.key_hash(self.sink.name, table, key),
                    segment.lsns[event],
                    segment.changes[event].sequence,
                )
                for key, event, verdict in zip(found.keys, found.events, verdicts, strict=True)
                if verdict is None or verdict.action is Action.DROP
            ]
        )


def recover(target: FlushTarget, source: str) -> dict[str, int | None]:
    """Complete or undo what a dead process left; return each sink's position.

    A pending flush that the sink has becomes *applied*; any other is removed with its dead letters.
    """
    with target.turn():
        return _recover(target, source)


def _recover(target: FlushTarget, source: str) -> dict[str, int | None]:
    positions = {s.name: s.position(target.route.name, source) for s in target.sinks}
    with target.database.read() as connection:
        pending = connection.execute(
            sa.select(flushes.c.uid, flushes.c.sink, flushes.c.end_lsn).where(
                flushes.c.route == target.route.name,
                flushes.c.source == source,
                flushes.c.state == "pending",
            )
        ).all()
        recorded = set(
            connection.execute(
                sa.select(flushes.c.uid).where(
                    flushes.c.route == target.route.name, flushes.c.state == "pending"
                )
            ).scalars()
        )
    done: list[str] = []
    gone: list[str] = []
    for uid, sink, end_lsn in pending:
        position = positions.get(sink)
        (done if position is not None and end_lsn <= position else gone).append(uid)
    for uid in done:
        target.dead_letter.settle(uid)
    # Dead letters without a row in `spine.db`: the process died between the two.
    for uid in {*gone, *(target.dead_letter.pending() - recorded)}:
        target.dead_letter.forget(uid)
    _mark(target.database, done)
    _discard(target.database, gone)
    return positions


def older_sink(
    target: FlushTarget, source: str, positions: Mapping[str, int | None]
) -> DataSpineError | None:
    """Return why a sink is older than its last applied flush, or None when none is.

    The source may have forgotten what came between.
    """
    last = sa.select(flushes.c.end_lsn).where(
        flushes.c.route == target.route.name,
        flushes.c.source == source,
        flushes.c.state == "applied",
    )
    newest = last.order_by(flushes.c.id.desc()).limit(1)
    with target.database.read() as connection:
        for sink, position in positions.items():
            applied = connection.scalar(newest.where(flushes.c.sink == sink))
            if applied is not None and (position is None or position < applied):
                return ConflictError(
                    f"the sink {sink} lacks changes that it had: its file is an older one",
                    where=target.route.name,
                    remedy="Run the route: it starts over with a new snapshot.",
                    code="cdc.sink_older",
                )
    return None


def _mark(database: Database, uids: Sequence[str]) -> None:
    """Make flushes visible: state, outcomes and the rows of each class change together, once."""
    if not uids:
        return
    with database.begin() as connection:
        applied = connection.execute(
            flushes.update()
            .where(flushes.c.uid.in_(uids), flushes.c.state == "pending")
            .values(state="applied")
            .returning(flushes.c.route, flushes.c.sink, flushes.c.counts, flushes.c.classes)
        ).all()
        for route, sink, counts, classes in applied:
            count_rows(connection, classes)
            added = [
                {"route": route, "sink": sink, "outcome": word, "records": number}
                for word, number in counts.items()
            ]
            upsert(connection, outcomes, added, key=("route", "sink", "outcome"), add=("records",))


def _discard(database: Database, uids: Sequence[str]) -> None:
    if not uids:
        return
    with database.begin() as connection:
        gone = connection.execute(
            flushes.update()
            .where(flushes.c.uid.in_(uids))
            .values(state="discarded")
            .returning(flushes.c.id)
        ).scalars()
        release(connection, list(gone))


def _rejected(verdict: Verdict, columns: str) -> Verdict:
    detail = f"the sink's type cannot hold the value of {columns}"
    return Verdict(Action.PARK, verdict.decision_id, ("cdc.sink_rejected",), detail)


def _home(value: object) -> str | None:
    return bounded(value) if isinstance(value, str) else None


def _value(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _payload(names: Sequence[str], row: Row) -> str:
    held = dict(zip(names, row, strict=True))
    if UNCHANGED in row:
        held = {name: value for name, value in held.items() if value is not UNCHANGED}
    return json.dumps(held, ensure_ascii=False)
