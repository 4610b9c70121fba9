"""At least once, in each run's order, to receivers that are down, slow, full or picky."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import store
from tests.lineage.conftest import create
from tests.lineage.receiver import OK, Reply, receiving
from tests.lineage.samples import run_event, run_id

from dataspine.core.configuration import AllowedReceiver
from dataspine.core.database import Database
from dataspine.core.errors import InputError
from dataspine.core.workspace import Receiver
from dataspine.lineage import Delivery, LineageStore, Outbox


class Setup:
    """A delivery whose clock is turned by hand and whose jitter is the longest wait."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.outbox = Outbox(database)
        self.now = 0.0
        self.made: list[Delivery] = []
        self.letters = folder / "lineage-dlq.jsonl"
        self.folder = folder

    def delivery(self, *receivers: Receiver, **options: Any) -> Delivery:
        made = Delivery(
            self.database,
            receivers,
            dead_letters=self.letters,
            root=self.folder,
            monotonic=lambda: self.now,
            random=lambda: 1.0,
            **options,
        )
        self.made.append(made)
        return made

    def write(self, *events: dict[str, Any]) -> None:
        with self.database.begin() as connection:
            self.outbox.write(connection, list(events))

    def counts(self) -> tuple[int, int, int]:
        counts = self.outbox.counts()
        return counts["delivered"], counts["pending"], counts["dead"]


@pytest.fixture
def setup(database: Database, tmp_path: Path) -> Iterator[Setup]:
    made = Setup(database, tmp_path)
    yield made
    for delivery in made.made:
        delivery.stop()


def answering(status: int, when: Callable[[Any], bool], **headers: str) -> Callable[[Any], Reply]:
    return lambda body: (status, headers, b"") if when(body) else OK


def is_run(number: int) -> Callable[[Any], bool]:
    return lambda body: bool(body["run"]["runId"] == run_id(number))


def test_events_arrive_in_order_with_their_token(setup: Setup) -> None:
    (setup.folder / "token").write_text("s3cret\n")
    setup.write(*(run_event(n) for n in range(5)))
    with receiving() as fake:
        allowed = [AllowedReceiver(fake.url, (f"file:{setup.folder}/token",))]
        setup.delivery(Receiver("r", fake.url, "file:token"), allowed=allowed).step()
        assert fake.sent() == [run_id(n) for n in range(5)]
        path, headers, _ = fake.requests[0]
        assert (path, headers["Authorization"]) == ("/api/v1/lineage", "Bearer s3cret")
    assert setup.counts() == (5, 0, 0)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 599])
def test_a_failing_run_is_retried_and_holds_up_no_other(setup: Setup, status: int) -> None:
    setup.write(run_event(1, kind="START"), run_event(2), run_event(1), run_event(3))
    with receiving(answering(status, is_run(1))) as fake:
        delivery = setup.delivery(Receiver("r", fake.url))
        delivery.step()
        delivery.step()
        assert fake.sent() == [run_id(1), run_id(2), run_id(3)]
        assert setup.counts() == (2, 2, 0)
        setup.now += 0.6
        fake.reply = lambda _: OK
        delivery.step()
        kinds = [body["eventType"] for _, _, body in fake.requests[3:]]
        assert kinds == ["START", "COMPLETE"]
    assert setup.counts() == (4, 0, 0)


def test_the_longest_wait_doubles_up_to_a_cap(setup: Setup) -> None:
    setup.write(run_event(1))
    waits: list[float] = []
    with receiving(answering(500, lambda _: True)) as fake:
        delivery = setup.delivery(Receiver("r", fake.url))
        delivery.step()
        while len(waits) < 9:
            tried, start = len(fake.requests), setup.now
            while len(fake.requests) == tried:
                setup.now += 0.5
                delivery.step()
            waits.append(setup.now - start)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_retry_after_holds_the_whole_receiver(setup: Setup) -> None:
    setup.write(run_event(1), run_event(2))
    with receiving(lambda _: (429, {"Retry-After": "30"}, b"")) as fake:
        delivery = setup.delivery(Receiver("r", fake.url))
        delivery.step()
        setup.now = 29.9
        delivery.step()
        assert fake.sent() == [run_id(1)]
        setup.now, fake.reply = 30.1, lambda _: OK
        delivery.step()
        assert fake.sent() == [run_id(1), run_id(1), run_id(2)]


@pytest.mark.parametrize("status", [301, 302, 400, 401, 404, 413, 422])
def test_what_is_refused_for_good_becomes_a_dead_letter(setup: Setup, status: int) -> None:
    setup.write(run_event(1), run_event(2))
    where = {"Location": "http://127.0.0.1:1/"}
    with receiving(lambda b: (status, where, b"no") if is_run(1)(b) else OK) as fake:
        delivery = setup.delivery(Receiver("r", fake.url))
        delivery.step()
        delivery.step()
        assert fake.sent() == [run_id(1), run_id(2)]
        assert setup.counts() == (1, 0, 1)
        (line,) = setup.letters.read_text().splitlines()
        letter = json.loads(line)
        assert (letter["receiver"], letter["reason"]) == ("r", f"HTTP {status}")
        assert letter["event"] == run_event(1)
        assert setup.letters.stat().st_mode & 0o777 == 0o600
        (dead,) = setup.outbox.dead()
        assert dead["partition"] == run_id(1)
        fake.reply = lambda _: OK
        with setup.database.begin() as connection:
            assert setup.outbox.retry_dead(connection) == 1
        delivery.step()
        assert fake.sent() == [run_id(1), run_id(2), run_id(1)]
    assert setup.counts() == (2, 0, 0)


def test_a_receiver_that_is_down_holds_up_no_other(setup: Setup) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    setup.write(run_event(1), run_event(2))
    with receiving() as fake:
        down = Receiver("down", f"http://127.0.0.1:{port}")
        setup.delivery(down, Receiver("up", fake.url)).step()
        assert fake.sent() == [run_id(1), run_id(2)]
    assert setup.counts() == (0, 2, 0)
    assert LineageStore(setup.database).run(run_id(2))["state"] == "COMPLETED"


def test_a_silent_receiver_is_left_at_the_deadline(setup: Setup) -> None:
    setup.write(run_event(1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        setup.delivery(Receiver("r", url), deadline_seconds=0.05).step()
    assert setup.counts() == (0, 1, 0)


def test_a_receiver_that_drips_is_left_at_the_deadline(setup: Setup) -> None:
    setup.write(run_event(1))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            peer, _ = server.accept()
            with peer:
                try:
                    while True:
                        peer.sendall(b"H")
                        time.sleep(0.01)
                except OSError:
                    return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        setup.delivery(Receiver("r", url), deadline_seconds=0.2).step()
        thread.join(5)
    assert setup.counts() == (0, 1, 0)


def test_a_missing_token_sends_nothing(setup: Setup) -> None:
    setup.write(run_event(1))
    with receiving() as fake:
        allowed = [AllowedReceiver(fake.url, (f"file:{setup.folder}/none",))]
        setup.delivery(Receiver("r", fake.url, "file:none"), allowed=allowed).step()
        assert fake.requests == []
    assert setup.counts() == (0, 1, 0)


def test_a_token_that_became_a_link_elsewhere_is_not_sent(setup: Setup, tmp_path: Path) -> None:
    token, other = setup.folder / "token", tmp_path / "other"
    token.write_text("s3cret")
    other.write_text("another secret")
    setup.write(run_event(1))
    with receiving() as fake:
        allowed = [AllowedReceiver(fake.url, (f"file:{token}",))]
        delivery = setup.delivery(Receiver("r", fake.url, "file:token"), allowed=allowed)
        token.unlink()
        token.symlink_to(other)
        delivery.step()
        assert fake.requests == []
    assert setup.counts() == (0, 1, 0)


def test_a_refusal_does_not_hide_who_has_got_nothing(setup: Setup) -> None:
    setup.write(run_event(1))
    with (
        receiving(lambda _: (400, {}, b"")) as refusing,
        receiving(lambda _: (503, {}, b"")) as ill,
    ):
        delivery = setup.delivery(Receiver("strict", refusing.url), Receiver("ill", ill.url))
        delivery.step()
    assert setup.counts() == (0, 0, 1)
    assert setup.outbox.counts()["receivers"] == {
        "ill": {"pending": 1, "dead": 0},
        "strict": {"pending": 0, "dead": 1},
    }


def test_a_batch_goes_by_what_the_receiver_says_of_each(setup: Setup) -> None:
    setup.write(*(run_event(n) for n in range(4)))
    failed = [
        {"index": 1, "reason": "busy", "retriable": True},
        {"index": 2, "reason": "bad", "retriable": False},
    ]
    answer = json.dumps({"status": "partial_success", "failed_events": failed}).encode()
    with receiving(lambda _: (200, {}, answer)) as fake:
        delivery = setup.delivery(Receiver("r", f"{fake.url}/in/lineage", batch=True))
        delivery.step()
        assert setup.counts() == (2, 1, 1)
        setup.now, fake.reply = 1.0, lambda _: (204, {}, b"")
        delivery.step()
        assert [path for path, _, _ in fake.requests] == ["/in/lineage/batch"] * 2
        assert [e["run"]["runId"] for e in fake.requests[1][2]] == [run_id(1)]
    assert setup.counts() == (3, 0, 1)


def test_a_refused_batch_is_halved_until_the_event_is_found(setup: Setup) -> None:
    setup.write(*(run_event(n) for n in range(8)))

    def reply(body: list[Any]) -> Reply:
        return (400, {}, b"") if any(is_run(5)(e) for e in body) else (204, {}, b"")

    with receiving(reply) as fake:
        setup.delivery(Receiver("r", fake.url, batch=True)).step()
    assert setup.counts() == (7, 0, 1)
    assert setup.outbox.dead()[0]["partition"] == run_id(5)


@pytest.mark.parametrize("url", ["ftp://h/", "http://user:pw@h/", "http:///x"])
def test_an_address_with_credentials_or_of_another_kind_is_refused(setup: Setup, url: str) -> None:
    with pytest.raises(InputError):
        setup.delivery(Receiver("r", url))


def test_the_threads_deliver_and_end(setup: Setup) -> None:
    with receiving() as fake:
        delivery = setup.delivery(Receiver("r", fake.url), idle_seconds=0.01)
        delivery.start()
        try:
            setup.write(*(run_event(n) for n in range(20)))
            _until(lambda: setup.counts() == (20, 0, 0))
        finally:
            delivery.stop()
        assert fake.sent() == [run_id(n) for n in range(20)]


def test_a_receiver_that_left_the_configuration_is_forgotten(setup: Setup) -> None:
    setup.write(run_event(1))
    with receiving(answering(500, lambda _: True)) as fake:
        setup.delivery(Receiver("old", fake.url)).step()
        setup.write(run_event(2))
    delivery = setup.delivery()
    delivery.start()
    delivery.stop()
    assert setup.counts() == (2, 0, 0)


WRITER = """
import sys
from pathlib import Path
from tests import store
from tests.lineage.samples import run_event
from dataspine.core.database import Database
from dataspine.core.workspace import Receiver
from dataspine.lineage import Delivery, Outbox

database = Database(store.known(sys.argv[1]))
outbox = Outbox(database)
Delivery(database, [Receiver("r", sys.argv[2])], dead_letters=Path(sys.argv[3])).start()
number = 0
while True:
    number += 1
    with database.begin() as connection:
        outbox.write(connection, run_event(number))
    print(number, flush=True)
"""


def test_nothing_is_lost_or_kept_twice_through_kill(setup: Setup, tmp_path: Path) -> None:
    place, letters = store.address(setup.database.place), str(tmp_path / "letters")
    with receiving() as fake:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
        }
        argv = [sys.executable, "-c", WRITER, place, fake.url, letters]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment, text=True) as child:
            assert child.stdout is not None
            told = 0
            while told < 150:
                told = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().splitlines(keepends=True)
            told = max([told, *(int(line) for line in rest if line.endswith("\n"))])
        setup.delivery(Receiver("r", fake.url)).step()
        stored = LineageStore(setup.database)
        # What arrived, twice or once, is kept once; everything told to be written is there.
        other = create(tmp_path / "received.db")
        received = LineageStore(other)
        received.ingest_many([body for _, _, body in fake.requests])
        for kept in (stored, received):
            runs = {r["id"] for r in kept.runs("job:n:copy", limit=100_000)}
            assert {run_id(n) for n in range(1, told + 1)} <= runs
        other.close()
    assert setup.counts()[1:] == (0, 0)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)
