"""One approval of a step for each actor, and whether a token proved who that is."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from dataspine.bundles import Approval, Approvals, Step
from dataspine.bundles.approvals import MAX_APPROVERS
from dataspine.core.database import Database
from dataspine.core.errors import InputError
from dataspine.core.identity import Principal

NOW = datetime(2026, 11, 24, tzinfo=UTC)
STEP = Step("stable", 1, "sha256:aa")
CLAIMED, PROVED = Principal("grace"), Principal("grace", verified=True)


@pytest.fixture
def approvals(database: Database) -> Approvals:
    seconds = count()
    return Approvals(database, clock=lambda: NOW + timedelta(seconds=next(seconds)))


def _approval(second: int, *, verified: bool, reason: str | None = None) -> Approval:
    return Approval(STEP, "grace", verified, f"2026-11-24T00:00:0{second}Z", reason)


def test_whoever_approved_already_did_so_then(approvals: Approvals) -> None:
    for principal in (CLAIMED, PROVED):
        first = approvals.add(STEP, actor=principal)
        assert approvals.add(STEP, actor=principal, reason="again") == first
        assert approvals.of(STEP) == [first]


def test_a_proved_name_takes_the_place_of_a_claimed_one(approvals: Approvals) -> None:
    assert approvals.add(STEP, actor=CLAIMED) == _approval(0, verified=False)
    proved = _approval(1, verified=True, reason="seen")
    assert approvals.add(STEP, actor=PROVED, reason="seen") == proved
    assert approvals.add(STEP, actor=CLAIMED) == proved
    assert approvals.of(STEP) == [proved]


def test_a_claimed_name_is_proved_though_no_more_count(approvals: Approvals) -> None:
    approvals.add(STEP, actor=CLAIMED)
    for number in range(MAX_APPROVERS - 1):
        approvals.add(STEP, actor=Principal(f"local:{number}@m"))
    assert approvals.add(STEP, actor=PROVED).verified
    with pytest.raises(InputError):
        approvals.add(STEP, actor=Principal("bo", verified=True))
