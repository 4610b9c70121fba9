"""A channel only goes forward, and everyone who waits hears of it."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.bundles.sample import PRODUCT, inputs

from dataspine.bundles import (
    Active,
    BundleStore,
    ChannelSource,
    Content,
    Publication,
    SigningKey,
    Trust,
    build,
    sign,
    verify,
)
from dataspine.core.database import Database
from dataspine.core.errors import ConflictError, InputError, IntegrityError, NotFoundError

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def store(database: Database, tmp_path: Path) -> BundleStore:
    return BundleStore(database, tmp_path / "bundles", clock=lambda: NOW)


class Publisher:
    """Reserves, signs and publishes on one channel."""

    def __init__(self, store: BundleStore, key: SigningKey, trust: Trust) -> None:
        self.store, self.key, self.trust = store, key, trust

    def __call__(self, content: Content, channel: str = "dev") -> bytes:
        sequence = self.store.reserve(channel, content.digest)
        data = sign(content, self.key, sequence=sequence, channel=channel)
        self.store.publish(data, self.trust, channel=channel, actor="ada")
        return data


@pytest.fixture
def publish(store: BundleStore, key: SigningKey, trust: Trust) -> Publisher:
    return Publisher(store, key, trust)


@pytest.fixture
def second() -> Content:
    return build(PRODUCT, inputs(config={"rules": {"pii": "warn"}}))


def test_an_empty_channel_serves_nothing(store: BundleStore) -> None:
    assert store.active("dev") is None
    assert store.current("dev") is None
    assert store.wait("dev", None, 0) is None
    assert store.history("dev") == []


def test_a_channel_serves_what_was_published_last(
    store: BundleStore, publish: Publisher, content: Content, second: Content
) -> None:
    first, last = publish(content), publish(second)
    assert store.active("dev") == Active(second.revision, 2, second.digest)
    found = store.current("dev")
    assert found is not None
    assert found[1] == last
    assert store.bytes_of("dev", 1) == first == store.find(content.revision, 1)
    assert store.find(content.revision, 2) is None
    assert store.history("dev") == [
        Publication(second.revision, 2, second.digest, "ada", "2026-11-24T00:00:00Z", False),
        Publication(content.revision, 1, content.digest, "ada", "2026-11-24T00:00:00Z", True),
    ]
    assert store.active("stable") is None


def test_a_reservation_is_idempotent_until_it_is_published(
    store: BundleStore, publish: Publisher, content: Content, second: Content
) -> None:
    assert store.reserve("dev", content.digest) == store.reserve("dev", content.digest) == 1
    assert store.reserve("dev", second.digest) == 2
    assert store.reserve("dev", content.digest) == 1
    publish(second)
    assert store.reserve("dev", content.digest) == 3  # 1 is older now
    assert store.reserve("dev", second.digest) == 4


def test_an_older_or_unreserved_sequence_is_refused_and_changes_nothing(
    store: BundleStore, publish: Publisher, content: Content, second: Content
) -> None:
    old, new = publish(content), publish(second)
    before = store.current("dev")
    with pytest.raises(IntegrityError) as older:
        store.publish(old, publish.trust, channel="dev", actor="eve")
    assert older.value.code == "bundle.older"
    unreserved = sign(content, publish.key, sequence=9, channel="dev")
    with pytest.raises(ConflictError) as conflict:
        store.publish(unreserved, publish.trust, channel="dev", actor="eve")
    assert conflict.value.code == "bundle.not_reserved"
    again = sign(second, publish.key, sequence=2, channel="dev")
    assert store.publish(again, publish.trust, channel="dev", actor="eve").sequence == 2
    assert store.current("dev") == before
    assert store.bytes_of("dev", 2) == new


def test_a_channels_name_is_never_a_path(store: BundleStore, content: Content) -> None:
    for name in ("../dev", "Dev", "", "a/b"):
        with pytest.raises(InputError) as caught:
            store.reserve(name, content.digest)
        assert caught.value.code == "bundle.bad_channel"


def test_a_rollback_is_the_old_content_with_a_new_sequence(
    store: BundleStore, publish: Publisher, content: Content, second: Content
) -> None:
    publish(content)
    publish(second)
    options = {"reason": "it denies all", "key": publish.key, "trust": publish.trust}
    back = store.rollback("dev", to=1, actor="ada", **options)  # type: ignore[arg-type]
    assert store.active("dev") == Active(content.revision, 3, content.digest)
    assert verify(back.data, publish.trust).metadata["order"] == {
        "channel": "dev",
        "from": second.revision,
        "to": content.revision,
        "sequence": 3,
        "actor": "ada",
        "reason": "it denies all",
    }
    for sequence in (3, 4, 0):
        with pytest.raises(NotFoundError):
            store.rollback("dev", to=sequence, actor="ada", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("same_process", [True, False], ids=["same process", "other process"])
def test_who_waits_hears_of_a_publication(
    database: Database,
    store: BundleStore,
    publish: Publisher,
    second: Content,
    content: Content,
    same_process: bool,
) -> None:
    publish(content)
    folder = store._folder
    reader = store if same_process else BundleStore(Database(database.path), folder)
    source = ChannelSource(reader, "dev", publish.trust)
    known = source.current()
    assert known is not None
    heard: list[tuple[str, bytes] | None] = []
    thread = threading.Thread(target=lambda: heard.append(source.wait(known[0], 20)))
    thread.start()
    data = publish(second)
    thread.join(20)
    assert heard == [source.current()]
    assert heard[0] is not None
    assert heard[0][1] == data
    assert source.wait(heard[0][0], 0) is None
    assert set(source.keys()) == {"release-1"}
    reader._database.close()
