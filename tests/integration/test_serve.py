"""``spine serve`` ends in order, whoever ends it and whatever still waits."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.facts import schema_facts
from tests.sidecar import until

from dataspine.adapters.session import Session
from dataspine.core.process import spawn, start_time, stop
from dataspine.core.workspace import Workspace
from dataspine.decisions.sidecar import INSTANCE_HEADER

pytestmark = pytest.mark.integration

QUESTION = {
    "point": "schema.publish",
    "at": "2026-11-24T09:00:00Z",
    "facts": schema_facts("shop.a", owner="a"),
}


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _ask(connection: http.client.HTTPConnection, path: str, body: Any = None) -> Any:
    text = None if body is None else json.dumps(body)
    connection.request("POST" if text else "GET", path, text)
    return json.loads(connection.getresponse().read())


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_ends_it_in_order_while_polls_wait(
    workspace: Workspace, opa: Path, number: signal.Signals, code: int
) -> None:
    argv = [sys.executable, "-m", "dataspine.cli", "serve", "--port", "0", "--json"]
    environment = {**os.environ, "SPINE_OPA": str(opa)}
    child = spawn([*argv, "-w", str(workspace.root)], env=environment, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        port = int(json.loads(child.stdout.readline())["url"].rpartition(":")[2])
        with (
            closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as asking,
            closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as waiting,
        ):
            waiting.request("GET", "/bundles/dev.tar.gz")
            first = waiting.getresponse()
            first.read()
            headers = {"If-None-Match": first.headers["ETag"], "Prefer": "wait=60"}
            waiting.request("GET", "/bundles/dev.tar.gz", headers={INSTANCE_HEADER: "a", **headers})
            until(lambda: _ask(asking, "/v1/fleet")["instances"])
            asked = _ask(asking, "/v1/decisions/schema.publish", QUESTION)["decision_id"]
            children = _children(child.pid)
            child.send_signal(number)
            assert waiting.getresponse().status == 304
        assert child.wait(30) == code
    finally:
        stop(child)
        if child.stdout is not None:
            child.stdout.close()
    assert not (workspace.state / "serve.json").exists()
    assert children
    assert [start_time(each) for each in children] == [None] * len(children)
    with Session(workspace, opa=opa) as session:
        assert [each.decision_id for each in session.decision_log.search()] == [asked]


def test_a_signal_before_it_serves_is_an_interrupt(workspace: Workspace, opa: Path) -> None:
    argv = [sys.executable, "-m", "dataspine.cli", "serve", "--port", "0", "--json"]
    environment = {**os.environ, "SPINE_OPA": str(opa)}
    child = spawn([*argv, "-w", str(workspace.root)], env=environment, stderr=subprocess.PIPE)
    try:
        until(lambda: _children(child.pid))
        children = _children(child.pid)
        child.terminate()
        _, complaint = child.communicate(timeout=30)
    finally:
        stop(child)
    assert (child.returncode, complaint) in ((130, b""), (0, b""))
    until(lambda: not any(map(start_time, children)))  # who reaps orphans may be a moment late
    assert [start_time(each) for each in children] == [None] * len(children)
