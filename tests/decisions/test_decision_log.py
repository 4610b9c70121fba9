import gzip
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.store import Place, only_sqlite

from dataspine.core.database import Database
from dataspine.core.errors import InputError, NotFoundError, UnavailableError
from dataspine.decisions.decision_log import MAX_PLAIN, DecisionLog, Ingested, LogSearch

AT = datetime(2026, 11, 23, 9, 0, 1, tzinfo=UTC)


@pytest.fixture
def database(migrated: Place) -> Iterator[Database]:
    database = Database(migrated)
    yield database
    database.close()


@pytest.fixture
def log(database: Database) -> DecisionLog:
    return DecisionLog(database, lambda: AT)


def _event(decision_id: object, **changes: Any) -> dict[str, Any]:
    return {
        "decision_id": decision_id,
        "timestamp": "2026-11-23T09:00:00.123456789Z",
        "path": "dataspine/main/schema_publish",
        "input": {"facts": {"name": "orders"}},
        "result": {"allow": True, "violations": []},
        "bundles": {"main": {"revision": "r1"}},
        **changes,
    }


def _packed(document: object) -> bytes:
    return gzip.compress(json.dumps(document).encode())


def _ids(log: DecisionLog, **search: Any) -> list[str]:
    return [each.decision_id for each in log.search(LogSearch(**search))]


def test_an_event_is_stored_once_however_often_it_is_sent(
    log: DecisionLog, database: Database
) -> None:
    assert log.ingest([_event("d1"), _event("d2"), _event("d1")]) == Ingested(2, 1, 0, -1)
    assert log.ingest([_event("d2"), _event("d3")]) == Ingested(1, 1, 0, -1)
    assert log.ingest([_event("d3")]) == Ingested(0, 1, 0, -1)
    assert log.ingest([]) == Ingested(0, 0, 0)
    assert log.get("d1") == log.get("d1#3") == _event("d1")
    with pytest.raises(NotFoundError):
        log.get("d9")
    with database.read() as connection:  # a chunk that brought nothing new is not kept
        assert connection.exec_driver_sql("SELECT count(*) FROM decision_chunks").scalar() == 2


def test_an_event_without_an_id_or_a_time_is_refused_and_the_others_kept(log: DecisionLog) -> None:
    odd: list[Any] = [
        {},
        _event("x" * 300),
        _event(7),
        _event("a", timestamp=None),
        _event("b", timestamp="2026-13-01T00:00:00Z"),
        _event("c", timestamp="2026-11-23T09:00:00.1x3Z"),
        _event("d", timestamp="2026-11-23T09:00:00+01:00"),
    ]
    assert log.ingest([*odd, _event("good")]) == Ingested(1, 0, len(odd), -1)
    assert _ids(log) == ["good"]


def test_a_look_at_the_state_of_opa_is_no_decision(log: DecisionLog) -> None:
    look = _event("look", path="system/bundles/main")
    assert log.ingest([look, _event("d1")]) == Ingested(1, 0, 0, -1)
    assert log.ingest([look]) == Ingested(0, 0, 0)
    with pytest.raises(NotFoundError):
        log.get("look")


def test_items_of_a_batch_are_found_one_by_one(log: DecisionLog) -> None:
    denied = {"allow": False, "violations": [{"code": "pii.x"}, 5, {"code": "pii.y"}]}
    asked = [{"facts": {"name": "a"}}, {"facts": {"name": "b"}}]
    batch = _event("d1", input=asked, result=[{"allow": True}, denied, {}])
    assert log.ingest([batch]) == Ingested(3, 0, 0, -1)
    assert log.ingest([batch]) == Ingested(0, 3, 0, -1)
    assert _ids(log, code="pii.y") == _ids(log, name="b") == ["d1#1"]
    assert log.get("d1#1") == {
        **batch,
        "decision_id": "d1#1",
        "input": asked[1],
        "result": denied,
    }
    assert [each.allow for each in log.search()] == [None, False, True]


def test_the_log_is_searched_newest_first(log: DecisionLog) -> None:
    log.ingest(
        [
            _event("d1", timestamp="2026-11-23T09:00:00Z"),
            _event("d2", timestamp="2026-11-23T09:00:00.5Z", path="dataspine/main/row_replicate"),
            _event(
                "d3",
                timestamp="2026-11-23T09:00:00.45Z",
                bundles={"main": {"revision": "r2"}},
                input={"facts": {"name": "eu"}},
                result={"allow": False, "violations": [{"code": "pii.untagged_field"}]},
            ),
        ],
        instance="pod-1",
    )
    half = AT - timedelta(seconds=0.5)
    assert _ids(log) == ["d2", "d3", "d1"]
    assert _ids(log, point="row.replicate") == ["d2"]
    assert _ids(log, code="pii.untagged_field") == ["d3"]
    assert _ids(log, code="pii.untagged") == []
    assert _ids(log, revision="r2") == _ids(log, name="eu") == ["d3"]
    assert _ids(log, since=half) == ["d2"]
    assert _ids(log, until=half) == ["d3", "d1"]
    last = log.search(limit=1)[0]
    assert last.instance == "pod-1"
    assert _ids(log, before=(last.at, last.decision_id)) == ["d3", "d1"]
    with pytest.raises(InputError):
        log.search(limit=0)


def test_a_clock_that_differs_is_noted(log: DecisionLog) -> None:
    ahead = _event("ahead", timestamp="2026-11-23T09:10:01Z")
    behind = _event("behind", timestamp="2026-11-23T08:00:01Z")
    assert log.ingest([ahead, behind, _event("right")]).clock == 600
    assert {e.decision_id: e.clock for e in log.search(LogSearch(clock=True))} == {
        "ahead": 600,
        "behind": -3600,
    }


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"[]",
        gzip.compress(b"[]", mtime=0)[:-3],
        gzip.compress(b"[", mtime=0),
        gzip.compress(b"{}", mtime=0),
        gzip.compress(b"\xff", mtime=0),
        _packed([{}] * 100_001),
        _packed([_event("d1"), 7]),
        gzip.compress(b"[" * 100_000 + b"]" * 100_000, mtime=0),
    ],
    ids=["empty", "plain", "cut", "syntax", "object", "bytes", "many", "number", "deep"],
)
def test_a_malformed_chunk_is_refused(log: DecisionLog, packed: bytes) -> None:
    with pytest.raises(InputError):
        log.ingest_chunk(packed)


def _batch(decision_id: str, items: int, item: object) -> dict[str, Any]:
    return _event(decision_id, result=[item] * items)


def test_a_batch_over_the_limit_is_refused_and_the_rest_of_its_chunk_kept(log: DecisionLog) -> None:
    batches = [_batch("d1", 1_500, {"allow": True}), _batch("d2", 1_500, {"allow": True})]
    packed = gzip.compress(json.dumps([*batches, _event("d3")]).encode(), 9)
    assert len(packed) < 1_000 - 2
    assert log.ingest_chunk(packed) == Ingested(1_501, 0, 1, -1)
    assert (log.refused, _ids(log, name="orders")) == (1, ["d3"])


def test_a_larger_chunk_may_bring_more_decisions(log: DecisionLog) -> None:
    items = [
        {"allow": True, "at": hashlib.sha256(bytes([n % 256])).hexdigest()} for n in range(256)
    ]
    padding = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(1_000)]
    chunk = [_event("d1", result=items * 12, padding=padding)]
    assert log.ingest(chunk) == Ingested(3_072, 0, 0, -1)


@pytest.mark.parametrize(
    "change",
    [
        {"result": [1] * 1_000_000},
        {"result": [{"allow": True}, 7]},
        {"result": [{}] * 1_000_000},
    ],
    ids=["numbers", "one number", "objects"],
)
def test_what_is_no_batch_of_ours_is_refused_and_counted(
    log: DecisionLog, database: Database, change: dict[str, Any]
) -> None:
    assert log.ingest([_event("odd", **change)]) == Ingested(0, 0, 1)
    assert (log.ingest([_event("good")]), log.refused) == (Ingested(1, 0, 0, -1), 1)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM decision_chunks").scalar() == 1


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(b"[" + b" " * MAX_PLAIN + b"]", mtime=0),
        gzip.compress(b'[{"input":' + b"[" * 5_000 + b"]" * 5_000 + b"}]", mtime=0),
    ],
    ids=["size", "depth"],
)
def test_a_chunk_that_opa_could_send_is_never_asked_for_again(
    log: DecisionLog, packed: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert log.ingest_chunk(packed, instance="pod-1") == Ingested(0, 0, 1)
    assert (log.refused, caplog.messages) == (1, ["decision log of 'pod-1': 1 refused"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


# The machine may be busy, and the database is real.
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(events=st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(_event(""), JSON))))
def test_odd_events_are_kept_or_refused_and_never_a_fault(
    tmp_path_factory: pytest.TempPathFactory, events: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "odd.db"
    database = Database(path)
    if not path.exists():
        database.migrate()
    found = DecisionLog(database, lambda: AT).ingest(events)
    assert found.refused <= len(events)
    database.close()


@only_sqlite
def test_a_full_disk_keeps_nothing_of_a_chunk_and_asks_for_it_again(
    log: DecisionLog, database: Database
) -> None:
    log.ingest([_event("before")])
    with database.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        # SQLite answers as on a full disk when the file may not grow.
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").close()
    many = [_event(f"d{number}", padding=str(number) * 50) for number in range(5_000)]
    with pytest.raises(UnavailableError, match="full"):
        log.ingest(many)
    assert _ids(log) == ["before"]
    with database.read() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000").close()
    assert log.ingest(many).stored == 5_000
