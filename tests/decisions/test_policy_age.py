"""The age of the policy: told, remembered, asked again, and closed when nobody knows."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.decisions.bundle_source import MemorySource

from dataspine.core.errors import UnavailableError
from dataspine.decisions.opa_client import OpaClient
from dataspine.decisions.policy_age import PolicyAge, age_told, seconds_of
from dataspine.decisions.supervisor import OpaChild


class Away(MemorySource):
    """A store that can become unreadable."""

    away = False

    def current(self) -> tuple[str, bytes] | None:
        if self.away:
            raise UnavailableError("the store is away")
        return super().current()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("6h", 21_600), ("2d", 172_800), (None, None)],
)
def test_limit_is_read_with_its_unit(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("told", "limit", "stale"),
    [
        (5.0, 60.0, False),
        (61.0, 60.0, True),
        (None, 60.0, True),
        (1e9, None, False),
        (None, None, False),
    ],
    ids=["young", "old", "unknown", "no limit", "unknown, no limit"],
)
def test_old_or_unknown_is_stale_where_there_is_a_limit(
    told: float | None, limit: float | None, stale: bool
) -> None:
    assert PolicyAge(lambda: told, limit).is_stale() is stale


def test_it_is_asked_again_only_when_what_was_told_is_too_old() -> None:
    answers = [10.0, 70.0, 0.0]
    age = PolicyAge(lambda: answers.pop(0), 60.0)
    assert [age.is_stale() for _ in range(3)] == [False, False, False]
    assert len(answers) == 2
    age._told = (age._told[0] - 60, 10.0) if age._told else None  # a minute passes
    assert [age.is_stale(), age.is_stale()] == [True, False]


def test_stale_policy_is_warned_of_once_and_refused(caplog: pytest.LogCaptureFixture) -> None:
    age = PolicyAge(lambda: 99.0, 60.0)
    for _ in range(3):
        with pytest.raises(UnavailableError) as caught:
            age.require_fresh()
    assert caught.value.code == "engine.stale_policy"
    assert [r.getMessage() for r in caplog.records] == [
        "the policy's age is 99 s, the limit is 60 s"
    ]


def _until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.05)


@pytest.fixture
def source() -> Away:
    return Away()


@pytest.fixture
def child(opa: Path, source: Away) -> Iterator[OpaChild]:
    source.publish("1.0.0+sha256.aa", 4)
    with OpaChild(opa, source) as running:
        running.wait_active("1.0.0+sha256.aa")
        yield running


@pytest.mark.integration
def test_childs_policy_ages_only_while_the_store_cannot_be_read(
    child: OpaChild, source: Away
) -> None:
    source.away = True
    _until(lambda: (child.policy_age or 0) > 4)  # longer than any pause between two polls
    source.away = False
    _until(lambda: (child.policy_age or 9) < 3)


@pytest.mark.integration
def test_configured_opa_tells_when_its_bundle_server_last_answered(
    child: OpaChild, opa: Path, tmp_path: Path
) -> None:
    client = OpaClient(child.client.address)
    now = datetime.now(UTC)
    told = age_told(client, now + timedelta(hours=1))
    assert told is not None
    assert 3_600 <= told < 3_700
    client.close()
    assert age_told(OpaClient(f"unix://{tmp_path}/none"), now) is None


@pytest.mark.integration
def test_opa_without_its_status_plugin_tells_nothing(opa: Path, tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/s"
    bare = subprocess.Popen(
        [str(opa), "run", "--server", "--disable-telemetry", "--addr", address],
        stderr=subprocess.DEVNULL,
    )
    client = OpaClient(address)
    try:
        _until(client.healthy)
        assert age_told(client, datetime.now(UTC)) is None
    finally:
        client.close()
        bare.terminate()
        bare.wait()
