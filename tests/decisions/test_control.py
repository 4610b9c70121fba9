import contextlib
import gzip
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.decisions.bundle_source import MemorySource, events_of

from dataspine.core.errors import InputError, UnavailableError
from dataspine.decisions.control import ControlServer, gunzip, longest_wait, matches

PATH = "/bundles/main.tar.gz"


class Heard:
    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []
        self.status: list[dict[str, Any]] = []
        self.failure: Exception | None = None

    def on_logs(self, chunk: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        self.logs += events_of(chunk)


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def control(source: MemorySource, heard: Heard) -> Iterator[ControlServer]:
    control = ControlServer(source, heard.on_logs, heard.status.append)
    control.start()
    yield control
    control.stop()


def _ask(
    control: ControlServer,
    method: str,
    path: str,
    body: bytes | None = None,
    token: str | None = None,
    **headers: str,
) -> tuple[int, str | None, bytes]:
    connection = http.client.HTTPConnection(control.address.removeprefix("http://"), timeout=10)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent["Authorization"] = f"Bearer {control.token if token is None else token}"
    with contextlib.closing(connection):
        connection.request(method, path, body, sent)
        reply = connection.getresponse()
        return reply.status, reply.getheader("ETag"), reply.read()


@pytest.mark.parametrize("path", [PATH, "/logs", "/status", "/"])
def test_nothing_is_told_without_the_token(control: ControlServer, path: str) -> None:
    for method in ("GET", "POST"):
        assert _ask(control, method, path, b"[]", token="wrong")[0] == 401
        assert _ask(control, method, path, b"[]", token="")[0] == 401


def test_a_bundle_is_served_once_per_etag(control: ControlServer, source: MemorySource) -> None:
    assert _ask(control, "GET", PATH)[0] == 404
    etag = source.publish("r", 1)
    status, tag, body = _ask(control, "GET", PATH)
    assert (status, tag, (etag, body)) == (200, f'"{etag}"', source.current())
    assert _ask(control, "GET", PATH, If_None_Match=str(tag)) == (304, tag, b"")
    assert _ask(control, "GET", "/bundles/other.tar.gz")[0] == 404


def test_a_long_poll_ends_with_the_next_bundle(
    control: ControlServer, source: MemorySource
) -> None:
    first = source.publish("r1", 1)
    publisher = threading.Timer(0.05, source.publish, ("r2", 2))
    publisher.start()
    status, tag, _ = _ask(
        control, "GET", PATH, If_None_Match=f'"{first}"', Prefer="modes=snapshot,delta;wait=30"
    )
    publisher.join()
    assert status == 200
    assert tag != f'"{first}"'


def test_a_refused_bundle_is_not_offered_again_to_this_child(
    control: ControlServer, source: MemorySource, heard: Heard
) -> None:
    source.publish("bad", 1)
    assert _ask(control, "GET", PATH)[0] == 200
    for message, status in (
        ({"message": "x", "http_code": 404}, 200),
        ({"message": "request failed: refused"}, 200),
        ({"message": "bad signature"}, 404),
    ):
        report = {"bundles": {"main": {"code": "bundle_error", **message}}, "metrics": {"a": 1}}
        assert _ask(control, "POST", "/status", json.dumps(report).encode())[0] == 204
        assert _ask(control, "GET", PATH)[0] == status
    assert [list(each) for each in heard.status] == [["bundles"]] * 3
    source.publish("good", 2)
    assert _ask(control, "GET", PATH)[0] == 200
    control.forget()


def test_logs_are_passed_on_or_sent_again(control: ControlServer, heard: Heard) -> None:
    body = gzip.compress(json.dumps([{"decision_id": "d1"}]).encode())
    assert _ask(control, "POST", "/logs", body, Content_Encoding="gzip")[0] == 204
    heard.failure = UnavailableError("the database is locked")
    assert _ask(control, "POST", "/logs", body, Content_Encoding="gzip")[0] == 503
    heard.failure = ValueError("a defect")
    assert _ask(control, "POST", "/logs", body, Content_Encoding="gzip")[0] == 500
    assert heard.logs == [{"decision_id": "d1"}]


@pytest.mark.parametrize(
    ("path", "body", "encoding", "status"),
    [
        ("/logs", b"{}", "", 400),
        ("/status", b"[]", "", 400),
        ("/elsewhere", b"[]", "", 404),
        ("/logs", b"[", "", 400),
        ("/logs", b"[]", "gzip", 400),
        ("/logs", gzip.compress(b"[]", mtime=0)[:-3], "gzip", 400),
        ("/logs", b"x" * (4 * 1_048_576 + 1), "", 400),
        ("/logs", gzip.compress(b" " * (65 * 1_048_576), mtime=0), "gzip", 400),
    ],
)
def test_a_malformed_or_too_large_body_is_refused(
    control: ControlServer, path: str, body: bytes, encoding: str, status: int
) -> None:
    try:
        found = _ask(control, "POST", path, body, Content_Encoding=encoding)[0]
    except (BrokenPipeError, ConnectionResetError):
        found = 400  # the listener closed before it had read everything
    assert found == status


def test_stopping_ends_a_waiting_poll(heard: Heard) -> None:
    waiting = threading.Event()

    class Told(MemorySource):
        def wait(self, etag: str | None, seconds: float) -> tuple[str, bytes] | None:
            waiting.set()
            return super().wait(etag, seconds)

    source = Told()
    control = ControlServer(source, heard.on_logs, heard.status.append)
    control.start()
    etag = source.publish("r", 1)
    found: list[tuple[int, str | None, bytes]] = []

    def poll() -> None:
        found.append(_ask(control, "GET", PATH, If_None_Match=etag, Prefer="wait=60"))

    thread = threading.Thread(target=poll)
    thread.start()
    assert waiting.wait(10)
    control.stop()
    thread.join(10)
    assert found == [(304, etag, b"")]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, False),
        ("", False),
        ("a", True),
        ('"a"', True),
        ('"b", "a"', True),
        ('W/"a"', True),
        ('"ab"', False),
    ],
)
def test_if_none_match_is_a_list(header: str | None, found: bool) -> None:
    assert matches(header, "a") is found


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("modes=snapshot,delta;wait=10", 10),
        ("wait=9999", 60),
        ("wait=-1", 0),
        ("wait=x", 0),
        ("wait", 0),
    ],
)
def test_prefer_says_how_long_to_wait(header: str | None, seconds: float) -> None:
    assert longest_wait(header) == seconds


def test_gzip_is_opened_up_to_a_limit() -> None:
    data = gzip.compress(b"a" * 1000)
    assert gunzip(data, 1000) == b"a" * 1000
    with pytest.raises(InputError):
        gunzip(data, 999)
