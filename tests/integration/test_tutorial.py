"""The tutorial, followed to the letter: every command of the page runs, in its order."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dataspine.core.process import spawn, stop

pytestmark = pytest.mark.integration

ROUTE = "streaming/cdc/data-spine.yaml"
PAGE = Path(__file__).parents[2] / "docs/tutorial/first-route.md"
COMMANDS = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
MASKS = re.search(r"^```yaml\n(    masks:.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
TRANSFER = re.search(r"^```yaml\n(      US:.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)


class _Terminals:
    """One folder and one environment; ``spine`` is this interpreter's."""

    def __init__(self, folder: Path, opa: Path) -> None:
        self.folder = folder
        binary = folder / "bin/spine"
        binary.parent.mkdir()
        binary.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dataspine.cli "$@"\n')
        binary.chmod(0o755)
        self.environment = {
            "PATH": f"{binary.parent}:{os.defpath}",
            "HOME": str(folder),
            "SPINE_OPA": str(opa),
            "XDG_RUNTIME_DIR": str(folder),
        }

    def run(self, command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    @contextmanager
    def running(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        child = spawn(
            ["sh", "-c", f"exec {command.strip()}"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with child:
            try:
                yield child
            finally:
                stop(child, 20)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")


def _line(child: subprocess.Popen[bytes], words: bytes) -> str:
    assert child.stdout is not None
    for line in child.stdout:
        if words in line:
            return line.decode()
    raise AssertionError(f"it ended without saying {words!r}")


def _publish(here: _Terminals, publish: str, orders: str) -> None:
    status, said = here.run(publish)
    assert (status, "pii.untagged_field" in said, "customers.avsc:11" in said) == (1, True, True)
    here.edit("schema/customers.avsc", "receipts are sent.", "receipts are sent. [pii] retain=P2Y")
    assert here.run(publish)[0] == 0
    assert here.run(orders)[0] == 0


def _deploy(here: _Terminals, plan: str, apply: str) -> None:
    status, said = here.run(plan)
    assert (status, "residency.obligation_missing" in said) == (1, True)
    assert MASKS is not None
    here.edit(ROUTE, "homes: [EU, US]", "homes: allowed")
    here.edit(ROUTE, "    masks: {}\n", MASKS[1])
    assert here.run(apply)[0] == 0


def _allow_more(here: _Terminals, replay: str) -> None:
    matrix = here.folder / "schema/data-residency-matrix.yaml"
    text = matrix.read_text(encoding="utf-8")
    assert TRANSFER is not None
    at = text.index("\n    BR:\n", text.index("\n  PII:\n")) + len("\n    BR:\n")
    matrix.write_text(text[:at] + TRANSFER[1] + text[at:], encoding="utf-8")
    status, said = here.run(replay)
    assert status == 0, said
    counts = json.loads(here.run("spine cdc dlq list --json")[1])["counts"]
    assert counts["replayed"] > 0


def _prove(here: _Terminals, evidence: str) -> None:
    assert here.run(evidence)[0] == 0
    pack = here.folder / "pack/decisions.jsonl"
    pack.write_bytes(pack.read_bytes().replace(b"shop", b"shoq", 1))
    status, said = here.run("spine evidence verify pack")
    assert (status, "decisions.jsonl" in said) == (4, True)


def test_every_command_of_the_tutorial_does_what_it_says(opa: Path, tmp_path: Path) -> None:
    init, publish, orders, shop, plan, apply, run, look, replay, prove, serve, destroy = COMMANDS
    here = _Terminals(tmp_path, opa)
    # `cd` is the test's own.
    assert init == "spine init shop\ncd shop\n"
    assert here.run("spine init shop")[0] == 0
    here.folder = tmp_path / "shop"
    _publish(here, publish, orders)
    with here.running(shop) as database:
        export = re.search(r'export (\w+)="(.*)"', _line(database, b"export "))
        assert export is not None
        here.environment[export[1]] = export[2]
        _deploy(here, plan, apply)
        with here.running(run) as runner:
            _line(runner, b"streaming")
            assert here.run(look)[0] == 0
            _allow_more(here, replay)
            _prove(here, prove)
            with here.running(f"{serve.strip()} --port 0") as service:
                assert "serving http://127.0.0.1:" in _line(service, b"serving")
            runner.send_signal(signal.SIGINT)
            assert runner.wait(30) == 130
        assert here.run(destroy)[0] == 0
