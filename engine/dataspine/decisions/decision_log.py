"""What OPA says that it decided: uploaded chunks, kept as they came, and an index of decisions."""

from __future__ import annotations

import codecs
import gzip
import itertools
import json
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec
import sqlalchemy as sa

from dataspine.core.canonical import parse_json
from dataspine.core.clock import Clock, parse_rfc3339, rfc3339, utc_now
from dataspine.core.database import Database
from dataspine.core.errors import InputError, NotFoundError
from dataspine.core.statement import add_new, offset_of
from dataspine.decisions._opa_event import (
    NOTHING,
    Answer,
    Event,
    Several,
    batch,
    item_of,
    raw_list,
    word,
)
from dataspine.decisions._tables import decision_chunks, decision_log
from dataspine.decisions.control import gunzip

__all__ = ["MAX_PLAIN", "DecisionLog", "Ingested", "LogSearch", "Logged", "conditions"]

_logger = logging.getLogger(__name__)

MAX_PLAIN = 32 * 1_048_576
MAX_EVENTS = 100_000
# Decisions of one chunk, in events and in items of batches together.
MAX_DECISIONS = 100_000
# A chunk may have as many as this, and one more for each of its bytes: a row of the index takes 300
# bytes or so, and gzip makes a thousand equal items of a few.
FREE_DECISIONS = 2_000
# Of an answer's violations, to index their codes.
_MAX_VIOLATIONS = 1_048_576
_STEP = 1_048_576
_MAX_PAGE = 1_000
_MAX_ID = 200
_MAX_TEXT = 1_000
_MAIN = "dataspine/main/"

_COLUMNS = tuple(column.name for column in decision_log.c)
# More than any clock is wrong by, and what a column holds.
_MAX_AHEAD = 2**31 - 1


class _Revision(msgspec.Struct, frozen=True):
    revision: msgspec.Raw = NOTHING


class _Bundles(msgspec.Struct, frozen=True):
    main: _Revision = _Revision()


class _Facts(msgspec.Struct, frozen=True):
    name: msgspec.Raw = NOTHING


class _Question(msgspec.Struct, frozen=True):
    facts: _Facts = _Facts()


T = TypeVar("T")


class _Reader(Generic[T]):
    """Reads values of one shape; what has another shape is as good as missing."""

    def __init__(self, shape: type[T]) -> None:
        self._missing = shape()
        self._decode = msgspec.json.Decoder(shape).decode

    def __call__(self, raw: msgspec.Raw) -> T:
        try:
            return self._decode(raw)
        except (msgspec.ValidationError, UnicodeDecodeError):
            return self._missing


_events, _answers = Several(Event), Several(Answer)
_answer, _question = _Reader(Answer), _Reader(_Question)
_bundles = _Reader(_Bundles)
_violations = msgspec.json.Decoder(list[Any]).decode


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of uploaded events: new ones, known ones, and ones without an id or a time.

    ``clock`` is by how many seconds the newest event is ahead of our clock (negative: behind).
    """

    stored: int
    duplicates: int
    refused: int
    clock: int | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """One decision of the log; ``clock`` is a difference of clocks in seconds, when it is large.

    ``instance`` names the authenticated sidecar that sent it, or the one that it claims to be.
    """

    decision_id: str
    at: str
    path: str
    allow: bool | None
    codes: tuple[str, ...]
    revision: str | None
    name: str | None
    clock: int | None
    instance: str
    received_at: str

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        names = self.__dataclass_fields__
        return {name: getattr(self, name) for name in names} | {"codes": list(self.codes)}


@dataclass(frozen=True, slots=True)
class LogSearch:
    """What to look for; None means any. ``since`` is inside, ``until`` outside.

    ``before`` continues a page: only decisions before this time and, at it, before this id.
    """

    point: str | None = None
    code: str | None = None
    revision: str | None = None
    name: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    clock: bool = False
    before: tuple[str, str] | None = None


class DecisionLog:
    """Keeps the events that OPA uploaded, each once.

    ``tolerance`` is how many seconds a clock may differ before the difference is noted.
    """

    def __init__(
        self, database: Database, clock: Clock = utc_now, *, tolerance: float = 30
    ) -> None:
        self._database = database
        self._clock = clock
        self._tolerance = tolerance
        self._counting = threading.Lock()
        self.refused = 0  # events, since this process began

    def ingest(self, events: Sequence[Mapping[str, Any]], *, instance: str = "") -> Ingested:
        """Store events durably; OPA sends a chunk again when an upload failed."""
        text = json.dumps(events, ensure_ascii=False, separators=(",", ":"))
        return self.ingest_chunk(gzip.compress(text.encode(), 6, mtime=0), instance=instance)

    def ingest_chunk(self, packed: bytes, *, instance: str = "") -> Ingested:
        """Store a chunk as OPA sends it: a JSON array of events, gzipped.

        What is over a limit is refused, counted and logged, and the rest of the chunk is kept: OPA
        would send the whole again for ever, and nothing that came after it. Raises ``InputError``
        for what OPA never sends, and ``UnavailableError`` when the chunk cannot be kept: then
        nothing of it is.
        """
        try:
            index = self._index(_plain(packed), FREE_DECISIONS + len(packed))
        except InputError as error:
            if error.code != "input.too_large":
                raise
            index = _Index(refused=1)
        if index.refused:
            with self._counting:
                self.refused += index.refused
            _logger.warning("decision log of %r: %d refused", instance[:_MAX_ID], index.refused)
        stored = 0
        if index.rows:
            with self._database.begin("decision log") as connection:
                sent = instance[:_MAX_ID], rfc3339(self._clock())
                stored = _write(connection, packed, index.rows, sent)
        return Ingested(stored, len(index.rows) - stored, index.refused, index.clock)

    def get(self, decision_id: str) -> Mapping[str, Any]:
        """Return one event as OPA sent it, or raise ``NotFoundError``.

        Of a batch, the item's own input and result stand in place of all.
        """
        # What is no item of a batch was logged by the id of the whole.
        wanted = (decision_id, decision_id.partition("#")[0])
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(decision_log, decision_chunks.c.events)
                .join(decision_chunks, decision_log.c.chunk == decision_chunks.c.id)
                .where(decision_log.c.decision_id.in_(wanted))
                .order_by(sa.func.length(decision_log.c.decision_id).desc())
                .limit(1)
            ).one_or_none()
            if row is None:
                raise NotFoundError(
                    "OPA logged no such decision",
                    where=decision_id[:_MAX_ID],
                    remedy="Logs arrive within seconds; see who sends them: `spine opa status`.",
                )
        raw = bytes(raw_list(gunzip(row.events, MAX_PLAIN))[row.position])
        event: dict[str, Any] = parse_json(raw, where=decision_id, max_bytes=MAX_PLAIN)
        return event if row.item is None else item_of(event, row.item)

    def search(self, wanted: LogSearch | None = None, *, limit: int = 100) -> list[Logged]:
        """Return the newest decisions first, at most ``limit`` (1 to 1000)."""
        if not 1 <= limit <= _MAX_PAGE:
            raise InputError(
                f"limit must be 1 to {_MAX_PAGE}", where="limit", remedy="Ask for less."
            )
        columns = [c for c in decision_log.c if c.name not in {"chunk", "position", "item"}]
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(*columns, decision_chunks.c.instance, decision_chunks.c.received_at)
                .join(decision_chunks, decision_log.c.chunk == decision_chunks.c.id)
                .where(*conditions(wanted or LogSearch()))
                .order_by(decision_log.c.at.desc(), decision_log.c.decision_id.desc())
                .limit(limit)
            ).mappings()
            return [Logged(**{**row, "codes": tuple((row["codes"] or "").split())}) for row in rows]

    def _index(self, plain: bytearray, most: int) -> _Index:
        index, seconds = _Index(), _Seconds(self._clock())
        most = min(most, MAX_DECISIONS)
        for position, event in enumerate(_read(plain)):
            stamp, decision_id = word(event.timestamp) or "", word(event.decision_id)
            ahead, path = seconds.ahead(stamp), word(event.path) or ""
            if ahead is None or decision_id is None or len(decision_id) > _MAX_ID:
                index.refused += 1
                continue
            # Before the first bundle OPA drops nothing; a look at its own state is no decision.
            if path.startswith("system/"):
                continue
            decided = _decided(event, most - len(index.rows))
            if not decided:
                index.refused += 1
                continue
            clock = ahead if abs(ahead) > self._tolerance else None
            revision = word(_bundles(event.bundles).main.revision)
            of_all = _sortable(stamp), path[:_MAX_TEXT], _short(revision), clock
            index.clock = ahead if index.clock is None else max(index.clock, ahead)
            index.rows += _rows(decision_id, position, of_all, decided)
        return index


@dataclass(slots=True)
class _Index:
    """What a chunk brings: rows of the index, what was refused, how far ahead it is."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    refused: int = 0
    clock: int | None = None


class _Seconds:
    """Differences to one moment; the events of a chunk share most of their seconds."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._known: dict[str, int | None] = {}

    def ahead(self, stamp: str) -> int | None:
        if len(stamp) > 35 or not stamp.endswith("Z"):
            return None
        second = stamp[:19]
        if second not in self._known:
            self._known[second] = self._difference(second)
        fraction = stamp[20:-1]
        return self._known[second] if fraction.isdigit() or stamp[19:] == "Z" else None

    def _difference(self, second: str) -> int | None:
        try:
            ahead = round((parse_rfc3339(f"{second}Z") - self._now).total_seconds())
            return max(-_MAX_AHEAD, min(ahead, _MAX_AHEAD))
        except InputError:
            return None


def _plain(packed: bytes) -> bytearray:
    plain = gunzip(packed, MAX_PLAIN)
    decoder = codecs.getincrementaldecoder("utf-8")()
    whole = memoryview(plain)
    try:
        # In parts: one odd character would make a text of four times the size.
        for start in range(0, len(plain), _STEP):
            decoder.decode(whole[start : start + _STEP])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise InputError("not UTF-8", where="body", remedy="Send UTF-8.") from None
    return plain


def _read(plain: bytearray) -> list[Event]:
    try:
        return _events(plain, MAX_EVENTS)
    except msgspec.ValidationError:
        raise InputError(
            f"decision logs are a JSON array of at most {MAX_EVENTS} events",
            where="body",
            remedy="Send what OPA uploads, in smaller chunks.",
        ) from None
    except RecursionError:
        raise InputError(
            "an event is nested too deeply",
            where="body",
            remedy="Ask with flatter facts.",
            code="input.too_large",
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InputError("not JSON", where="body", remedy="Send what OPA sends.") from None


# The item of a batch, its answer, and the name that its facts have.
_Decided = tuple[int | None, Answer, msgspec.Raw]


def _decided(event: Event, most: int) -> list[_Decided]:
    """Return what was decided: one thing, or each of a batch; nothing when it is refused."""
    result = memoryview(event.result).tobytes()
    try:
        answers = _answers(result, most) if result.startswith(b"[") else []
    except msgspec.ValidationError:
        return []
    if not answers:
        one = (None, _answer(event.result), _question(event.input).facts.name)
        return [one] if most > 0 else []
    asked = itertools.chain(batch(event.input), itertools.repeat(NOTHING))
    names = (_question(each).facts.name for each in asked)
    return list(zip(itertools.count(), answers, names, strict=False))


def _rows(
    decision_id: str, position: int, of_all: tuple[Any, ...], decided: Iterable[_Decided]
) -> Iterator[tuple[Any, ...]]:
    at, path, revision, clock = of_all
    for item, answer, name in decided:
        yield (
            decision_id if item is None else f"{decision_id}#{item}",
            position,
            item,
            at,
            path,
            _ALLOW.get(memoryview(answer.allow).tobytes()),
            _codes(answer.violations),
            revision,
            _short(word(name)),
            clock,
        )


_ALLOW = {b"true": True, b"false": False}


def _codes(raw: msgspec.Raw) -> str | None:
    text = memoryview(raw).tobytes()
    if not text.startswith(b"[{") or len(text) > _MAX_VIOLATIONS:
        return None
    codes = [str(each.get("code")) for each in _violations(raw) if isinstance(each, dict)]
    return f" {' '.join(codes)[:_MAX_TEXT]} "


def _write(
    connection: sa.Connection,
    packed: bytes,
    rows: list[tuple[Any, ...]],
    sent: tuple[str, str],
) -> int:
    instance, received_at = sent
    values = {"instance": instance, "received_at": received_at, "events": packed}
    (chunk,) = connection.execute(_INSERT_CHUNK, values).inserted_primary_key or (0,)
    numbered = ((decision_id, chunk, *rest) for decision_id, *rest in rows)
    stored = add_new(connection, decision_log, _COLUMNS, numbered)
    if not stored:  # a chunk that was sent again
        connection.execute(sa.delete(decision_chunks).where(decision_chunks.c.id == chunk))
    return stored


_INSERT_CHUNK = sa.insert(decision_chunks)


def _sortable(stamp: str) -> str:
    # Always nine digits, so that text order is time order; OPA leaves zeros out at the end.
    return f"{stamp[:19]}.{stamp[20:-1]:0<9.9}Z"


def _short(text: str | None) -> str | None:
    return None if text is None else text[:_MAX_TEXT]


def conditions(search: LogSearch) -> list[sa.ColumnElement[bool]]:
    """Return the search as conditions on the table of decisions."""
    columns = decision_log.c
    path = None if search.point is None else _MAIN + search.point.replace(".", "_")
    equal = ((columns.path, path), (columns.revision, search.revision), (columns.name, search.name))
    conditions = [column == value for column, value in equal if value is not None]
    if search.code is not None:
        conditions.append(offset_of(columns.codes, f" {search.code} ") > 0)
    if search.since is not None:
        conditions.append(columns.at >= _moment(search.since))
    if search.until is not None:
        conditions.append(columns.at < _moment(search.until))
    if search.clock:
        conditions.append(columns.clock.is_not(None))
    if search.before is not None:
        conditions.append(sa.tuple_(columns.at, columns.decision_id) < sa.tuple_(*search.before))
    return conditions


def _moment(at: datetime) -> str:
    return _sortable(rfc3339(at))
