import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from tests.store import Place

from dataspine.core.database import Database
from dataspine.core.errors import InputError, NotFoundError, UnavailableError
from dataspine.core.identity import Principal
from dataspine.decisions._tables import journal
from dataspine.decisions.decision import Decision, DecisionInput, Policy
from dataspine.decisions.journal import Journal, Search

AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ANA, BEN = Principal("ana"), Principal("ben", verified=True)
QUESTION = DecisionInput("schema.publish", AT, {"name": "orders"})
DENIED = Decision.refused(QUESTION, "contract.owner_missing", "m", "r", AT)
DENIED = replace(DENIED, decision_id="d1", policy=Policy("r1", 1))
ALLOWED = replace(
    DENIED, decision_id="d2#4", allow=True, violations=(), evaluated_at=AT + timedelta(seconds=0.5)
)
ROUTE = replace(
    DENIED,
    decision_id="d3",
    point="route.deploy",
    policy=None,
    evaluated_at=AT + timedelta(seconds=1),
)


@pytest.fixture
def database(place: Place) -> Iterator[Database]:
    database = Database(place)
    with database.begin() as connection:
        journal.create(connection)
    yield database
    database.close()


@pytest.fixture
def kept(database: Database) -> Journal:
    kept = Journal(database)
    with database.begin() as connection:
        kept.record(connection, DENIED, name="orders", actor=ANA, acted=False)
        kept.record(
            connection,
            ALLOWED,
            name="orders",
            actor=BEN,
            acted=True,
            class_count=7,
        )
        kept.record(connection, ROUTE, name="eu", actor=ANA, acted=False)
    return kept


def test_an_entry_is_the_decision_and_what_became_of_it(kept: Journal) -> None:
    assert kept.get("d2#4").document() == {
        **ALLOWED.document(),
        "number": 2,
        "name": "orders",
        "actor": "ben",
        "verified": True,
        "acted": True,
        "class_count": 7,
        "opa_decision_id": "d2",
        "codes": [],
        "result_digest": ALLOWED.result_digest,
    }
    assert kept.get("d3").opa_decision_id is None
    with pytest.raises(NotFoundError):
        kept.get("d2")


@pytest.mark.parametrize(
    ("search", "found"),
    [
        (Search(), ["d3", "d2#4", "d1"]),
        (Search(point="schema.publish"), ["d2#4", "d1"]),
        (Search(name="eu"), ["d3"]),
        (Search(allow=True), ["d2#4"]),
        (Search(code="contract.owner_missing"), ["d3", "d1"]),
        (Search(code="contract"), []),
        (Search(revision="r1", before=2), ["d1"]),
        (Search(since=AT + timedelta(seconds=0.5)), ["d3", "d2#4"]),
        (Search(until=AT + timedelta(seconds=0.5)), ["d1"]),
    ],
)
def test_the_journal_is_searched_newest_first(
    kept: Journal, search: Search, found: list[str]
) -> None:
    assert [each.decision.decision_id for each in kept.list(search)] == found


def test_a_page_has_a_limit(kept: Journal) -> None:
    assert [each.number for each in kept.list(limit=2)] == [3, 2]
    with pytest.raises(InputError):
        kept.list(limit=0)
    with pytest.raises(InputError):
        kept.list(limit=1001)


def test_decisions_are_counted_per_point(kept: Journal) -> None:
    assert kept.counts() == {
        "route.deploy": {"allow": 0, "deny": 1},
        "schema.publish": {"allow": 1, "deny": 1},
    }
    assert kept.counts(Search(name="eu")) == {"route.deploy": {"allow": 0, "deny": 1}}


def test_what_a_transaction_lost_was_never_journalled(database: Database, kept: Journal) -> None:
    with database.begin() as connection:
        row = replace(DENIED, decision_id="lost")
        kept.record(connection, row, name="n", actor=Principal("a"), acted=False)
        connection.rollback()
    assert len(kept.list()) == 3


def test_entries_of_a_flush_appear_when_it_is_applied(database: Database, kept: Journal) -> None:
    with database.begin() as connection:
        row = replace(ALLOWED, decision_id="row", point="row.replicate")
        kept.record(connection, row, name="r", actor=Principal("a"), acted=True, flush_id=5)
    assert len(kept.list()) == 3
    with database.begin() as connection:
        connection.execute(sa.text("CREATE TABLE cdc_flushes (id INTEGER PRIMARY KEY, state TEXT)"))
        connection.execute(sa.text("INSERT INTO cdc_flushes VALUES (5, 'pending')"))
    assert "row.replicate" not in kept.counts()
    with pytest.raises(NotFoundError):
        kept.get("row")
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE cdc_flushes SET state = 'applied'"))
    assert kept.get("row").decision == row
    assert kept.counts()["row.replicate"] == {"allow": 1, "deny": 0}


class _Slow(Database):
    """A database whose first transaction waits until it is let go; counts transactions."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.begun = 0
        self.entered, self.gate = threading.Event(), threading.Event()
        self.failure: Exception | None = None

    @contextlib.contextmanager
    def begin(self, of: str | None = None) -> Iterator[sa.Connection]:
        self.begun += 1
        self.entered.set()
        assert self.gate.wait(10)
        if self.begun > 1 and self.failure is not None:
            raise self.failure
        with super().begin(of) as connection:
            yield connection


def _noted(slow: _Slow, kept: Journal, decisions: Sequence[Decision]) -> list[BaseException | None]:
    """Note the first alone and the others while it is being written; return each one's error."""
    with ThreadPoolExecutor(len(decisions)) as pool:

        def note(decision: Decision) -> Future[None]:
            return pool.submit(kept.note, decision, name="n", actor=Principal("a"))

        first = note(decisions[0])
        assert slow.entered.wait(10)
        others = [note(decision) for decision in decisions[1:]]
        while len(kept._waiting.rows) < len(others):
            time.sleep(0.001)
        slow.gate.set()
        return [each.exception(10) for each in (first, *others)]


@pytest.fixture
def slow(database: Database) -> Iterator[_Slow]:
    slow = _Slow(database.place)
    yield slow
    slow.close()


def test_callers_that_wait_together_share_a_transaction(slow: _Slow) -> None:
    kept = Journal(slow)
    decisions = [replace(ALLOWED, decision_id=f"d{number}") for number in range(6)]

    assert _noted(slow, kept, decisions) == [None] * 6
    assert slow.begun == 2
    assert {each.decision.decision_id for each in kept.list()} == {f"d{n}" for n in range(6)}
    assert [(each.acted, each.class_count) for each in kept.list()] == [(False, 1)] * 6


def test_a_failure_reaches_every_caller_and_no_later_one(slow: _Slow) -> None:
    kept = Journal(slow)
    slow.failure = UnavailableError("full", where="spine.db", remedy="")
    decisions = [replace(ALLOWED, decision_id=f"d{number}") for number in range(4)]

    assert _noted(slow, kept, decisions) == [None, *[slow.failure] * 3]
    slow.failure = None
    kept.note(replace(ALLOWED, decision_id="later"), name="n", actor=Principal("a"))
    assert [each.decision.decision_id for each in kept.list()] == ["later", "d0"]


def test_a_name_of_more_than_512_bytes_is_not_journalled(database: Database, kept: Journal) -> None:
    with pytest.raises(InputError) as refused:
        kept.note(DENIED, name="x" * 513, actor=ANA)
    assert refused.value.document() == {
        "code": "input.name_too_long",
        "problem": "a name of more than 512 bytes",
        "where": "name",
        "remedy": "Choose a shorter one.",
        "retry": False,
    }
    assert len(kept.list()) == 3
    kept.note(replace(DENIED, decision_id="d4"), name="x" * 512, actor=ANA)
    assert len(kept.list()) == 4
