"""The distinct questions in OPA's decision log, streamed: each with the times it was asked for.

Each chunk is read once, and SQLite sorts in a temporary file of its own: memory
holds one chunk, one batch of questions, and the times of one question.
"""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Self

import msgspec
import sqlalchemy as sa

from dataspine.core.clock import parse_rfc3339
from dataspine.core.errors import InputError
from dataspine.decisions._opa_event import NOTHING, Event, batch, item_of, raw_list, word
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

# A row of the log is one number: chunk, position in it, and item in a batch plus one.
_POSITION, _ITEM = 37, 20
_MAX_ITEMS = (1 << _ITEM) - 1

_CREATE = """
CREATE TABLE asked (
  path TEXT NOT NULL, question BLOB NOT NULL, at INTEGER NOT NULL,
  row INTEGER NOT NULL
)
"""
_INSERT = "INSERT INTO asked VALUES (?, ?, ?, ?)"
# Questions of which the first event lies in the same chunk follow each other: it is unpacked once.
_SORTED = f"""
SELECT path, question, at, row FROM (
  SELECT *, first_value(row >> {_POSITION}) OVER (PARTITION BY path, question ORDER BY at, row)
    AS home
  FROM asked
) ORDER BY path, home, question, at, row
"""  # noqa: S608 - a number


class _Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    point: str
    at: str
    facts: msgspec.Raw
    row: msgspec.Raw = NOTHING


_event = msgspec.json.Decoder(Event)
_whole = msgspec.json.Decoder(_Question)
_value = msgspec.json.Decoder()

_ITEMS = object()  # in place of a path
# Entry point, digest and time of a question.
_Asked = tuple[str, bytes, int]


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
        self._unpacked: tuple[int, list[msgspec.Raw]] = (0, [])  # a chunk's number and its events
        self.skipped: Counter[str] = Counter()
        count = sa.select(sa.func.count()).select_from(decision_log).where(*self._period)
        self.total = int(connection.execute(count).scalar_one())

    def __enter__(self) -> Self:
        """Read the chunks of the period into the temporary file."""
        # Without a name: SQLite removes the file by itself, however this process ends.
        self._sorting = sqlite3.connect("", check_same_thread=False)
        self._sorting.execute(_CREATE)
        query = (
            sa.select(decision_log.c.chunk, decision_log.c.position, decision_log.c.item)
            .where(*self._period)
            .order_by(decision_log.c.chunk)
            .execution_options(yield_per=_FETCH)
        )
        rows = self._connection.execute(query)
        for chunk, indexed in itertools.groupby(rows, key=itemgetter(0)):
            asked = list(self._asked(chunk, [(position, item) for _, position, item in indexed]))
            if asked:
                self._sorting.executemany(_INSERT, asked)
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the temporary file."""
        self._sorting.close()

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
        self, chunk: int, wanted: Sequence[tuple[int, int | None]]
    ) -> Iterator[tuple[str, bytes, int, int]]:
        events = raw_list(self._text(chunk))
        for position, indexed in itertools.groupby(sorted(wanted, key=_order), itemgetter(0)):
            items = [item for _, item in indexed]
            for item, found in zip(items, _questions(events[position], items), strict=True):
                if isinstance(found, str):
                    self.skipped[found] += 1
                    continue
                number = 0 if item is None else item + 1
                yield *found, chunk << _POSITION | position << _ITEM | number

    def _groups(self) -> Iterator[_Group]:
        rows = self._sorting.execute(_SORTED)
        for (path, _), asked in itertools.groupby(rows, key=itemgetter(0, 1)):
            moments, numbers = array("q"), array("q")
            for _, _, at, row in asked:
                moments.append(at)
                numbers.append(row)
            yield _Group(path, moments, numbers)

    def _recorded(self, groups: list[_Group]) -> list[Recorded]:
        found = []
        for group in groups:
            try:
                event = self._event(group.rows[0])
                question = DecisionInput.parse(event["input"])
            except (InputError, msgspec.ValidationError):
                question = None
            if question is None or question.point != _POINTS[group.path]:
                self.skipped["malformed"] += len(group.rows)
                continue
            found.append(Recorded(question, event, group.moments, group.rows))
        return found

    def _event(self, row: int) -> dict[str, Any]:
        position, number = row >> _ITEM & (1 << _POSITION - _ITEM) - 1, row & (1 << _ITEM) - 1
        whole: dict[str, Any] = _value.decode(self._events(row >> _POSITION)[position])
        return item_of(whole, number - 1) if number else whole

    def _events(self, chunk: int) -> list[msgspec.Raw]:
        if self._unpacked[0] != chunk:
            self._unpacked = (chunk, raw_list(self._text(chunk)))
        return self._unpacked[1]

    def _text(self, chunk: int) -> str:
        query = sa.select(decision_chunks.c.events).where(decision_chunks.c.id == chunk)
        return gunzip(self._connection.execute(query).scalar_one(), MAX_PLAIN).decode()


def _order(place: tuple[int, int | None]) -> tuple[int, int]:
    position, item = place
    return position, -1 if item is None else item


def _questions(raw: msgspec.Raw, items: Sequence[int | None]) -> Iterator[_Asked | str]:
    """Yield each question that an event holds, or the reason why it cannot be asked again."""
    try:
        event = _event.decode(raw)
    except msgspec.ValidationError:
        yield from itertools.repeat("malformed", len(items))
        return
    # A masked answer is asked for anew; a masked question is another question.
    if _is_masked(event.erased) or _is_masked(event.masked):
        yield from itertools.repeat("masked input", len(items))
        return
    asked: list[msgspec.Raw] | None = None
    for item in items:
        if item is None:
            yield _question(event.input, word(event.path))
            continue
        if asked is None:
            asked = batch(event.input)
        yield _question(asked[item], _ITEMS) if item < min(len(asked), _MAX_ITEMS) else "no input"


def _question(raw: msgspec.Raw, logged: object) -> _Asked | str:
    """Return one question; an item of a batch, which any query may ask, says itself for what."""
    is_item = logged is _ITEMS
    if not is_item and not (isinstance(logged, str) and logged in _POINTS):
        return "unknown point"
    try:
        question = _whole.decode(raw)
        at = microseconds(parse_rfc3339(question.at))
    except (msgspec.ValidationError, InputError):
        return "malformed" if memoryview(raw).tobytes().startswith(b"{") else "no input"
    path = f"dataspine/main/{question.point.replace('.', '_')}"
    if path not in _POINTS:
        return "unknown point"
    if not is_item and path != logged:
        return "malformed"
    # Equal values have equal text, because OPA writes the keys of objects in order.
    digest = hashlib.blake2b(question.facts, digest_size=16)
    digest.update(b"\0")
    digest.update(question.row)
    return path, digest.digest(), at


def _is_masked(paths: msgspec.Raw) -> bool:
    return b'"/input' in memoryview(paths).tobytes()


def microseconds(at: datetime) -> int:
    """Return an aware time as microseconds since 1970."""
    return (at - _EPOCH) // _TICK


def moment(at: int) -> datetime:
    """Return the time of microseconds since 1970, in UTC."""
    return _EPOCH + at * _TICK
