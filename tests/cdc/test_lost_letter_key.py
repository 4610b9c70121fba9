"""Another key than the one that the dead letters were hashed with finds no older row."""

from pathlib import Path

import pytest
from tests.cdc.test_erasure import stream
from tests.cdc.world import HASHER, Log, World

from dataspine.cdc.dead_letter import DeadLetterStore
from dataspine.cdc.key_hash import KeyHasher
from dataspine.core.errors import InputError

OTHER = KeyHasher(b"o" * 32)


def test_parked_rows_are_opened_with_their_own_key_alone(tmp_path: Path) -> None:
    world, log = World(tmp_path / "w"), Log()
    log.transaction(("put", "1", "BR", "parked at both sinks"))
    stream(world, log)
    world.close()
    # With it a deletion of row 1 would not be held against what is parked, and a replay bring it
    # back.
    with pytest.raises(InputError) as caught:
        DeadLetterStore(world.dead.path, "r", OTHER)
    error = caught.value
    assert (error.code, error.where) == ("cdc.letter_key", str(world.dead.path))
    assert "destroy" in error.remedy
    for hasher in (None, HASHER):  # who only looks needs none
        store = DeadLetterStore(world.dead.path, "r", hasher)
        assert store.counts() == {"parked": 2}
        store.close()


def test_removed_file_takes_any_key(tmp_path: Path) -> None:
    path = tmp_path / "eu-west-1.db"
    DeadLetterStore(path, "r").close()
    DeadLetterStore(path, "r", HASHER).close()
    with pytest.raises(InputError, match="another key"):
        DeadLetterStore(path, "r", OTHER)
    path.unlink()
    DeadLetterStore(path, "r", OTHER).close()
