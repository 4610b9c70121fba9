"""The private listener of one OPA child: bundles with long poll, decision logs, status.

It starts before the child and stops after it, so the child's last log entries have a place to go.
"""

from __future__ import annotations

import contextlib
import gzip
import hmac
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from dataspine.bundles import TrustedKey
from dataspine.core.canonical import parse_json
from dataspine.core.errors import DataSpineError, InputError
from dataspine.core.token import new_token

__all__ = ["BundleSource", "ControlServer", "gunzip", "longest_wait", "matches", "refusal"]

BUNDLE = "main"
_BUNDLE_PATH = f"/bundles/{BUNDLE}.tar.gz"
_LONG_POLL_TYPE = "application/vnd.openpolicyagent.bundles"
_MAX_BODY = 4 * 1_048_576
_MAX_PLAIN = 64 * 1_048_576
_MAX_WAIT = 60.0
_SLICE = 0.5
_STEP = 262_144


class BundleSource(Protocol):
    """What the control listener needs of a bundle store."""

    def current(self) -> tuple[str, bytes] | None:
        """Return the ETag (without quotes) and bytes of the signed bundle, or None."""
        ...

    def wait(self, etag: str | None, seconds: float) -> tuple[str, bytes] | None:
        """Return the first bundle with another ETag, or None after ``seconds``."""
        ...

    def trusted_keys(self) -> Sequence[TrustedKey]:
        """Return the keys that may have signed it."""
        ...


class ControlServer:
    """Serves one OPA child on loopback, at a port that the system chose, with a random token.

    ``on_logs`` gets a chunk as OPA sends it, a gzipped JSON array. It and ``on_status`` run in a
    request's thread; when ``on_logs`` raises, OPA keeps the events and sends them again.
    """

    def __init__(
        self,
        source: BundleSource,
        on_logs: Callable[[bytes], None],
        on_status: Callable[[dict[str, Any]], None],
    ) -> None:
        self.token = new_token()
        self.source = source
        self.on_logs = on_logs
        self._on_status = on_status
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.control = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="opa-control", daemon=True
        )
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._heard: float | None = None
        self._served: str | None = None
        self._rejected: set[str] = set()

    @property
    def address(self) -> str:
        """Return the listener's address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def policy_age(self) -> float | None:
        """Seconds since the child last asked while the store could be read; None before that."""
        return None if self._heard is None else time.monotonic() - self._heard

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End waiting polls and stop serving."""
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def forget(self) -> None:
        """Offer every bundle again: a new child has refused nothing yet."""
        with self._lock:
            self._served = None
            self._rejected.clear()

    def offer(self, known: str | None, seconds: float) -> tuple[str, bytes] | None:
        """Return a bundle that the child has not and has not refused, or None after ``seconds``.

        ``known`` is the header ``If-None-Match``.
        """
        end = time.monotonic() + min(seconds, _MAX_WAIT)
        found = self.source.current()
        while True:
            self._heard = time.monotonic()
            if found is not None and self._is_news(found[0], known):
                with self._lock:
                    self._served = found[0]
                return found
            left = end - time.monotonic()
            if left <= 0 or self._stopping.is_set():
                return None
            # In slices, so that stopping and a status report are seen while nothing is published.
            latest = found[0] if found is not None else None
            found = self.source.wait(latest, min(left, _SLICE)) or self.source.current()

    def status(self, report: dict[str, Any]) -> None:
        """Take a status report: hold back what the child refused, then pass it on."""
        report.pop("metrics", None)
        bundles = report.get("bundles")
        bundle = bundles.get(BUNDLE) if isinstance(bundles, Mapping) else None
        if isinstance(bundle, Mapping) and refusal(bundle) is not None:
            with self._lock:
                if self._served is not None:
                    self._rejected.add(self._served)
        self._on_status(report)

    def _is_news(self, etag: str, known: str | None) -> bool:
        with self._lock:
            return etag not in self._rejected and not matches(known, etag)


def matches(header: str | None, etag: str) -> bool:
    """Tell whether an ``If-None-Match`` header, a list of quoted or bare tags, names ``etag``."""
    tags = (header or "").split(",")
    return any(tag.strip().removeprefix("W/").strip('"') == etag for tag in tags)


def refusal(bundle: Mapping[str, Any]) -> str | None:
    """Return why OPA refused the bundle that it was served, by its status report, or None.

    OPA would download what it refused again at once, for ever.
    """
    message = str(bundle.get("message", ""))
    # A download that failed says nothing about the bundle.
    failed = bundle.get("http_code") or message.startswith("request failed")
    if not bundle.get("code") or failed:
        return None
    errors = bundle.get("errors")
    details = errors if isinstance(errors, list) else []
    words = [str(e["message"]) for e in details if isinstance(e, Mapping) and "message" in e]
    return ": ".join([message, *words])


def longest_wait(prefer: str | None) -> float:
    """Return the seconds of ``wait=`` in a ``Prefer`` header, 0 without one."""
    for part in (prefer or "").replace(",", ";").split(";"):
        name, _, value = part.strip().partition("=")
        if name.lower() == "wait" and value.isascii() and value.isdigit():
            return min(float(value), _MAX_WAIT)
    return 0.0


def gunzip(data: bytes, limit: int) -> bytearray:
    """Decompress one gzip member, or raise ``InputError`` when damaged or over ``limit``."""
    decoder = zlib.decompressobj(wbits=31)
    plain = bytearray()
    try:
        while not decoder.eof and data and len(plain) <= limit:
            plain += decoder.decompress(data, _STEP)
            data = decoder.unconsumed_tail
    except zlib.error:
        raise InputError("the body is not gzip", where="body", remedy="Send gzip.") from None
    if len(plain) > limit:
        raise InputError(
            f"the body holds more than {limit} bytes",
            where="body",
            remedy="Send smaller bodies.",
            code="input.too_large",
        )
    if not decoder.eof:
        raise InputError("the body is cut off", where="body", remedy="Send it whole.")
    return plain


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    control: ControlServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay quiet: OPA repeats what failed, and its status report says why."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120
    server: _Server

    def do_GET(self) -> None:
        if not self._authentic():
            return
        if self.path.partition("?")[0] != _BUNDLE_PATH:
            self._answer(404)
            return
        known = self.headers.get("If-None-Match")
        try:
            found = self.server.control.offer(known, longest_wait(self.headers.get("Prefer")))
        except DataSpineError:
            self._answer(503)  # the child keeps what it has and asks again
            return
        if found is not None:
            self._answer(200, found[1], {"ETag": f'"{found[0]}"', "Content-Type": _LONG_POLL_TYPE})
        elif known:
            self._answer(304, headers={"ETag": known, "Content-Type": _LONG_POLL_TYPE})
        else:
            self._answer(404)

    def do_POST(self) -> None:
        if not self._authentic():
            return
        control = self.server.control
        try:
            if self.path == "/logs":
                control.on_logs(self._packed())
            elif self.path == "/status":
                control.status(self._report())
            else:
                self._answer(404)
                return
        except InputError:
            self._answer(400)
        except DataSpineError:
            self._answer(503)  # OPA keeps the events and tries again
        except Exception:
            self._answer(500)
            raise
        else:
            self._answer(204)

    def _authentic(self) -> bool:
        sent = self.headers.get("Authorization", "").encode()
        if hmac.compare_digest(sent, f"Bearer {self.server.control.token}".encode()):
            return True
        self._answer(401)
        return False

    def _report(self) -> dict[str, Any]:
        body = bytes(gunzip(self._body(), _MAX_PLAIN)) if self._is_packed() else self._body()
        report = parse_json(body, where=self.path, max_bytes=_MAX_PLAIN)
        if not isinstance(report, dict):
            raise InputError("a status report is a JSON object", remedy="Send an object.")
        return report

    def _packed(self) -> bytes:
        # As OPA sent it: reading it here and packing it again cost more than the decision.
        return self._body() if self._is_packed() else gzip.compress(self._body(), 1)

    def _is_packed(self) -> bool:
        return self.headers.get("Content-Encoding", "").lower() == "gzip"

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > _MAX_BODY:
            raise InputError("no body of a length within the limit", remedy="Send less.")
        return self.rfile.read(int(length))

    def _answer(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        if status >= 400:
            self.close_connection = True  # an unread body must not become the next request
        with contextlib.suppress(OSError):  # the child died; nobody waits for the answer
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if status not in (204, 304):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited name
        """Stay quiet: requests of the child are no news."""
