import threading

import pytest

from dataspine.bundles import BundleStore, Content, SigningKey, Trust, sign
from dataspine.core.errors import ConflictError, IntegrityError


def _publish(store: BundleStore, content: Content, key: SigningKey, trust: Trust) -> int:
    sequence = store.reserve("dev", content.digest)
    data = sign(content, key, sequence=sequence, channel="dev")
    return store.publish(data, trust, channel="dev", actor="ada").sequence


def test_sequence_only_grows(
    store: BundleStore, content: Content, key: SigningKey, trust: Trust
) -> None:
    assert [_publish(store, content, key, trust) for _ in range(3)] == [1, 2, 3]
    assert [active.sequence for active in store.history("dev")] == [3, 2, 1]


def test_reserving_the_same_content_again_keeps_its_sequence(store: BundleStore) -> None:
    assert [store.reserve("dev", digest) for digest in ("a", "a", "b", "b")] == [1, 1, 2, 2]


def test_older_bundle_is_refused(
    store: BundleStore, content: Content, key: SigningKey, trust: Trust
) -> None:
    old = sign(content, key, sequence=1, channel="dev")
    _publish(store, content, key, trust)
    _publish(store, content, key, trust)
    with pytest.raises(IntegrityError) as caught:
        store.publish(old, trust, channel="dev", actor="eve")
    assert caught.value.code == "bundle.older"


def test_sequence_that_was_not_reserved_is_refused(
    store: BundleStore, content: Content, key: SigningKey, trust: Trust
) -> None:
    data = sign(content, key, sequence=9, channel="dev")
    with pytest.raises(ConflictError) as caught:
        store.publish(data, trust, channel="dev", actor="eve")
    assert caught.value.code == "bundle.not_reserved"
    assert store.active("dev") is None


def test_waiter_gets_the_next_bundle(
    store: BundleStore, content: Content, key: SigningKey, trust: Trust
) -> None:
    _publish(store, content, key, trust)
    first = store.current("dev")
    assert first is not None
    publisher = threading.Thread(target=_publish, args=(store, content, key, trust))
    publisher.start()
    second = store.wait("dev", first[0], 20)
    publisher.join()
    assert second == store.current("dev")
    assert second is not None
    assert second[0] != first[0]
