"""A publisher is killed again and again; a channel always serves a whole, verified bundle."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.released import Released, make_released

from dataspine.adapters.session import Session
from dataspine.bundles import verify

pytestmark = [pytest.mark.faults, pytest.mark.integration]

KILLS = 25
# Publishes one changed content after the other until it is killed.
PUBLISHES = """
import sys
from dataclasses import replace
from pathlib import Path
from dataspine.adapters import bundle_publish
from dataspine.adapters.policy import content_of
from dataspine.adapters.session import Session
from dataspine.bundles import Content, Origin, content_digest
from dataspine.core.workspace import Workspace

key, start = sys.argv[1], int(sys.argv[2])
workspace = Workspace.open(Path())
base = content_of(workspace)
with Session(workspace, actor="ada") as session:
    for number in range(start, start + 100_000):
        text = b'{"rules":{"x%d":"warn"}}' % number
        files = {**base.files, "dataspine/config/data.json": text}
        digest = content_digest(files)
        content = Content(files, digest, "1.0.0+" + digest.replace(":", "."))
        bundle_publish.release(session, content, "stable", key=key, origin=Origin(author="ada"))
        print(number, flush=True)
"""


@pytest.fixture
def shop(tmp_path: Path, opa: Path) -> Released:
    return make_released(tmp_path, opa)


def _kill_while_it_publishes(shop: Released, chance: random.Random, start: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PUBLISHES, shop.key, str(start)],
        cwd=shop.root,
        env=shop.environment(),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        for _ in range(chance.randint(1, 3)):
            assert process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.1))  # where in a publication it dies is left to chance
        process.send_signal(signal.SIGKILL)


def test_kills_during_publish_leave_no_half_channel(shop: Released) -> None:
    chance = random.Random(5)
    seen = 0
    for kill in range(KILLS):
        _kill_while_it_publishes(shop, chance, kill * 100_000)
        with Session(shop.workspace, opa=shop.opa) as session:
            history = session.bundles.history("stable")
            sequences = [each.sequence for each in history]
            assert sequences == sorted(set(sequences), reverse=True)
            assert len(history) >= seen
            seen = len(history)
            for each in history[:3]:
                data = session.bundles.bytes_of("stable", each.sequence)
                bundle = verify(data, session.trust, channel="stable")
                assert (bundle.sequence, bundle.digest) == (each.sequence, each.digest)
            # The first publication and its journal row came together.
            assert len(session.journal.list()) == 1
    assert seen >= KILLS
    # Whoever publishes next is not held up, and takes away what the killed ones left.
    last = shop.document("bundle", "publish")
    assert last["changed"] is True
    assert not list((shop.root / ".spine/bundles").glob("*.part"))
    answer = shop.document("bundle", "status")[2]
    assert answer["active"]["revision"] == last["revision"]
