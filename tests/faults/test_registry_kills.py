"""``kill -9`` while schemas are registered: what was answered is there, nothing by half."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests import store
from tests.served import service
from tests.sidecar import until

from dataspine.adapters.session import Session
from dataspine.core.workspace import Workspace

pytestmark = pytest.mark.faults

KILLS = 6
WRITERS = 4
# Registrations that are answered before each kill: different moments of the ones that run then.
BEFORE = (1, 2, 3, 5, 8, 13)


def _schema(name: str) -> str:
    field = {"name": f"size_{name}", "type": "int"}
    return json.dumps({"type": "record", "name": "R", "fields": [field]})


class Writers:
    """Threads that register schemas until their service is gone, and note what was answered."""

    def __init__(self, url: str, turn: int) -> None:
        self.answered: dict[str, int] = {}
        self._address, self._turn = url.removeprefix("http://"), turn
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def have(self, count: int) -> bool:
        """Tell whether so many were answered."""
        return len(self.answered) >= count

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _write(self, writer: int) -> None:
        try:
            with closing(http.client.HTTPConnection(self._address, timeout=30)) as asking:
                for number in range(10_000):
                    name = f"{self._turn}_{writer}_{number}"
                    body = json.dumps({"schema": _schema(name)})
                    headers = {"Content-Type": "application/json"}
                    asking.request("POST", f"/subjects/{name}/versions", body, headers)
                    self.answered[name] = json.loads(asking.getresponse().read())["id"]
        except (OSError, http.client.HTTPException):
            return  # it was killed


@pytest.mark.parametrize("kind", store.KINDS)
def test_a_killed_registry_has_what_it_answered_and_nothing_by_half(
    tmp_path: Path, opa: Path, kind: str
) -> None:
    with store.workspace(tmp_path / "shop", kind) as workspace:
        _kill(workspace, opa)


def _kill(workspace: Workspace, opa: Path) -> None:
    answered: dict[str, int] = {}
    for turn in range(KILLS):
        with service(workspace, opa) as (child, url):
            writers = Writers(url, turn)
            until(partial(writers.have, BEFORE[turn]))
            child.kill()
            writers.join()
        answered |= writers.answered
        _check(workspace, opa, answered)


def _check(workspace: Workspace, opa: Path, answered: dict[str, int]) -> None:
    with Session(workspace, opa=opa) as session:
        versions = list(session.registry.every())
        assert {each.subject: each.id for each in versions}.items() >= answered.items()
        with session.database.read() as connection:
            ids = set(connection.scalars(sa.text("SELECT id FROM schemas")))
            events = map(json.loads, connection.scalars(sa.text("SELECT body FROM outbox")))
            names = [event["job"]["name"] for event in events if "job" in event]
        assert ids == {each.id for each in versions}  # never an id without a schema
        for each in versions:
            assert each.text == _schema(each.subject)
            entry = session.journal.get(str(each.decision_id))  # never one without its decision
            assert (entry.decision.allow, entry.acted, entry.name) == (True, True, each.subject)
        # ... and never one without its lineage
        jobs = sorted(name for name in names if name.startswith("publish."))
        assert jobs == sorted(f"publish.{each.subject}" for each in versions)
