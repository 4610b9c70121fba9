"""Which service is believed, and what becomes of one that misbehaves."""

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import Spine

from dataspine.cli.remote import VERSION, Remote
from dataspine.core.errors import (
    ConflictError,
    DataSpineError,
    InputError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
)
from dataspine.core.process import start_time
from dataspine.core.workspace import Workspace
from dataspine.web.advertisement import advertise, advertised, withdraw
from dataspine.web.problem import problem

URL = "http://127.0.0.1:8600"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "shop/.spine"
    folder.mkdir(parents=True)
    return folder


def _write(state: Path, **changes: object) -> None:
    document = {"url": URL, "pid": os.getpid(), "started": start_time(os.getpid()), **changes}
    path = state / "serve.json"
    path.write_text(json.dumps(document))
    path.chmod(0o600)


def test_running_service_is_believed_until_it_withdraws(state: Path) -> None:
    advertise(state, URL)
    assert (state / "serve.json").stat().st_mode & 0o777 == 0o600
    assert advertised(state, {}) == URL
    withdraw(state)
    assert (advertised(state, {}), list(state.iterdir())) == (None, [])


def test_service_withdraws_no_other_service(state: Path) -> None:
    _write(state, pid=1)
    withdraw(state)
    assert (state / "serve.json").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": 2**22 + 1},
        {"started": 1},
        {"started": None, "pid": 2**22 + 1},
        {"url": "http://192.0.2.1:8600"},
        {"url": "http://127.0.0.1.example:8600"},
        {"url": "http://127.0.0.1@example:8600"},
        {"url": "https://127.0.0.1:8600"},
        {"url": "http://[::1"},
        {"url": 7},
        pytest.param({"pid": str(os.getpid())}, id="pid as text"),
    ],
    ids=str,
)
def test_wrong_advertisement_is_not_believed(state: Path, changes: dict[str, object]) -> None:
    _write(state)
    assert advertised(state, {}) == URL
    _write(state, **changes)
    assert advertised(state, {}) is None


def _readable(state: Path) -> None:
    (state / "serve.json").chmod(0o644)


def _linked(state: Path) -> None:
    (state / "serve.json").rename(state / "real.json")
    (state / "serve.json").symlink_to("real.json")


def _linked_folder(state: Path) -> None:
    state.rename(state.with_name("real"))
    state.symlink_to("real")


def _pipe(state: Path) -> None:
    (state / "serve.json").unlink()
    os.mkfifo(state / "serve.json", 0o600)


def _garbage(state: Path) -> None:
    (state / "serve.json").write_text("{")


def _list(state: Path) -> None:
    (state / "serve.json").write_text("[]")


def _tracked(state: Path) -> None:
    for argv in (["init", "-q"], ["add", "-f", ".spine/serve.json"]):
        subprocess.run(["git", "-C", str(state.parent), *argv], check=True)


def _unknown_to_git(state: Path) -> None:
    (state.parent / ".git").mkdir()


@pytest.mark.parametrize(
    "spoil",
    [
        _readable,
        _linked,
        _linked_folder,
        _pipe,
        _garbage,
        _list,
        _tracked,
        _unknown_to_git,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_spoiled_file_is_not_believed(state: Path, spoil: Callable[[Path], None]) -> None:
    _write(state)
    spoil(state)
    assert advertised(state, {}) is None


def test_file_of_another_user_is_not_believed(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(state)
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    assert advertised(state, {}) is None


def test_untracked_file_in_a_repository_is_believed_but_never_in_ci(state: Path) -> None:
    subprocess.run(["git", "-C", str(state.parent), "init", "-q"], check=True)
    _write(state)
    assert [advertised(state, {"CI": ci}) for ci in ("", "false", "true", "1")] == [
        URL,
        URL,
        None,
        None,
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://127.0.0.2.example",
        "https://ada:secret@example.com",
        "https://example.com/?a=b",
        "https://example.com/#a",
        "https://",
        "ftp://127.0.0.1",
        "http://[::1",
        "http://localhost:99999",
        "https://exa\nmple.com",
        "",
    ],
)
def test_unsafe_address_is_refused(url: str) -> None:
    with pytest.raises(InputError) as caught:
        Remote(url)
    assert (caught.value.code, caught.value.where) == ("input.server_url", "--server")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("token", ["a\nb", "ä", "x" * 9000], ids=["line", "letter", "long"])
def test_unsendable_token_is_refused_unseen(token: str) -> None:
    with pytest.raises(InputError) as caught:
        Remote("https://example.com", token=token)
    assert caught.value.code == "input.token"
    assert token not in str(caught.value)


@contextlib.contextmanager
def _peer(answer: bytes, *, hold: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """Serve one raw answer to each connection; ``hold`` keeps the connection open after it."""
    asked: list[bytes] = []
    done = threading.Event()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(65_536))
                with contextlib.suppress(OSError):
                    connection.sendall(answer)
                if hold:
                    done.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        finally:
            done.set()
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def _reply(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    ("answer", "code", "exit_code"),
    [
        (_reply("302 Found", b"", "Location: http://127.0.0.1:1/"), "server.redirected", 2),
        (_reply("502 Bad Gateway", b"<html>"), "server.broken", 3),
        (_reply("502 Bad Gateway", b"{}"), "server.foreign", 3),
        (_reply("401 Unauthorized", b"{}"), "server.foreign", 2),
        (_reply("200 OK", b"{"), "server.broken", 3),
        (_reply("200 OK", b"{}")[:-1], "server.broken", 3),
        (_reply("200 OK", b"{}"), "server.foreign", 3),
        (_reply("200 OK", b"[1]"), "server.foreign", 3),
        (b"", "server.broken", 3),
        (b"SSH-2.0\r\n", "server.broken", 3),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "server.broken", 3),
    ],
    ids=[
        "redirect",
        "html",
        "empty",
        "refused",
        "json",
        "short",
        "other",
        "list",
        "nothing",
        "ssh",
        "cut",
    ],
)
def test_misbehaving_service_is_an_error_and_is_asked_once(
    answer: bytes, code: str, exit_code: int
) -> None:
    with _peer(answer) as (url, asked), contextlib.closing(Remote(url, token="t")) as remote:
        remote.connect()
        with pytest.raises(DataSpineError) as caught:
            remote.post("schemas", "a/b", "versions", body={}, has=VERSION)
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert caught.value.remedy
    assert caught.value.retry is (code == "server.foreign" and exit_code == 3)
    assert len(asked) == 1
    head = asked[0].split(b"\r\n")
    assert head[0] == b"POST /schemas/a%2Fb/versions HTTP/1.1"
    assert b"Authorization: Bearer t" in head


def test_service_that_never_ends_its_answer_meets_the_deadline() -> None:
    with (
        _peer(_reply("200 OK", b"{}")[:-1], hold=True) as (url, _),
        contextlib.closing(Remote(url, deadline=0.2)) as remote,
    ):
        remote.connect()
        with pytest.raises(UnavailableError) as caught:
            remote.get("schemas")
    assert caught.value.code == "server.broken"


@pytest.mark.parametrize(
    "kind",
    [DataSpineError, InputError, NotFoundError, ConflictError, UnavailableError, IntegrityError],
)
def test_problem_json_turns_back_into_the_same_error(kind: type[DataSpineError]) -> None:
    sent = kind("what", where="where", remedy="do", code="some.code")
    response = problem(sent)
    answer = _reply(f"{response.status_code} X", bytes(response.body))
    with _peer(answer) as (url, _), contextlib.closing(Remote(url)) as remote:
        remote.connect()
        with pytest.raises(DataSpineError) as caught:
            remote.get("schemas")
    assert type(caught.value) is kind
    assert caught.value.document() == sent.document()


@pytest.mark.integration
@pytest.mark.usefixtures("quiet_environment")
def test_service_that_vanished_is_passed_over_without_a_word(
    spine: Spine, workspace: Workspace
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    # Its process runs, but nobody listens there any more.
    _write(workspace.state, url=f"http://127.0.0.1:{port}")
    run = spine("schema", "subjects", "-w", str(workspace.root), "--json")
    assert (run.status, run.document, run.stderr) == (0, [], "")


@pytest.mark.integration
@pytest.mark.usefixtures("quiet_environment")
def test_named_service_that_is_away_is_an_error(spine: Spine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    run = spine("schema", "subjects", "--server", f"http://127.0.0.1:{port}", "--json")
    assert (run.status, run.document["error"]["code"]) == (3, "server.unreachable")


@pytest.mark.integration
@pytest.mark.usefixtures("quiet_environment")
def test_service_that_breaks_off_publishes_nothing_a_second_time(
    spine: Spine, workspace: Workspace
) -> None:
    file = workspace.root / "schema/orders.proto"
    argv = ("schema", "publish", "shop.orders", str(file), "-w", str(workspace.root), "--json")
    # The workspace's policy is published first, so that the service counts as up to date.
    spine("decide", "x", "--input", "none", "-w", str(workspace.root))
    spine("schema", "validate", *argv[2:])
    with _peer(b"") as (url, asked):
        _write(workspace.state, url=url)
        run = spine(*argv)
    (workspace.state / "serve.json").unlink()
    assert (run.status, run.document["error"]["code"]) == (3, "server.broken")
    assert len(asked) == 1
    assert spine("schema", "subjects", "-w", str(workspace.root), "--json").document == []


@pytest.mark.integration
@pytest.mark.usefixtures("quiet_environment")
def test_changed_policy_is_decided_on_the_workspace_not_by_the_older_service(
    spine: Spine, workspace: Workspace
) -> None:
    file = workspace.root / "schema/customers.avsc"
    argv = ("schema", "validate", "shop.customers", str(file), "-w", str(workspace.root), "--json")
    before = spine(*argv)
    settings = workspace.root / "spine.yaml"
    changed = settings.read_text().replace("rules:\n", "rules:\n  pii.untagged_field: warn\n")
    settings.write_text(changed)
    with _peer(b"") as (url, asked):
        _write(workspace.state, url=url)
        after = spine(*argv)
    assert [run.document["allow"] for run in (before, after)] == [False, True]
    assert asked == []
