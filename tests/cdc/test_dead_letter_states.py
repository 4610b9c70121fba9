"""The dead-letter store as a state machine: what is in the file, and what may never go back."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.cdc.world import HASHER

from dataspine.cdc.dead_letter import WHOLE_TABLE, DeadLetterStore, Parked, Tombstone

KEYS = ("1", "2", "3")
SIZES = (1, 20, 700)  # tokens of a payload: in a page, and over several
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(KEYS),
        st.sampled_from(["park", "park", "apply", "delete", "drop"]),
        st.sampled_from(SIZES),
    ),
    min_size=1,
    max_size=4,
)


class DeadLetters(RuleBasedStateMachine):
    """One sink and table; ``parked`` is the token of each key whose newest version is parked."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = self.open()
        self.parked: dict[str, str] = {}
        self.pending: dict[str, str] | None = None
        self.lsn = self.number = 0
        self.tokens: list[str] = []
        self.newest = dict.fromkeys(KEYS, (-1, -1))

    def open(self) -> DeadLetterStore:
        return DeadLetterStore(self.folder / "eu.db", "r", HASHER)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    @precondition(lambda self: self.pending is None)
    @rule(events=EVENTS, empties=st.sampled_from([None, None, None, "truncate", "snapshot"]))
    def flush(self, events: list[tuple[str, str, int]], empties: str | None) -> None:
        """Write a flush as a lane does, each event a segment of its own."""
        self.lsn += 10
        self.pending = {} if empties else dict(self.parked)
        self.store.begin()
        if empties:
            self.bury(WHOLE_TABLE, -1 if empties == "snapshot" else 0)
        for seq, (key, outcome, size) in enumerate(events, 1):
            self.store.supersede("eu", "t", [((key,), (self.lsn, seq))], self.flush_id)
            self.pending.pop(key, None)
            if outcome == "park":
                self.park(key, seq, size)
            elif outcome != "apply":
                self.bury(HASHER("eu", "t", (key,)), seq)
        self.store.commit()

    @property
    def flush_id(self) -> str:
        return f"flush-{self.lsn}"

    def park(self, key: str, seq: int, size: int) -> None:
        self.number += 1
        token = f"<{self.number:06d}>"
        self.tokens.append(token)
        payload = f'{{"k": "{token * size}"}}'
        hashed = HASHER("eu", "t", (key,))
        self.store.park(
            [
                Parked("s", "eu", "t", hashed, self.lsn, seq, "BR", "[]", "d", payload, flush, 1)
                for flush in [self.flush_id]
            ]
        )
        assert self.pending is not None
        self.pending[key] = token

    def bury(self, key_hash: str, seq: int) -> None:
        self.store.bury([Tombstone("eu", "t", key_hash, self.lsn, seq, self.flush_id, 1)])

    @precondition(lambda self: self.pending is not None)
    @rule()
    def settle(self) -> None:
        assert self.pending is not None
        self.store.settle(self.flush_id)
        self.parked, self.pending = self.pending, None

    @precondition(lambda self: self.pending is not None)
    @rule()
    def forget(self) -> None:
        self.store.forget(self.flush_id)
        self.pending = None
        # What never was is no position.
        self.newest = {key: self.store.version("eu", "t", (key,)).position for key in KEYS}

    @rule()
    def reopen(self) -> None:
        """As after a kill: another connection; the flush is still neither settled nor forgotten."""
        self.store.close()
        self.store = self.open()
        assert self.store.pending() == (set() if self.pending is None else {self.flush_id})

    @precondition(lambda self: self.pending is None and self.parked)
    @rule(state=st.sampled_from(["discarded", "replayed"]), data=st.data())
    def give_up(self, state: str, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.parked)))
        token = self.parked.pop(key)
        letter = next(x for x in self.store.parked("eu", "t") if token in x.payload)
        if state == "discarded":
            self.store.discard(letter.id)
        else:
            self.store.begin()
            self.store.mark([letter.id], state)
            self.store.commit()

    @precondition(lambda self: self.pending is None)
    @rule(parked=st.booleans())
    def purge(self, parked: bool) -> None:
        self.store.purge(2, parked=parked)
        self.parked = {} if parked else self.parked
        # Nothing older is left that a newer one would have to keep away.
        self.newest = {key: self.store.version("eu", "t", (key,)).position for key in KEYS}

    @invariant()
    def payloads_are_those_of_parked_newest_versions(self) -> None:
        self.store.truncate_log(wait=True)
        expected = set(self.parked.values())
        files = b"".join(path.read_bytes() for path in self.folder.iterdir())
        existing = {token for token in self.tokens if token.encode() in files}
        if self.pending is not None:
            # Until it is settled both may come true; what its own rows superseded goes with it.
            assert expected | set(self.pending.values()) <= existing
        else:
            assert existing == expected
        listed = [x.payload[7:15] for x in self.store.parked("eu", "t")]
        assert sorted(listed) == sorted(expected)

    @invariant()
    def newest_never_goes_back(self) -> None:
        for key in KEYS:
            version = self.store.version("eu", "t", (key,))
            assert version.position >= self.newest[key]
            self.newest[key] = version.position
            token = (self.parked if self.pending is None else self.pending).get(key)
            payload = version.payload
            assert (payload and str(payload["k"])[:8]) == token


TestDeadLetters = pytest.mark.integration(DeadLetters.TestCase)  # each step is fsynced
TestDeadLetters.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
