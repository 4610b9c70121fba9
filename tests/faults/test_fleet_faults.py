"""What happens to a fleet of stock OPAs when keys, servers, clocks or rules go wrong."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from tests.integration.fleet import QUESTION, Control, started, token
from tests.sidecar import short_folder, until

from dataspine.adapters.session import Session
from dataspine.bundles import SigningKey, generate_key
from dataspine.core.clock import utc_now
from dataspine.core.workspace import Workspace
from dataspine.decisions.decision_log import LogSearch
from dataspine.web.app import create_app

pytestmark = [pytest.mark.faults, pytest.mark.integration]

FAULTY = """package dataspine.custom.a.b

deny contains 1 if both(input.facts.name) == 1

both(name) := 1 if name

both(name) := 2 if name
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as found:
        yield found


@pytest.fixture
def control(tmp_path: Path, opa: Path) -> Control:
    return Control(tmp_path, opa, "\nfleet: {stale-after: 1s}\n")


def test_a_key_rotated_while_a_sidecar_was_away_is_followed(
    control: Control, folder: Path, tmp_path: Path
) -> None:
    control.publish("stable")
    with control.served():
        command = control.files(folder / "one", "one", ring="stable")
        with started(command, folder / "one") as sidecar:
            before = sidecar.decide(QUESTION, token(folder / "one"))["result"]["policy"]
    generate_key(tmp_path / "new.pem")
    new = SigningKey.load(tmp_path / "new.pem", id="release-2")
    control.trust(new)
    control.publish("stable", key=new)
    with control.served(), started(command, folder / "one") as sidecar:

        def follows() -> bool:
            answer = sidecar.decide(QUESTION, token(folder / "one"))
            return bool(answer["result"]["policy"]["sequence"] == 2)

        until(follows, sidecar.log.read_text)
    assert before["sequence"] == 1


def test_a_server_that_is_away_at_the_start_leaves_the_kept_bundle(
    control: Control, folder: Path
) -> None:
    control.publish("stable")
    with control.served():
        command = control.files(folder / "one", "one", channel="stable")
        with started(command, folder / "one") as sidecar:
            sidecar.decide(QUESTION, token(folder / "one"))
            until(lambda: control.instance("one").get("sequence") == 1)
    control.publish("stable", "package dataspine.custom.a.b\n\ndeny contains 1 if input.never\n")
    with started(command, folder / "one") as sidecar:
        answer = sidecar.decide(QUESTION, token(folder / "one"))
        assert answer["result"]["policy"]["sequence"] == 1
        until(lambda: control.instance("one")["stale"])
        with control.served():
            # What it decided meanwhile arrives, and it follows again.
            until(lambda: control.instance("one")["sequence"] == 2, sidecar.log.read_text)
            with control.session() as session:
                until(
                    lambda: (
                        answer["decision_id"]
                        in {each.decision_id for each in session.decision_log.search()}
                    )
                )


def test_a_server_killed_under_load_loses_and_doubles_no_decision(
    control: Control, folder: Path
) -> None:
    control.publish("stable")
    with control.served():
        command = control.files(folder / "one", "one", channel="stable")
    with started(command, folder / "one", active=False) as sidecar:
        asked: list[str] = []
        ended = threading.Event()

        def load() -> None:
            while not ended.is_set():
                answer = sidecar.decide(QUESTION, token(folder / "one"))
                asked.append(answer["decision_id"])
                ended.wait(0.002)

        thread = threading.Thread(target=load)
        for number in range(4):
            with control.served():
                if number == 0:
                    until(sidecar.healthy, sidecar.log.read_text)
                    thread.start()
                count = len(asked)
                until(lambda count=count: len(asked) > count + 200)  # type: ignore[misc] # no type of a default
                assert control.process is not None
                control.process.kill()
        ended.set()
        thread.join()
        with control.served(), control.session() as session:

            def logged() -> set[str]:
                with session.database.read() as connection:
                    rows = connection.exec_driver_sql("SELECT decision_id FROM decision_log")
                    return set(rows.scalars())

            until(lambda: logged() >= set(asked), sidecar.log.read_text)
            assert logged() == set(asked)


def test_a_clock_that_differs_is_named(control: Control, folder: Path) -> None:
    control.publish("stable")
    workspace = Workspace.open(control.root)
    listener = socket.create_server(("127.0.0.1", 0))
    control.port = listener.getsockname()[1]
    with Session(
        workspace, opa=control.opa, clock=lambda: utc_now() + timedelta(minutes=10)
    ) as session:
        app: Any = create_app(session)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        with control.sidecar(folder, "one", channel="stable") as sidecar:
            sidecar.decide(QUESTION, token(folder / "one"))
            until(lambda: control.instance("one").get("clock"), sidecar.log.read_text)
        (found,) = session.decision_log.search(LogSearch(clock=True))
        server.should_exit = True
        thread.join()
    assert found.instance == "one"
    assert found.clock is not None
    assert -700 < found.clock <= -600
    assert control.instance("one")["clock"] == found.clock


def test_a_rule_that_errors_at_run_time_is_denied_and_logged(
    control: Control, folder: Path
) -> None:
    control.publish("stable", FAULTY)
    with control.served(), control.sidecar(folder, "one", channel="stable") as sidecar:
        status, answer = sidecar.ask(
            "POST",
            "/v1/data/dataspine/main/schema_publish",
            {"input": QUESTION},
            token(folder / "one"),
        )
        with control.session() as session:
            until(session.decision_log.search)
            (found,) = session.decision_log.search()
            event = session.decision_log.get(found.decision_id)
    assert (status, answer["code"]) == (500, "internal_error")
    assert (found.allow, found.codes) == (None, ())
    assert "conflict" in json.dumps(event["error"])
