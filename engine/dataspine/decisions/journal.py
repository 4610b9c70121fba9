"""The journal of every asked decision.

It is kept apart from what OPA logged on purpose: the audit compares both.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from dataspine.core.clock import parse_rfc3339
from dataspine.core.database import Database
from dataspine.core.errors import InputError, NotFoundError
from dataspine.core.identity import Principal
from dataspine.core.statement import offset_of
from dataspine.decisions._tables import flushes, journal
from dataspine.decisions.decision import Decision

__all__ = [
    "Entry",
    "Journal",
    "Search",
    "count_rows",
    "release",
    "require_short_name",
    "visible",
]

_MAX_PAGE = 1_000
_MAX_ID = 200
MAX_NAME = 512
_INSERT = journal.insert()


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal row: the decision, who asked about what, and whether it was acted on.

    ``verified`` says that a token proved who asked; of rows from before there were such, nothing.
    ``class_count`` is how many rows the decision stands for; ``number`` grows with every entry.
    """

    number: int
    decision: Decision
    name: str
    actor: str
    verified: bool
    acted: bool
    class_count: int
    opa_decision_id: str | None

    def document(self) -> dict[str, Any]:
        """Return the JSON object that search and evidence show."""
        return {
            **self.decision.document(),
            "number": self.number,
            "name": self.name,
            "actor": self.actor,
            "verified": self.verified,
            "acted": self.acted,
            "class_count": self.class_count,
            "opa_decision_id": self.opa_decision_id,
            "codes": list(self.decision.codes),
            "result_digest": self.decision.result_digest,
        }


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for in the journal; None means any. ``since`` is inside, ``until`` outside.

    ``revision`` may be the beginning of one, as people see it. ``before`` continues a page: only
    entries with a smaller number.
    """

    point: str | None = None
    name: str | None = None
    allow: bool | None = None
    code: str | None = None
    revision: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None

    @classmethod
    def of(
        cls,
        told: Mapping[str, str | None],
        *,
        where: str,
        allow: bool | None = None,
        before: int | None = None,
    ) -> Search:
        """Build a search from texts as people write them; ``where`` is before a name in errors."""
        texts: dict[str, Any] = {name: text or None for name, text in told.items()}
        for name in ("since", "until"):
            if texts.get(name):
                texts[name] = parse_rfc3339(texts[name], where=f"{where}{name}")
        return cls(**texts, allow=allow, before=before)


@dataclass(slots=True)
class _Group:
    """Rows that share a transaction; ``failure`` is why it did not commit."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    is_over: bool = False
    failure: BaseException | None = None


class Journal:
    """Reads and writes the journal of one database.

    Entries of a flush are invisible until the flush is applied.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()  # of what is waiting
        self._waiting = _Group()
        self._turn = threading.Lock()  # to write a group

    def record(  # noqa: PLR0913 - one row, one call
        self,
        connection: sa.Connection,
        decision: Decision,
        *,
        name: str,
        actor: Principal,
        acted: bool,
        class_count: int = 1,
        flush_id: int | None = None,
    ) -> int:
        """Write one entry in the caller's transaction and return its number."""
        row = _row(decision, name=name, actor=actor)
        changed = {"acted": acted, "class_count": class_count, "flush_id": flush_id}
        key = connection.execute(_INSERT, {**row, **changed}).inserted_primary_key
        return int(key[0]) if key is not None else 0

    def record_class(
        self,
        connection: sa.Connection,
        decision: Decision,
        *,
        name: str,
        actor: Principal,
        flush_id: int,
    ) -> None:
        """Write the entry of a class of rows that a flush uses first; ``count_rows`` counts them.

        An entry that ``release`` gave back, because an earlier flush was discarded, is taken again.
        """
        known = journal.c.decision_id == decision.decision_id
        if connection.scalar(sa.select(journal.c.id).where(known)) is None:
            self.record(
                connection,
                decision,
                name=name,
                actor=actor,
                acted=True,
                class_count=0,
                flush_id=flush_id,
            )
        else:
            connection.execute(
                journal.update()
                .where(known, journal.c.flush_id.is_(None))
                .values(acted=True, flush_id=flush_id)
            )

    def note(self, decision: Decision, *, name: str, actor: Principal, acted: bool = False) -> None:
        """Write the entry of a decision that no fact is written with; return when it is durable.

        Callers that wait at the same time share one transaction. When it fails, each gets its
        error: ``UnavailableError`` as of ``Database.begin``.
        """
        row = {**_row(decision, name=name, actor=actor), "acted": acted, "class_count": 1}
        with self._lock:
            group = self._waiting
            group.rows.append(row)
        # Whoever comes first while a group is written leads the next one.
        with self._turn:
            if not group.is_over:
                self._write(group)
        if group.failure is not None:
            raise group.failure

    def _write(self, group: _Group) -> None:
        with self._lock:
            self._waiting = _Group()
        group.is_over = True
        try:
            with self._database.begin("journal") as connection:
                connection.execute(_INSERT, group.rows)
        except BaseException as error:
            group.failure = error

    def get(self, decision_id: str) -> Entry:
        """Return one entry, or raise ``NotFoundError``."""
        with self._database.read() as connection:
            found = connection.execute(
                sa.select(journal).where(journal.c.decision_id == decision_id, visible(connection))
            ).one_or_none()
        if found is None:
            raise NotFoundError(
                "no such decision", where=decision_id[:_MAX_ID], remedy="See `spine audit`."
            )
        return _entry(found)

    def list(self, search: Search | None = None, *, limit: int = 100) -> Sequence[Entry]:
        """Return the newest entries first, at most ``limit`` (1 to 1000)."""
        if not 1 <= limit <= _MAX_PAGE:
            raise InputError(
                f"limit must be 1 to {_MAX_PAGE}", where="limit", remedy="Ask for less."
            )
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(journal)
                .where(visible(connection), *_conditions(search or Search()))
                .order_by(journal.c.id.desc())
                .limit(limit)
            ).all()
        return [_entry(row) for row in rows]

    def counts(self, search: Search | None = None) -> dict[str, dict[str, int]]:
        """Return how many decisions each point allowed and denied."""
        counted: dict[str, dict[str, int]] = {}
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(journal.c.point, journal.c.allow, sa.func.count())
                .where(visible(connection), *_conditions(search or Search()))
                .group_by(journal.c.point, journal.c.allow)
                .order_by(journal.c.point)
            )
            for point, allow, number in rows:
                counts = counted.setdefault(point, {"allow": 0, "deny": 0})
                counts["allow" if allow else "deny"] = number
        return counted


def count_rows(connection: sa.Connection, classes: Mapping[str, int]) -> None:
    """Add rows to the entries of their classes: decision id → rows of a flush just applied."""
    if classes:
        added = [{"of": each, "rows": rows} for each, rows in classes.items()]
        connection.execute(
            journal.update()
            .where(journal.c.decision_id == sa.bindparam("of"))
            .values(class_count=journal.c.class_count + sa.bindparam("rows")),
            added,
        )


def release(connection: sa.Connection, flush_ids: Sequence[int]) -> None:
    """Give back the entries of discarded flushes: they were asked, and not acted on."""
    connection.execute(
        journal.update().where(journal.c.flush_id.in_(flush_ids)).values(acted=False, flush_id=None)
    )


def visible(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Return the condition of entries whose flush, if they are of one, was applied."""
    if not sa.inspect(connection).has_table(flushes.name):
        return journal.c.flush_id.is_(None)  # no flush was ever applied
    applied = sa.select(flushes.c.id).where(flushes.c.state == "applied")
    return sa.or_(journal.c.flush_id.is_(None), journal.c.flush_id.in_(applied))


def _conditions(search: Search) -> list[sa.ColumnElement[bool]]:
    conditions = [
        column == value
        for column, value in (
            (journal.c.point, search.point),
            (journal.c.name, search.name),
            (journal.c.allow, search.allow),
        )
        if value is not None
    ]
    if search.revision is not None:
        conditions.append(journal.c.revision.startswith(search.revision, autoescape=True))
    if search.code is not None:
        codes = sa.cast(journal.c.codes, sa.Text)
        conditions.append(offset_of(codes, json.dumps(search.code)) > 0)
    if search.since is not None:
        conditions.append(journal.c.at >= _sortable(search.since))
    if search.until is not None:
        conditions.append(journal.c.at < _sortable(search.until))
    if search.before is not None:
        conditions.append(journal.c.id < search.before)
    return conditions


def require_short_name(name: str, *, where: str) -> str:
    """Return a name that may be journalled; raise ``InputError`` for one over 512 bytes."""
    if len(name.encode()) > MAX_NAME:
        raise InputError(
            f"a name of more than {MAX_NAME} bytes",
            where=where,
            remedy="Choose a shorter one.",
            code="input.name_too_long",
        )
    return name


def _row(decision: Decision, *, name: str, actor: Principal) -> dict[str, Any]:
    policy = decision.policy
    return {
        "decision_id": decision.decision_id,
        "point": decision.point,
        "name": require_short_name(name, where="name"),
        "actor": actor.name,
        "verified": actor.verified,
        "at": _sortable(decision.evaluated_at),
        "input_digest": decision.input_digest,
        "result_digest": decision.result_digest,
        "allow": decision.allow,
        "codes": list(decision.codes),
        "revision": None if policy is None else policy.revision,
        "sequence": None if policy is None else policy.sequence,
        # Items of a batch share one entry of OPA's log: `<id>#<n>`.
        "opa_decision_id": None if policy is None else decision.decision_id.partition("#")[0],
        "document": decision.document(),
    }


def _entry(row: sa.Row[Any]) -> Entry:
    return Entry(
        number=row.id,
        decision=Decision.of(row.document),
        name=row.name,
        actor=row.actor,
        verified=row.verified,
        acted=row.acted,
        class_count=row.class_count,
        opa_decision_id=row.opa_decision_id,
    )


def _sortable(at: datetime) -> str:
    # Always six digits, so that text order is time order.
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
