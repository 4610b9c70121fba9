"""Who publishes or promotes is killed again and again; a channel always serves a whole bundle."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.released import Released, make_released

from dataspine.adapters.session import Session
from dataspine.bundles import verify
from dataspine.bundles._tables import archives, bundles
from dataspine.decisions.journal import Search
from dataspine.lineage.outbox import LOCAL, pending

pytestmark = [pytest.mark.faults, pytest.mark.integration]

KILLS = 25
PROMOTE_KILLS = 8
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

# Promotes one changed content after the other, and says when each was decided.
PROMOTES = """
import sys
from pathlib import Path
from dataspine.adapters import bundle_promote, bundle_publish
from dataspine.adapters.policy import content_of
from dataspine.adapters.session import Session
from dataspine.bundles import Content, Origin, Results, content_digest
from dataspine.core.workspace import Workspace

key, start = sys.argv[1], int(sys.argv[2])
workspace = Workspace.open(Path())
base = content_of(workspace)
origin = Origin(author="ada", tests=Results(passed=1, failed=0))
with Session(workspace, actor="ada") as session:
    decided = session.decide

    def decide(question):
        decision = decided(question)
        assert decision.allow, decision.codes
        print(start, flush=True)
        return decision

    session.decide = decide
    for number in range(start, start + 100_000):
        text = b'{"rules":{"x%d":"warn"}}' % number
        files = {**base.files, "dataspine/config/data.json": text}
        digest = content_digest(files)
        content = Content(files, digest, "1.0.0+" + digest.replace(":", "."))
        bundle_publish.release(session, content, "canary", key=key, origin=origin)
        candidate = bundle_promote.published_candidate(session, digest)
        bundle_promote.promote(session, candidate, "stable", key=key)
"""


@pytest.fixture
def shop(tmp_path: Path, opa: Path) -> Released:
    return make_released(tmp_path, opa)


def _kill(shop: Released, script: str, chance: random.Random, start: int) -> None:
    """Run a script, and kill it soon after one of the first lines that it writes."""
    with subprocess.Popen(
        [sys.executable, "-c", script, shop.key, str(start)],
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
        _kill(shop, PUBLISHES, chance, kill * 100_000)
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
    # Whoever publishes next is not held up.
    last = shop.document("bundle", "publish")
    assert last["changed"] is True
    _require_whole(shop)
    answer = shop.document("bundle", "status")[2]
    assert answer["active"]["revision"] == last["revision"]


def test_kills_during_promote_leave_no_half_step(shop: Released) -> None:
    chance = random.Random(6)
    shop.document("bundle", "publish")
    steps = Search(point="bundle.promote", name="stable")
    seen = 0
    for kill in range(PROMOTE_KILLS):
        _kill(shop, PROMOTES, chance, kill * 100_000)
        with Session(shop.workspace, opa=shop.opa) as session:
            history = session.bundles.history("stable")
            assert len(history) >= seen
            seen = len(history)
            served = session.bundles.current("stable")
            assert served is not None
            bundle = verify(served[1], session.trust, channel="stable")
            assert (bundle.sequence, bundle.digest) == (history[0].sequence, history[0].digest)
            # Bundle, journal row and event of a step came together; the first one was published.
            assert [entry.acted for entry in session.journal.list(steps)] == [True] * seen
            with session.database.read() as connection:
                assert len(pending(connection, LOCAL)) == seen - 1
    assert seen > 1
    shop.rules(contract="error")
    assert shop.document("bundle", "publish")["changed"] is True
    _require_whole(shop)


def _require_whole(shop: Released) -> None:
    """Every publication has its bytes, and no bytes lie there of which none tells."""
    with Session(shop.workspace, opa=shop.opa) as session, session.database.read() as connection:
        published = sa.select(bundles.c.sequence).where(bundles.c.revision.is_not(None))
        kept = sa.select(archives.c.sequence)
        assert set(connection.scalars(kept)) == set(connection.scalars(published))
