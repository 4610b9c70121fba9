"""The distinct questions in OPA's decision log, streamed: each with the times it was asked for.

SQLite reads each chunk once and sorts in a temporary table, which it keeps in a file: memory holds
one chunk, one batch of questions, and the times of one question.
"""

from __future__ import annotations

import hashlib
import itertools
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Self

import sqlalchemy as sa

from dataspine.core.canonical import parse_json
from dataspine.core.clock import parse_rfc3339
from dataspine.core.errors import InputError
from dataspine.decisions._tables import decision_chunks, decision_log
from dataspine.decisions.control import gunzip
from dataspine.decisions.decision import POINTS, DecisionInput
from dataspine.decisions.decision_log import MAX_PLAIN, LogSearch, conditions

__all__ = ["Recorded", "Recording", "microseconds", "moment"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_POINTS = {f"dataspine/main/{point.replace('.', '_')}": point for point in POINTS}
_BATCH = 128
_FETCH = 2_000

# Equal questions have equal text, because OPA writes the keys of objects in order.
_READ = """
SELECT e.key, json_extract(e.value, '$.path'), json_type(e.value, '$.input'),
  json_remove(json_extract(e.value, '$.input'), '$.at'), json_extract(e.value, '$.input.at'),
  json_extract(e.value, '$.erased'), json_extract(e.value, '$.masked')
FROM json_each(?) e
"""
_CREATE = """
CREATE TEMP TABLE asked (
  path TEXT NOT NULL, question BLOB NOT NULL, at INTEGER NOT NULL,
  chunk INTEGER NOT NULL, position INTEGER NOT NULL
)
"""
_INSERT = "INSERT INTO asked VALUES (?, ?, ?, ?, ?)"
# Questions of which the first event lies in the same chunk follow each other: it is unpacked once.
_SORTED = """
SELECT path, question, at, chunk, position FROM (
  SELECT *, first_value(chunk) OVER (PARTITION BY path, question ORDER BY at, chunk) AS home
  FROM asked
) ORDER BY path, home, question, at, chunk
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One distinct question. ``event`` is OPA's own of the first time it was asked.

    ``moments`` are the times it was asked for, ascending, in microseconds since 1970; ``rows`` are
    its events in the same order, as ``Recording.decision_id`` knows them.
    """

    question: DecisionInput
    event: Mapping[str, Any]
    moments: Sequence[int]
    rows: Sequence[int]

    def at(self, index: int) -> DecisionInput:
        """Return the question as it was asked for one of the moments."""
        asked = self.question
        return DecisionInput(asked.point, moment(self.moments[index]), asked.facts, asked.row)


@dataclass(frozen=True, slots=True)
class _Group:
    path: str
    moments: Sequence[int]
    rows: Sequence[int]


class Recording:
    """The decisions of a period, inside one read transaction; close it by leaving the block.

    ``since`` is inside, ``until`` outside, by the time of OPA's event. ``total`` counts the
    decisions, ``skipped``, by reason, those that cannot be asked again; it is complete after
    ``batches``.
    """

    def __init__(
        self, connection: sa.Connection, since: datetime | None, until: datetime | None
    ) -> None:
        self._connection = connection
        self._period = conditions(LogSearch(since=since, until=until))
        self._unpacked: tuple[int, list[str]] = (0, [])  # a chunk's number and its events
        self.skipped: Counter[str] = Counter()
        count = sa.select(sa.func.count()).select_from(decision_log).where(*self._period)
        self.total = int(connection.execute(count).scalar_one())

    def __enter__(self) -> Self:
        """Read the chunks of the period into the temporary table."""
        self._connection.exec_driver_sql("DROP TABLE IF EXISTS temp.asked")
        self._connection.exec_driver_sql(_CREATE)
        query = (
            sa.select(decision_log.c.chunk, decision_log.c.position, decision_log.c.item)
            .where(*self._period)
            .order_by(decision_log.c.chunk)
            .execution_options(yield_per=_FETCH)
        )
        rows = self._connection.execute(query)
        for chunk, indexed in itertools.groupby(rows, key=itemgetter(0)):
            wanted = Counter((position, item is not None) for _, position, item in indexed)
            asked = list(self._asked(chunk, wanted))
            if asked:
                self._connection.exec_driver_sql(_INSERT, asked)
        return self

    def __exit__(self, *error: object) -> None:
        """Drop the temporary table."""
        self._connection.exec_driver_sql("DROP TABLE IF EXISTS temp.asked")

    def batches(self) -> Iterator[list[Recorded]]:
        """Yield the distinct questions, some at a time, each batch of one point."""
        for _, groups in itertools.groupby(self._groups(), key=lambda group: group.path):
            while batch := list(itertools.islice(groups, _BATCH)):
                found = self._recorded(batch)
                if found:
                    yield found

    def decision_id(self, row: int) -> str:
        """Return the id of the decision behind one of ``Recorded.rows``."""
        return str(self._event(row)["decision_id"])

    def _asked(
        self, chunk: int, wanted: Counter[tuple[int, bool]]
    ) -> Iterator[tuple[str, bytes, int, int, int]]:
        text = self._text(chunk)
        raw: Any = self._connection.connection.driver_connection
        for position, path, kind, question, at, *masks in raw.execute(_READ, (text,)):
            if count := wanted[position, True]:
                self.skipped["batch"] += count
            if not wanted[position, False]:
                continue
            reason = _reason(path, kind, masks)
            moments = None if reason else _microseconds(at)
            if moments is None:
                self.skipped[reason or "malformed"] += 1
                continue
            key = hashlib.blake2b(question.encode(), digest_size=16).digest()
            yield path, key, moments, chunk, position

    def _groups(self) -> Iterator[_Group]:
        rows = self._connection.exec_driver_sql(_SORTED, execution_options={"yield_per": _FETCH})
        for (path, _), asked in itertools.groupby(rows, key=itemgetter(0, 1)):
            moments, numbers = array("q"), array("q")
            for _, _, at, chunk, position in asked:
                moments.append(at)
                numbers.append(chunk << 20 | position)
            yield _Group(path, moments, numbers)

    def _recorded(self, groups: list[_Group]) -> list[Recorded]:
        found = []
        for group in groups:
            event = self._event(group.rows[0])
            try:
                question = DecisionInput.parse(event["input"])
            except InputError:
                question = None
            if question is None or question.point != _POINTS[group.path]:
                self.skipped["malformed"] += len(group.rows)
                continue
            found.append(Recorded(question, event, group.moments, group.rows))
        return found

    def _event(self, row: int) -> dict[str, Any]:
        event = self._events(row >> 20)[row & 0xFFFFF]
        whole: dict[str, Any] = parse_json(event, where="decision log", max_bytes=MAX_PLAIN)
        return whole

    def _events(self, chunk: int) -> list[str]:
        if self._unpacked[0] != chunk:
            raw: Any = self._connection.connection.driver_connection
            query = "SELECT value FROM json_each(?) ORDER BY key"
            events = [event for (event,) in raw.execute(query, (self._text(chunk),))]
            self._unpacked = (chunk, events)
        return self._unpacked[1]

    def _text(self, chunk: int) -> str:
        query = sa.select(decision_chunks.c.events).where(decision_chunks.c.id == chunk)
        return gunzip(self._connection.execute(query).scalar_one(), MAX_PLAIN).decode()


def _reason(path: object, kind: object, masks: list[str | None]) -> str | None:
    """Return why an event cannot be asked again, or None."""
    if path not in _POINTS:
        return "unknown point"
    # A masked answer is asked for anew; a masked question is another question.
    if any('"/input' in (mask or "") for mask in masks):
        return "masked input"
    return None if kind == "object" else "no input"


def _microseconds(at: object) -> int | None:
    try:
        return microseconds(parse_rfc3339(at)) if isinstance(at, str) else None
    except InputError:
        return None


def microseconds(at: datetime) -> int:
    """Return an aware time as microseconds since 1970."""
    return (at - _EPOCH) // _TICK


def moment(at: int) -> datetime:
    """Return the time of microseconds since 1970, in UTC."""
    return _EPOCH + at * _TICK
