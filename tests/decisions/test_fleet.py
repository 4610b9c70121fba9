from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.bundles.sample import PRODUCT, inputs
from tests.store import Place, only_sqlite

from dataspine.bundles import BundleStore, SigningKey, Trust, build, generate_key, sign
from dataspine.core.database import Database, metadata
from dataspine.core.errors import InputError, NotFoundError
from dataspine.core.workspace import FleetSettings
from dataspine.decisions._tables import discovery, fleet_instances
from dataspine.decisions.fleet import Fleet
from dataspine.decisions.fleet_tokens import Caller, TokenError

AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
SETTINGS = FleetSettings(hold_after=2, stale_after=60, max_unauthenticated=3)
ONE, TWO, CLAIM = Caller("one", True), Caller("two", True), Caller("claim", False)


class Time:
    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def database(migrated: Place) -> Iterator[Database]:
    database = Database(migrated)
    yield database
    database.close()


@pytest.fixture
def store(database: Database, time: Time) -> BundleStore:
    return BundleStore(database, clock=time)


@pytest.fixture
def fleet(database: Database, store: BundleStore, time: Time) -> Fleet:
    return Fleet(database, store, SETTINGS, time)


@pytest.fixture
def publish(store: BundleStore, tmp_path: Path) -> Callable[[str], str]:
    generate_key(tmp_path / "key.pem")
    key = SigningKey.load(tmp_path / "key.pem", id="k")
    trust = Trust((key.trusted(channels=("stable", "canary")),))

    def publish(version: str, channel: str = "stable") -> str:
        content = build(PRODUCT, inputs(version=version))
        sequence = store.reserve(channel, content.digest)
        data = sign(content, key, sequence=sequence, channel=channel)
        return store.publish(data, trust, channel=channel, actor="ada").revision

    return publish


def _row(fleet: Fleet, name: str = "one") -> dict[str, Any]:
    return next(each for each in fleet.instances() if each["name"] == name)


def _report(revision: str | None = None, **bundle: Any) -> dict[str, Any]:
    return {"labels": {"app": "x"}, "bundles": {"main": {"active_revision": revision, **bundle}}}


def _refuse(fleet: Fleet, caller: Caller, known: str | None = None) -> None:
    fleet.offer(caller, "stable", known)
    fleet.report(caller, _report(code="bundle_error", message="no"))


def test_a_token_names_its_instance_until_it_is_replaced_or_ended(
    fleet: Fleet, database: Database
) -> None:
    first = fleet.tokens.issue("one", actor="ada")
    assert fleet.tokens.identify(f"Bearer {first}", "other") == ONE
    second = fleet.tokens.issue("one", actor="ada")
    assert fleet.tokens.identify(f"bearer {second}", None) == ONE
    fleet.tokens.issue("two", actor="ada")
    fleet.tokens.revoke("one")
    for wrong in (f"Bearer {first}", f"Bearer {second}", second, "Bearer ", "Basic x"):
        with pytest.raises(TokenError):
            fleet.tokens.identify(wrong, None)
    assert fleet.tokens.identify(None, "claim") == CLAIM
    with pytest.raises(NotFoundError):
        fleet.tokens.revoke("one")
    with database.read() as connection:
        kept = [connection.execute(table.select()).all() for table in metadata.sorted_tables]
    assert first not in str(kept)


@pytest.mark.parametrize("name", [" ", "a b", "a\n", "é", "x" * 129, "-a"])
def test_an_odd_name_is_refused(fleet: Fleet, name: str) -> None:
    with pytest.raises(InputError):
        fleet.tokens.issue(name, actor="ada")
    with pytest.raises(InputError):
        fleet.tokens.identify(None, name)


def test_a_bundle_is_offered_until_it_is_there(
    fleet: Fleet, publish: Callable[[str], str], store: BundleStore
) -> None:
    with pytest.raises(NotFoundError):
        fleet.offer(ONE, "stable", None)
    revision = publish("1")
    offer = fleet.offer(ONE, "stable", None)
    assert (offer.etag, offer.data) == store.current("stable")
    assert fleet.offer(ONE, "stable", f'"{offer.etag}"').data is None
    fleet.report(ONE, _report(revision))
    row = _row(fleet)
    assert (row["channel"], row["active_etag"], row["revision"], row["sequence"]) == (
        "stable",
        offer.etag,
        revision,
        1,
    )
    assert (row["alarm"], row["stale"], row["labels"]) == (None, False, {"app": "x"})


def test_what_one_refuses_is_held_from_it_alone(
    fleet: Fleet, publish: Callable[[str], str]
) -> None:
    publish("1")
    good = fleet.offer(ONE, "stable", None).etag
    fleet.offer(ONE, "stable", good)
    publish("2")
    _refuse(fleet, ONE, good)
    bad = _row(fleet)["failed_etag"]
    assert fleet.offer(ONE, "stable", good) == fleet.offer(ONE, "stable", good)
    assert fleet.offer(ONE, "stable", good).data is None
    # Without anything good it gets the bundle before, and another gets the newest.
    assert fleet.offer(ONE, "stable", None).etag == good
    assert fleet.offer(TWO, "stable", None).etag == bad
    assert fleet.holds.every() == []


@pytest.mark.parametrize(
    "changed",
    [{"labels": {"id": "2"}}, {"discovery": {"active_revision": "new keys"}}],
    ids=["started again", "other keys"],
)
def test_what_it_refused_is_offered_again_to_another_process(
    fleet: Fleet, publish: Callable[[str], str], changed: dict[str, Any]
) -> None:
    publish("1")
    good = fleet.offer(ONE, "stable", None).etag
    publish("2")
    _refuse(fleet, ONE, good)
    assert fleet.offer(ONE, "stable", good).data is None
    fleet.report(ONE, {"labels": {"id": ""}, **changed})
    assert fleet.offer(ONE, "stable", good).data is not None
    _refuse(fleet, TWO, good)
    assert fleet.holds.every() == []


def test_a_channel_is_held_after_several_known_ones_refuse(
    fleet: Fleet, publish: Callable[[str], str]
) -> None:
    publish("1")
    good = fleet.offer(TWO, "stable", None).etag
    publish("2")
    for caller in (ONE, ONE, CLAIM, Caller("claim-2", False), Caller("claim-3", False)):
        _refuse(fleet, caller)
    late = Caller("late", True)
    bad = fleet.offer(late, "stable", None).etag
    assert (fleet.holds.every(), bad != good) == ([], True)
    _refuse(fleet, TWO)
    (hold,) = fleet.holds.every()
    assert (hold["etag"], hold["sequence"], hold["released_at"]) == (bad, 2, None)
    assert [each["instance"] for each in hold["failures"]] == ["one", "two"]
    assert fleet.offer(late, "stable", good).data is None
    # Who has it already is not sent back.
    assert fleet.offer(late, "stable", bad).data is None
    fleet.holds.release("stable", 2, actor="ada", reason="disk was full")
    assert fleet.offer(ONE, "stable", good).etag == bad
    (hold,) = fleet.holds.every()
    assert (hold["released_by"], hold["reason"], hold["failures"]) == ("ada", "disk was full", [])
    for sequence, reason in ((9, "x"), (2, " ")):
        with pytest.raises(InputError):
            fleet.holds.release("stable", sequence, actor="ada", reason=reason)


def test_a_download_that_fails_is_no_refusal(fleet: Fleet, publish: Callable[[str], str]) -> None:
    publish("1")
    fleet.offer(ONE, "stable", None)
    for failed in ({"http_code": 503}, {"message": "request failed: refused"}):
        fleet.report(ONE, _report(code="bundle_error", **failed))
    assert _row(fleet)["failed_etag"] is None


def test_going_back_without_an_order_raises_an_alarm(
    fleet: Fleet, publish: Callable[[str], str], store: BundleStore, tmp_path: Path
) -> None:
    first, second = publish("1"), publish("2")
    fleet.offer(ONE, "stable", None)
    fleet.report(ONE, _report(second))
    fleet.report(ONE, _report(first))
    assert _row(fleet)["alarm"] == "it went back from sequence 2 to 1 without an order"
    fleet.report(ONE, _report("forged"))
    assert "never published" in _row(fleet)["alarm"]
    fleet.report(ONE, _report(second))
    assert _row(fleet)["alarm"] is None
    # The old content published again is an order, with a new sequence.
    assert publish("1") == first
    fleet.report(ONE, _report(first))
    assert (_row(fleet)["alarm"], _row(fleet)["sequence"]) == (None, 3)


def test_an_older_discovery_bundle_raises_an_alarm_until_the_newest_is_followed(
    fleet: Fleet, publish: Callable[[str], str], database: Database
) -> None:
    report = _report(publish("1"))
    fleet.offer(ONE, "stable", None)
    with database.begin() as connection:
        rows = [
            {"digest": digest, "published_at": at, "actor": "ada", "bundle": b""}
            for digest, at in (("first", "2026-01-01"), ("second", "2026-01-02"))
        ]
        connection.execute(discovery.insert().values(rows))
    alarms = []
    followed = ("first", "second", "first", "first", "second", "forged", "second", None)
    for digest in followed:
        fleet.report(ONE, {**report, "discovery": {"active_revision": digest}})
        alarms.append(_row(fleet)["alarm"])
    older = "it went back to an older discovery bundle"
    forged = "it follows a discovery bundle that was never published"
    assert alarms == [None, None, older, older, None, forged, None, None]


def test_another_channel_is_no_way_back(fleet: Fleet, publish: Callable[..., str]) -> None:
    publish("1")
    second = publish("2")
    fleet.offer(ONE, "stable", None)
    fleet.report(ONE, _report(second))
    _refuse(fleet, ONE)
    revision = publish("1", "canary")
    assert fleet.offer(ONE, "canary", None).data is not None
    fleet.report(ONE, _report(revision))
    row = _row(fleet)
    assert (row["channel"], row["sequence"], row["alarm"]) == ("canary", 1, None)
    assert row["failed_etag"] is None


def test_who_is_silent_or_behind_for_too_long_is_stale(
    fleet: Fleet, publish: Callable[[str], str], time: Time
) -> None:
    first = publish("1")
    fleet.offer(ONE, "stable", None)
    fleet.report(ONE, _report(first))
    time.now += timedelta(seconds=61)
    assert _row(fleet)["stale"]
    fleet.report(ONE, _report(first))
    assert not _row(fleet)["stale"]
    publish("2")
    fleet.report(ONE, _report(first))
    assert not _row(fleet)["stale"]
    time.now += timedelta(seconds=61)
    fleet.report(ONE, _report(first))
    assert _row(fleet)["stale"]


def test_forged_and_endless_reports_take_a_bounded_place(
    fleet: Fleet, database: Database, publish: Callable[[str], str], time: Time
) -> None:
    publish("1")
    fleet.offer(ONE, "stable", None)
    endless = {
        "labels": {f"l{n}": "x" * 9_000 for n in range(500)},
        "bundles": {
            "main": {"active_revision": "r" * 90_000, "code": "e", "message": "m" * 90_000}
        },
        "metrics": {"prometheus": "y" * 90_000},
    }
    fleet.report(ONE, endless)
    for number in range(30):
        time.now += timedelta(seconds=1)
        fleet.report(Caller(f"forged-{number}", False), endless)
    names = [each["name"] for each in fleet.instances()]
    assert sorted(names) == ["forged-27", "forged-28", "forged-29", "one"]
    with database.read() as connection:
        row = connection.execute(fleet_instances.select()).mappings().first()
    assert len(str(dict(row or {}))) < 20_000


@only_sqlite
def test_a_report_that_says_nothing_new_is_not_written_again(
    fleet: Fleet, database: Database, publish: Callable[[str], str], time: Time
) -> None:
    revision = publish("1")
    fleet.offer(ONE, "stable", None)
    fleet.report(ONE, _report(revision))
    time.now += timedelta(seconds=1)
    with database.read() as connection:
        before = connection.exec_driver_sql("PRAGMA data_version").scalar()
        for number in range(20):
            fleet.report(ONE, {**_report(revision, last_request=str(number)), "metrics": number})
        assert connection.exec_driver_sql("PRAGMA data_version").scalar() == before
    assert _row(fleet)["reported_at"] == "2026-11-24T09:00:00Z"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=5,
)
BUNDLE = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("active_revision", "code", "message", "errors", "http_code"), JSON)
)


@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(labels=JSON, bundles=JSON | st.fixed_dictionaries({"main": BUNDLE | JSON}))
def test_an_odd_report_is_never_a_fault(fleet: Fleet, labels: Any, bundles: Any) -> None:
    fleet.report(ONE, {"labels": labels, "bundles": bundles})
    assert [each["name"] for each in fleet.instances()] == ["one"]


def test_a_report_without_any_name_is_refused(fleet: Fleet) -> None:
    fleet.report(Caller("", False), {"labels": {"id": "uuid-1"}})
    with pytest.raises(InputError):
        fleet.report(Caller("", False), {"labels": {"id": "a b"}})
    assert [each["name"] for each in fleet.instances()] == ["uuid-1"]


def test_a_clock_that_differs_is_shown(fleet: Fleet) -> None:
    fleet.note_clock(ONE, 600)
    assert _row(fleet)["clock"] == 600
    fleet.note_clock(ONE, -2)
    assert _row(fleet)["clock"] is None
