"""A file that a repository brings names a server; no password of the user's goes there."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataspine.adapters.init import init
from dataspine.adapters.route_deploy import open_source
from dataspine.adapters.session import Session
from dataspine.cdc.route import load_route
from dataspine.core.errors import DataSpineError
from dataspine.core.workspace import Workspace

Read = Callable[[Path, str], None]

ASKS_PASSWORD = b"R" + struct.pack("!II", 8, 3)
ROUTE = """\
name: shop-to-lake
sources:
  - name: shop
    engine: postgres
    region: eu-central-1
    dsn: {dsn}
    tables: [{{name: customers, homes: allowed, home: {{constant: DE}}}}]
sinks:
  - {{name: lake, kind: duckdb, region: eu-central-1, path: lake.duckdb, purpose: analytics}}
dead-letter: {{region: eu-central-1}}
"""


class Server:
    """It asks whoever connects for a password, and keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if not connection.recv(4096):
                    return
                connection.sendall(ASKS_PASSWORD)
                self.sent += [data] if (data := connection.recv(4096)) else []


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    passwords = tmp_path / "pgpass"
    passwords.write_text("db.example:*:*:*:in-file\n127.0.0.1:*:*:*:in-file\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    return init(tmp_path / "shop", name="shop", told=lambda _: None).root


def _read_source(root: Path, dsn: str) -> None:
    (root / "route.yaml").write_text(ROUTE.format(dsn=dsn))
    with Session(Workspace.open(root)) as session, pytest.raises(DataSpineError):
        open_source(session, load_route(root / "route.yaml"), "shop").relations()


def _read_database(root: Path, url: str) -> None:
    with (root / "spine.yaml").open("a") as file:
        file.write(f"\ndatabase:\n  url: {url}\n")
    with pytest.raises(DataSpineError):
        Workspace.open(root).database.require_current()


@pytest.mark.parametrize("has_variable", [False, True])
@pytest.mark.parametrize("read", [_read_source, _read_database])
def test_a_file_names_a_server_and_gets_no_other_password(
    root: Path, server: Server, monkeypatch: pytest.MonkeyPatch, read: Read, has_variable: bool
) -> None:
    if has_variable:
        monkeypatch.setenv("PGPASSWORD", "in-variable")
    place = f"db.example:{server.port}/shop?hostaddr=127.0.0.1&sslmode=disable"
    (root / "address").write_text(f"postgresql://app@{place}")
    read(root, "file:address")
    assert server.sent == []


@pytest.mark.parametrize("read", [_read_source, _read_database])
def test_a_password_in_the_file_is_sent(root: Path, server: Server, read: Read) -> None:
    place = f"127.0.0.1:{server.port}/shop?sslmode=disable"
    (root / "address").write_text(f"postgresql://app:own@{place}")
    read(root, "file:address")
    assert {data[5:] for data in server.sent} == {b"own\0"}


@pytest.mark.parametrize("read", [_read_source, _read_database])
def test_a_server_of_the_environment_gets_what_the_user_has_for_it(
    root: Path, server: Server, monkeypatch: pytest.MonkeyPatch, read: Read
) -> None:
    monkeypatch.setenv("ADDRESS", f"postgresql://app@127.0.0.1:{server.port}/x?sslmode=disable")
    read(root, "env:ADDRESS")
    assert {data[5:] for data in server.sent} == {b"in-file\0"}
