import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


def _children(marker: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if marker.encode() in environment:
            found.append(folder.name)
    return found


def test_interrupted_story_leaves_nothing_behind(opa: Path, tmp_path: Path) -> None:
    marker = f"SPINE_TEST_RUN={tmp_path.name}-{tmp_path.parent.name}"
    name, _, value = marker.partition("=")
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "SPINE_OPA": str(opa),
        "XDG_RUNTIME_DIR": str(tmp_path),
        name: value,
    }
    argv = [sys.executable, "-m", "dataspine.cli", "demo"]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        # The sixth step is told while the service, OPA and PostgreSQL run.
        while not (line := run.stdout.readline()).startswith("6."):
            assert line, "the story ended early"
        during = _children(marker)
        run.send_signal(signal.SIGINT)
        run.stdout.read()
        status = run.wait(60)
    assert len(during) > 3
    assert (status, _children(marker)) == (130, [])


def test_whole_story_adds_up_and_leaves_nothing_behind(opa: Path, tmp_path: Path) -> None:
    marker = f"SPINE_TEST_RUN={tmp_path.name}-{tmp_path.parent.name}"
    name, _, value = marker.partition("=")
    run = subprocess.run(
        [sys.executable, "-m", "dataspine.cli", "demo", "--json"],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "SPINE_OPA": str(opa),
            "XDG_RUNTIME_DIR": str(tmp_path),
            name: value,
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    sink = told["outcomes"]["us-lake"]
    rest = told["at_rest"]
    assert told["ok"] is True
    assert sum(sink.values()) == 80_900
    assert min(sink["applied"], sink["masked"], sink["parked"]) > 0
    assert rest["source_keys"] == rest["sink_keys"] + rest["parked_keys"]
    assert told["replay"]["replayed"] > 0
    assert len(set(told["revisions"])) == 2
    assert {point: counts["deny"] > 0 for point, counts in told["decisions"].items()} == {
        "api.access": False,
        "schema.publish": True,
        "route.deploy": True,
        "row.replicate": True,
        "dead_letter.replay": False,
    }
    assert (told["lineage"]["pending"], told["lineage"]["dead"]) == (0, 0)
    assert told["evidence"]["verified"] is True
    assert _children(marker) == []
