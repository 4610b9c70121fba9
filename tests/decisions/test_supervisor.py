import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.decisions.bundle_source import RULES, MemorySource, events_of

from dataspine.core.errors import UnavailableError
from dataspine.core.process import start_time
from dataspine.decisions.decision import DecisionInput, Policy
from dataspine.decisions.engine import Engine, Filter, FilterError
from dataspine.decisions.opa_client import OpaClient
from dataspine.decisions.supervisor import OpaChild

pytestmark = pytest.mark.integration

AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
OWNED = DecisionInput("schema.publish", AT, {"metadata": {"owner": "team"}})
UNOWNED = DecisionInput("schema.publish", AT, {"metadata": {}})


def _until(happened: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.02)


def _stopped(pid: int) -> Callable[[], bool]:
    def state(task: Path) -> str:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]

    return lambda: all(state(each) == "T" for each in Path(f"/proc/{pid}/task").iterdir())


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture
def logs() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def child(opa: Path, source: MemorySource, logs: list[dict[str, Any]]) -> Iterator[OpaChild]:
    with OpaChild(
        opa,
        source,
        on_logs=lambda chunk: logs.extend(events_of(chunk)),
        labels={"app": "test"},
        deadline=2,
    ) as child:
        yield child


def test_before_the_first_bundle_everything_is_denied(child: OpaChild) -> None:
    engine = Engine(child.client)
    assert engine.decide(OWNED).codes == ("engine.undefined",)
    assert engine.policy() is None
    with pytest.raises(UnavailableError, match="none was published"):
        child.wait_active(timeout=0.1)


def test_opa_decides_and_the_answer_names_its_bundle(child: OpaChild, source: MemorySource) -> None:
    source.publish("1.0.0+sha256.aa", 4)
    child.wait_active("1.0.0+sha256.aa")
    engine = Engine(child.client)
    denied, allowed = engine.decide_many([UNOWNED, OWNED])
    assert (denied.allow, denied.codes) == (False, ("contract.owner_missing",))
    assert denied.violations[0].line == 3
    assert (allowed.allow, allowed.violations) == (True, ())
    assert allowed.policy == denied.policy == engine.policy() == Policy("1.0.0+sha256.aa", 4)
    assert allowed.valid_until == datetime(2027, 3, 31, tzinfo=UTC)


def test_many_decisions_keep_their_order(child: OpaChild, source: MemorySource) -> None:
    source.publish("r", 1)
    child.wait_active("r")
    decisions = Engine(child.client).decide_many([OWNED, UNOWNED] * 20)
    assert [each.allow for each in decisions] == [True, False] * 20
    assert len({each.decision_id for each in decisions}) == 40


@pytest.mark.parametrize(
    "answer",
    [
        {"allow": True},
        {"allow": True, "violations": [], "obligations": [], "valid_until": None},
        True,
        [],
        "allow",
        None,
    ],
)
def test_a_malformed_answer_of_a_real_rule_denies(
    child: OpaChild, source: MemorySource, answer: object
) -> None:
    source.publish("r", 1)
    child.wait_active("r")
    question = DecisionInput("route.deploy", AT, {"answer": answer})
    assert Engine(child.client).decide(question).codes == ("engine.undefined",)


@pytest.mark.parametrize(
    ("point", "facts"),
    [("api.access", {"x": 1}), ("route.deploy", {"x": 1}), ("query.release", {"conflict": True})],
)
def test_an_undefined_or_conflicting_rule_denies(
    child: OpaChild, source: MemorySource, point: str, facts: dict[str, Any]
) -> None:
    source.publish("r", 1)
    child.wait_active("r")
    question = DecisionInput(point, AT, facts)
    assert Engine(child.client).decide(question).codes == ("engine.undefined",)


def test_a_row_rule_becomes_a_filter(child: OpaChild, source: MemorySource) -> None:
    source.publish("r", 1)
    child.wait_active("r")
    engine = Engine(child.client)
    condition = {"field": "row.country", "operator": "in", "type": "field", "value": ["DE", "FR"]}
    assert engine.compile_filter({"allowed": ["DE", "FR"]}, AT) == Filter(
        "condition", condition, "WHERE row.country IN (E'DE', E'FR')"
    )
    assert engine.compile_filter({"allowed": [], "everywhere": True}, AT).kind == "always"
    assert engine.compile_filter({"name": "r"}, AT).kind == "never"
    with pytest.raises(FilterError, match="invalid builtin `lower`"):
        engine.compile_filter({"outside": True}, AT)


def test_a_bundle_without_a_filter_is_never_taken_for_never(
    child: OpaChild, source: MemorySource
) -> None:
    source.publish("r", 1, "package dataspine.main\n\nother := 1\n")
    child.wait_active("r")
    with pytest.raises(FilterError, match="no filter"):
        Engine(child.client).compile_filter({"name": "r"}, AT)


def test_a_new_bundle_decides_without_a_restart(child: OpaChild, source: MemorySource) -> None:
    child.wait_active(etag=source.publish("r1", 1))
    engine, pid = Engine(child.client), child.pid
    assert not engine.decide(UNOWNED).allow
    # A rollback publishes the same revision again: the ETag tells them apart.
    again = source.publish(
        "r1", 2, RULES.replace("if not input.facts.metadata.owner", "if input.never")
    )
    child.wait_active("r1", etag=again)
    decision = engine.decide(UNOWNED)
    assert (decision.allow, decision.policy, child.pid) == (True, Policy("r1", 2), pid)


def test_an_older_sequence_is_refused(child: OpaChild, source: MemorySource) -> None:
    child.wait_active(etag=source.publish("r2", 2))
    engine = Engine(child.client)
    assert engine.decide(OWNED).allow
    child.wait_active(etag=source.publish("r1", 1))
    assert engine.decide(OWNED).codes == ("engine.older_policy",)
    child.wait_active(etag=source.publish("r1", 3))
    assert engine.decide(OWNED).allow


def test_an_unsigned_a_foreign_or_a_broken_bundle_changes_nothing(
    child: OpaChild, source: MemorySource
) -> None:
    child.wait_active(etag=source.publish("good", 1))
    unsigned = source.publish("unsigned", 2, signed=False)
    with pytest.raises(UnavailableError, match=r"missing \.signatures\.json"):
        child.wait_active("unsigned", 1, etag=unsigned)
    source.publish("foreign", 3, key=ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(UnavailableError):
        child.wait_active("foreign", 1)
    source.publish("broken", 4, "package dataspine.main\n\nx := no_such_function(1)\n")
    with pytest.raises(UnavailableError, match="no_such_function"):
        child.wait_active("broken", 1)
    assert Engine(child.client).decide(OWNED).policy == Policy("good", 1)
    child.wait_active(etag=source.publish("repaired", 5))


def test_a_killed_opa_denies_and_comes_back(child: OpaChild, source: MemorySource) -> None:
    child.wait_active(etag=source.publish("r", 1))
    engine, pid = Engine(child.client), child.pid
    assert pid is not None
    assert engine.decide(OWNED).allow
    os.kill(pid, signal.SIGKILL)
    _until(lambda: start_time(pid) is None)
    codes = engine.decide(OWNED).codes
    assert codes in {("engine.unavailable",), ("engine.undefined",), ()}  # () once it is back
    child.wait_active("r", 20)
    assert engine.decide(OWNED).allow
    assert child.restarts == 1


def test_a_hanging_opa_denies_at_the_deadline(opa: Path, source: MemorySource) -> None:
    with OpaChild(opa, source, deadline=0.5) as child:
        child.wait_active(etag=source.publish("r", 1))
        engine = Engine(child.client)
        assert engine.decide(OWNED).allow
        assert child.pid is not None
        os.kill(child.pid, signal.SIGSTOP)
        try:
            _until(_stopped(child.pid))  # the signal is only on its way yet
            assert engine.decide(OWNED).codes == ("engine.unavailable",)
        finally:
            os.kill(child.pid, signal.SIGCONT)
        _until(lambda: engine.decide(OWNED).allow)


def test_the_last_decisions_are_logged_before_the_child_ends(
    opa: Path, source: MemorySource
) -> None:
    logs: list[dict[str, Any]] = []
    with OpaChild(
        opa, source, on_logs=lambda chunk: logs.extend(events_of(chunk)), labels={"app": "test"}
    ) as child:
        child.wait_active(etag=source.publish("r", 1))
        engine = Engine(child.client)
        asked = {engine.decide(each).decision_id for each in [OWNED, UNOWNED] * 5}
        pid = child.pid
    assert {each["decision_id"] for each in logs} == asked
    assert {each["labels"]["app"] for each in logs} == {"test"}
    assert pid is not None
    assert start_time(pid) is None


def test_after_the_end_nothing_is_left(opa: Path, source: MemorySource, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as short:
        with OpaChild(opa, source, Path(short)) as child:
            (private,) = Path(short).iterdir()
            assert private.stat().st_mode & 0o777 == 0o700
            assert (private / "opa.json").stat().st_mode & 0o777 == 0o600
        assert list(Path(short).iterdir()) == []
    assert Engine(child.client).decide(OWNED).codes == ("engine.unavailable",)


def test_a_folder_too_deep_for_a_socket_is_not_used(
    opa: Path, source: MemorySource, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with OpaChild(opa, source, deep) as child:
        assert child.client.healthy()
    assert list(deep.iterdir()) == []


def test_a_program_that_is_no_opa_is_reported(source: MemorySource, tmp_path: Path) -> None:
    fake = tmp_path / "opa"
    fake.write_text("#!/bin/sh\necho 'I am no OPA' >&2\nexit 3\n")
    fake.chmod(0o755)
    with pytest.raises(UnavailableError, match="I am no OPA"), OpaChild(fake, source):
        pass
    with pytest.raises(UnavailableError), OpaChild(tmp_path / "none", source):
        pass


def test_a_remote_opa_on_loopback_is_asked_the_same_way(opa: Path, tmp_path: Path) -> None:
    rules = tmp_path / "main.rego"
    rules.write_text("package dataspine.main\n\nroute_deploy := input.facts.answer\n")
    said = tmp_path / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [
                *(str(opa), "run", "--server", "--addr", "127.0.0.1:0", str(rules)),
                *("--log-level", "info", "--log-format", "json"),
            ],
            stderr=output,
            stdout=output,
        )
    try:
        address = ""

        def listening() -> bool:
            nonlocal address
            for pid_file in (Path(f"/proc/{process.pid}/net/tcp"),):
                inodes = {
                    os.readlink(each).removeprefix("socket:[").rstrip("]")
                    for each in Path(f"/proc/{process.pid}/fd").iterdir()
                    if os.path.islink(each) and os.readlink(each).startswith("socket:")
                }
                for line in pid_file.read_text().splitlines()[1:]:
                    parts = line.split()
                    if parts[3] == "0A" and parts[9] in inodes:
                        address = f"http://127.0.0.1:{int(parts[1].rpartition(':')[2], 16)}"
            return bool(address)

        _until(listening)
        client = OpaClient(address)
        answer = {"n": "é" * 40_000}  # large enough to come back in chunks
        assert client.query("dataspine/main/route_deploy", {"facts": {"answer": answer}}) == {
            "result": answer
        }
        client.close()
    finally:
        process.kill()
        process.wait()


def test_the_child_dies_with_a_killed_parent(opa: Path, tmp_path: Path) -> None:
    key = MemorySource().trusted_keys()[0].pem
    program = tmp_path / "parent.py"
    program.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from dataspine.bundles import TrustedKey\n"
        "from dataspine.decisions.supervisor import OpaChild\n"
        "class Source:\n"
        "    def current(self): return None\n"
        "    def wait(self, etag, seconds): time.sleep(seconds)\n"
        "    def trusted_keys(self): return [TrustedKey('k', 'ES256', sys.argv[3], ())]\n"
        "with OpaChild(Path(sys.argv[1]), Source(), Path(sys.argv[2])) as child:\n"
        "    print(child.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with (
        tempfile.TemporaryDirectory() as short,
        subprocess.Popen(
            [sys.executable, str(program), str(opa), short, key],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as parent,
    ):
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        begun = start_time(pid)
        assert begun is not None
        parent.kill()
        parent.wait()
        _until(lambda: start_time(pid) != begun)


def test_the_folder_of_a_killed_process_is_swept_by_the_next(tmp_path: Path, opa: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = tmp_path / f"spine-opa-{dead.pid}-x"
    alive = tmp_path / f"spine-opa-{os.getpid()}-y"
    for folder in (left, alive):
        folder.mkdir()
        (folder / "opa.json").write_text("{}")
    with OpaChild(opa, MemorySource(), tmp_path):
        pass
    assert (left.exists(), alive.exists()) == (False, True)
