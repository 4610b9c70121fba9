"""Recorded questions are read without unpacking the decision log again and again."""

from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa
from tests.store import Place

from dataspine.core.database import Database
from dataspine.decisions.decision_log import DecisionLog
from dataspine.decisions.recorded import Recording

CHUNKS = 4
QUESTIONS = 40


class _Counted(Recording):
    """Counts how often each chunk is unpacked."""

    def __init__(self, connection: sa.Connection) -> None:
        super().__init__(connection, None, None)
        self.unpacked: Counter[int] = Counter()

    def _text(self, chunk: int) -> str:
        self.unpacked[chunk] += 1
        return super()._text(chunk)


@pytest.fixture
def database(migrated: Place) -> Database:
    return Database(migrated)


def _event(chunk: int, number: int) -> dict[str, Any]:
    at = f"2026-11-0{1 + chunk}T00:00:00Z"
    return {
        "decision_id": f"{chunk}-{number}",
        "path": "dataspine/main/schema_publish",
        "timestamp": at,
        "input": {"point": "schema.publish", "at": at, "facts": {"name": f"s{number}"}},
    }


def test_each_chunk_is_unpacked_to_be_read_and_once_for_its_first_questions(
    database: Database,
) -> None:
    log = DecisionLog(database)
    for chunk in range(CHUNKS):
        # Each chunk repeats what was asked before, and asks for something new.
        numbers = range((chunk + 1) * QUESTIONS)
        assert log.ingest([_event(chunk, number) for number in numbers]).stored == len(numbers)
    asked: dict[str, list[str]] = {}
    with database.read() as connection, _Counted(connection) as recording:
        assert set(recording.unpacked.values()) == {1}
        batches = list(recording.batches())
        assert set(recording.unpacked.values()) == {2}
        for recorded in (each for batch in batches for each in batch):
            ids = [recording.decision_id(row) for row in recorded.rows]
            assert recorded.event["decision_id"] == ids[0]
            asked[recorded.question.facts["name"]] = ids
    assert asked == {
        f"s{number}": [f"{chunk}-{number}" for chunk in range(number // QUESTIONS, CHUNKS)]
        for number in range(CHUNKS * QUESTIONS)
    }


def test_items_of_a_batch_are_questions_of_their_own(database: Database) -> None:
    single = _event(0, 0)
    items = [
        single["input"],
        {**single["input"], "point": "route.deploy"},
        {**single["input"], "point": "no.point"},
        7,
        {**single["input"], "at": "yesterday"},
    ]
    results = [{"allow": number % 2 == 0} for number in range(len(items) + 1)]
    batch = {**single, "decision_id": "b", "path": None, "input": items, "result": results}
    odd = [
        {**single, "decision_id": "p", "path": ["dataspine/main/schema_publish"]},
        {**single, "decision_id": "i", "input": {**single["input"], "more": 1}},
        {**single, "decision_id": "o", "erased": 7, "input": items[1]},
    ]
    masked = {**batch, "decision_id": "m", "erased": ["/input/0/facts/name"]}
    log = DecisionLog(database)
    assert log.ingest([single, batch, masked, *odd]).stored == 4 + 2 * len(results)
    with database.read() as connection, Recording(connection, None, None) as recording:
        found = [each for batch in recording.batches() for each in batch]
        ids = {
            each.question.point: [recording.decision_id(row) for row in each.rows] for each in found
        }
    assert ids == {"schema.publish": ["0-0", "b#0"], "route.deploy": ["b#1"]}
    assert [each.event["result"] for each in found if len(each.rows) == 1] == [{"allow": False}]
    assert recording.skipped == {
        "masked input": len(results),
        "unknown point": 2,
        "malformed": 3,
        "no input": 2,
    }
