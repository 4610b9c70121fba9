"""Replay: parked rows through the gate as it is now, never over a newer row."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

from dataspine.cdc._plan import key_of
from dataspine.cdc.dead_letter import Letter
from dataspine.cdc.duckdb_sink import DuckDbSink, SinkSession, Upserts
from dataspine.cdc.event import Relation, Row
from dataspine.cdc.flush import FlushTarget
from dataspine.cdc.gate import Action

__all__ = ["ReplayReport", "replay"]


@dataclass(slots=True)
class ReplayReport:
    """What became, or would become, of the parked rows.

    ``replayed``: at the sink now. ``parked``: still denied. ``superseded``: a newer version or a
    deletion exists. ``incomplete``: the table has columns that the parked row does not have.
    ``busy``: the route is just now writing a newer version.
    """

    dry_run: bool
    outcomes: Counter[str] = field(default_factory=Counter)

    def document(self) -> dict[str, object]:
        """Return it as JSON."""
        words = ("replayed", "parked", "superseded", "incomplete", "busy", "dropped")
        return {"dry_run": self.dry_run, **{word: self.outcomes[word] for word in words}}


def replay(
    target: FlushTarget, relations: dict[str, Relation], *, dry_run: bool = False
) -> ReplayReport:
    """Put every parked row of the route through the current gate; change nothing when ``dry_run``.

    ``relations`` are the route's tables (short names) as they are now. Each page has a turn of its
    own, from the first look at the letters to the last mark, so the running route comes between two
    pages and never into one.
    """
    report = ReplayReport(dry_run)
    sinks = {sink.name: sink for sink in target.sinks}
    # A busy route may park faster than this goes on; what comes later is for the next replay.
    until = target.dead_letter.newest_id()
    for _, sink_name, table in target.dead_letter.parked_tables():
        sink, relation = sinks.get(sink_name), relations.get(table)
        if sink is not None and relation is not None:
            _replay_table(target, sink, relation, until, report)
    return report


def _replay_table(
    target: FlushTarget, sink: DuckDbSink, relation: Relation, until: int, report: ReplayReport
) -> None:
    after = 0
    while True:
        # OPA may take its time here; the running route does not wait for it.
        target.gate(sink, relation)
        with target.turn():
            letters = target.dead_letter.parked(sink.name, relation.name, after=after, until=until)
            if not letters:
                return
            _replay_turn(target, sink, relation, letters, report)
        after = letters[-1].id


def _replay_turn(
    target: FlushTarget,
    sink: DuckDbSink,
    relation: Relation,
    letters: list[Letter],
    report: ReplayReport,
) -> None:
    with sink.open() as session:
        marks = _replay_page(target, sink, session, relation, letters, report)
        if report.dry_run:
            return
        session.commit_rows()
    # The sink first: a row that is there at its own position is replayed, not superseded.
    target.dead_letter.begin()
    try:
        for state, ids in marks.items():
            target.dead_letter.mark(ids, state)
    except BaseException:
        target.dead_letter.rollback()
        raise
    target.dead_letter.commit()
    target.dead_letter.truncate_log()


def _replay_page(
    target: FlushTarget,
    sink: DuckDbSink,
    session: SinkSession,
    relation: Relation,
    letters: list[Letter],
    report: ReplayReport,
) -> dict[str, list[int]]:
    marks: dict[str, list[int]] = {word: [] for word in _STATES.values()}
    target.begin_flush()
    gate = target.gate(sink, relation)
    names = [column.name for column in relation.columns]
    guards = [names.index(name) for name in target.route.table(relation.name).guard_columns]
    # 1. Only the newest version of a key may come back.
    candidates = _candidates(target, sink, relation, letters, report, marks)
    columns = [[_text(row[i]) for _, row in candidates] for i in guards]
    verdicts = gate.judge(columns, len(candidates)) if candidates else []
    tried = Upserts([row for _, row in candidates], [(x.lsn, x.seq) for x, _ in candidates])
    refused = {index for index, _ in session.rejected(relation, tried)}
    held = session.positions(relation, [key_of(relation, row) for _, row in candidates])
    upserts = Upserts()
    # 2. And only where the sink has nothing newer.
    for index, (letter, row) in enumerate(candidates):
        position, at_sink = (letter.lsn, letter.seq), held[index]
        action = Action.PARK if index in refused else verdicts[index].action
        word = _WORDS[action]
        if at_sink is not None and at_sink >= position:
            word = "superseded" if at_sink > position else "replayed"
        elif action is Action.ALLOW:
            upserts.rows.append(row)
            upserts.positions.append(position)
        report.outcomes[word] += 1
        marks[_STATES[word]].append(letter.id)
    if upserts.rows and not report.dry_run:
        session.apply(relation, upserts)
    return marks


_WORDS = {Action.ALLOW: "replayed", Action.PARK: "parked", Action.DROP: "dropped"}
_STATES = {
    "replayed": "replayed",
    "superseded": "superseded",
    "dropped": "discarded",
    "parked": "parked",
}


def _candidates(
    target: FlushTarget,
    sink: DuckDbSink,
    relation: Relation,
    letters: list[Letter],
    report: ReplayReport,
    marks: dict[str, list[int]],
) -> list[tuple[Letter, Row]]:
    found: list[tuple[Letter, Row]] = []
    for letter in letters:
        payload = json.loads(letter.payload)
        if any(column.name not in payload for column in relation.columns):
            report.outcomes["incomplete"] += 1
            continue
        row = tuple(payload[c.name] for c in relation.columns)
        newest = target.dead_letter.version(sink.name, relation.name, key_of(relation, row))
        if letter.is_superseded or newest.position > (letter.lsn, letter.seq):
            is_busy = letter.is_superseded or newest.is_pending
            report.outcomes["busy" if is_busy else "superseded"] += 1
            if not is_busy:
                marks["superseded"].append(letter.id)
        else:
            found.append((letter, row))
    return found


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
