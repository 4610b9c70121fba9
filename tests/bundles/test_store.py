"""A channel only goes forward, and everyone who waits hears of it."""

import threading
from datetime import UTC, datetime

import pytest
from tests.bundles.sample import PRODUCT, inputs

from dataspine.bundles import (
    Active,
    BundleStore,
    ChannelSource,
    Content,
    Origin,
    Publication,
    Publisher,
    Results,
    SigningKey,
    Trust,
    build,
    sign,
    verify,
)
from dataspine.bundles._tables import archives
from dataspine.core.database import Database
from dataspine.core.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
)

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def store(database: Database) -> BundleStore:
    return BundleStore(database, clock=lambda: NOW)


class Publish:
    """Reserves, signs and publishes on one channel."""

    def __init__(self, store: BundleStore, key: SigningKey, trust: Trust) -> None:
        self.store, self.key, self.trust = store, key, trust

    def __call__(self, content: Content, channel: str = "dev") -> bytes:
        sequence = self.store.reserve(channel, content.digest)
        data = sign(content, self.key, sequence=sequence, channel=channel)
        self.store.publish(data, self.trust, channel=channel, actor="ada")
        return data


@pytest.fixture
def publish(store: BundleStore, key: SigningKey, trust: Trust) -> Publish:
    return Publish(store, key, trust)


@pytest.fixture
def second() -> Content:
    return build(PRODUCT, inputs(config={"rules": {"pii": "warn"}}))


def _published(content: Content, sequence: int, *, bootstrap: bool) -> Publication:
    return Publication(
        channel="dev",
        revision=content.revision,
        sequence=sequence,
        digest=content.digest,
        actor="ada",
        published_at="2026-11-24T00:00:00Z",
        key_id="release-1",
        origin=Origin(),
        rollback=None,
        bootstrap=bootstrap,
    )


def test_an_empty_channel_serves_nothing(store: BundleStore) -> None:
    assert store.active("dev") is None
    assert store.current("dev") is None
    assert store.wait("dev", None, 0) is None
    assert store.history("dev") == []


def test_a_channel_serves_what_was_published_last(
    store: BundleStore, publish: Publish, content: Content, second: Content
) -> None:
    first, last = publish(content), publish(second)
    assert store.active("dev") == Active(second.revision, 2, second.digest)
    found = store.current("dev")
    assert found is not None
    assert found[1] == last
    assert store.bytes_of("dev", 1) == first == store.find(content.revision, 1)
    assert store.find(content.revision, 2) is None
    assert store.history("dev") == [
        _published(second, 2, bootstrap=False),
        _published(content, 1, bootstrap=True),
    ]
    assert store.active("stable") is None


def test_a_reservation_is_idempotent_until_it_is_published(
    store: BundleStore, publish: Publish, content: Content, second: Content
) -> None:
    assert store.reserve("dev", content.digest) == store.reserve("dev", content.digest) == 1
    assert store.reserve("dev", second.digest) == 2
    assert store.reserve("dev", content.digest) == 1
    publish(second)
    assert store.reserve("dev", content.digest) == 3  # 1 is older now
    assert store.reserve("dev", second.digest) == 4


def test_an_older_or_unreserved_sequence_is_refused_and_changes_nothing(
    store: BundleStore, publish: Publish, content: Content, second: Content
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
    store: BundleStore, publish: Publish, content: Content, second: Content
) -> None:
    publish(content)
    publish(second)
    ada = Publisher(publish.key, publish.trust, "ada")
    back = store.rollback("dev", to=1, reason="it denies all", publisher=ada)
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
            store.rollback("dev", to=sequence, reason="it denies all", publisher=ada)


@pytest.mark.parametrize("same_process", [True, False], ids=["same process", "other process"])
def test_who_waits_hears_of_a_publication(
    database: Database,
    store: BundleStore,
    publish: Publish,
    second: Content,
    content: Content,
    same_process: bool,
) -> None:
    publish(content)
    reader = store if same_process else BundleStore(Database(database.place))
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
    assert [key.id for key in source.trusted_keys()] == ["release-1"]
    reader._database.close()


def test_who_reserved_before_another_published_is_told(
    store: BundleStore, publish: Publish, content: Content, second: Content
) -> None:
    mine, other = store.reserve("dev", content.digest), store.reserve("dev", second.digest)
    late = sign(content, publish.key, sequence=mine, channel="dev")
    overtaken = sign(second, publish.key, sequence=other, channel="dev")
    store.publish(late, publish.trust, channel="dev", actor="ada")
    with pytest.raises(ConflictError) as caught:
        store.publish(overtaken, publish.trust, channel="dev", actor="bea")
    assert (caught.value.code, caught.value.where) == ("bundle.superseded", "dev")
    # Having looked, bea asks again: what she signed already counts now.
    assert store.reserve("dev", second.digest) == other
    assert store.publish(overtaken, publish.trust, channel="dev", actor="bea").sequence == other


def test_every_content_stays_retrievable_by_its_digest_with_its_origin(
    store: BundleStore, key: SigningKey, trust: Trust, content: Content, second: Content
) -> None:
    ada = Publisher(key, trust, "ada")
    origin = Origin("ada", "c0ffee", dirty=False, tests=Results(12, 1), coverage=97.5)
    store.release(content, "stable", ada, origin=origin)
    store.release(second, "stable", ada)
    assert store.content(content.digest) == content
    assert store.content(second.digest) == second
    found = store.publications(content.digest)
    assert [(p.channel, p.sequence, p.origin) for p in found] == [("stable", 1, origin)]
    assert found[0].document()["tests"] == {"passed": 12, "failed": 1}
    assert verify(store.bytes_of("stable", 1), trust).origin == origin
    assert verify(store.bytes_of("stable", 2), trust).origin == Origin()
    with pytest.raises(NotFoundError):
        store.content(f"sha256:{'0' * 64}")


def test_a_content_is_taken_from_the_channel_that_still_holds_it_whole(
    store: BundleStore, database: Database, key: SigningKey, trust: Trust, content: Content
) -> None:
    ada = Publisher(key, trust, "ada")
    store.release(content, "dev", ada)
    store.release(content, "stable", ada)
    with database.begin() as connection:
        stable = archives.c.channel == "stable"
        connection.execute(archives.update().where(stable).values(data=b"gone"))
    assert store.content(content.digest) == content
    with database.begin() as connection:
        connection.execute(archives.delete().where(~stable))
    with pytest.raises(IntegrityError) as caught:
        store.content(content.digest)
    assert caught.value.code == "bundle.tampered"


def test_a_content_moves_to_the_next_channel_signed_again_for_it(
    store: BundleStore, key: SigningKey, trust: Trust, content: Content
) -> None:
    ada = Publisher(key, trust, "ada")
    first = store.release(content, "dev", ada, origin=Origin(author="ada"))
    moved = store.release(
        store.content(first.digest), "stable", Publisher(key, trust, "bea"), origin=first.origin
    )
    assert (moved.revision, moved.channel, moved.origin.author) == (
        first.revision,
        "stable",
        "ada",
    )
    assert store.channels() == ["dev", "stable"]
    assert [(p.channel, p.actor) for p in store.publications(first.digest)] == [
        ("dev", "ada"),
        ("stable", "bea"),
    ]


@pytest.mark.parametrize(
    "wrong", [{"to": "other"}, {"from": "other"}, {"sequence": 2}, {"channel": "canary"}]
)
def test_an_order_for_another_bundle_is_refused(
    store: BundleStore,
    publish: Publish,
    content: Content,
    second: Content,
    wrong: dict[str, object],
) -> None:
    publish(content)
    publish(second)
    sequence = store.reserve("dev", content.digest)
    order = {
        "channel": "dev",
        "from": second.revision,
        "to": content.revision,
        "sequence": sequence,
        "actor": "ada",
        "reason": "x",
        **wrong,
    }
    data = sign(content, publish.key, sequence=sequence, channel="dev", order=order)
    with pytest.raises(IntegrityError) as caught:
        store.publish(data, publish.trust, channel="dev", actor="eve")
    assert caught.value.code == "bundle.bad_order"
    assert store.active("dev") == Active(second.revision, 2, second.digest)


def test_what_is_recorded_with_a_publication_is_there_with_it_or_not_at_all(
    store: BundleStore, key: SigningKey, trust: Trust, content: Content
) -> None:
    def fail(*_: object) -> None:
        raise UnavailableError("the journal is full")

    ada = Publisher(key, trust, "ada")
    with pytest.raises(UnavailableError):
        store.release(content, "stable", ada, recorded=fail)
    assert store.active("stable") is None
    seen: list[Publication] = []
    store.release(content, "stable", ada, recorded=lambda _, made, __: seen.append(made))
    assert seen == store.history("stable")
    assert seen[0].bootstrap


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001])
def test_a_rollback_without_a_reason_is_refused(
    store: BundleStore, publish: Publish, content: Content, second: Content, reason: str
) -> None:
    publish(content)
    publish(second)
    ada = Publisher(publish.key, publish.trust, "ada")
    with pytest.raises(InputError):
        store.rollback("dev", to=1, reason=reason, publisher=ada)


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:" + "A" * 64, "md5:" + "0" * 64])
def test_a_sequence_is_reserved_for_a_digest_alone(store: BundleStore, digest: str) -> None:
    with pytest.raises(InputError):
        store.reserve("dev", digest)
