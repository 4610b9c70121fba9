"""A small client of OPA's REST interface: keep-alive, pooled, one write per request.

The hot path is a unix socket; a loopback or TLS address works the same way.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from dataspine.core.errors import InputError, UnavailableError
from dataspine.decisions._http import NoReplyError, ProtocolError, Reply, read_reply

__all__ = ["Dialect", "OpaClient", "OpaError"]

Dialect = Literal["ucast", "sql", "both"]

_ACCEPT = {
    "ucast": "application/vnd.opa.ucast.all+json",
    "sql": "application/vnd.opa.sql.postgresql+json",
    "both": "application/vnd.opa.multitarget+json",
}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MAX_REPLY = 64 * 1_048_576
_READ = 65_536


class OpaError(UnavailableError):
    """OPA answered, but with an error: ``status``, its ``reasons``, and its words."""

    code = "engine.error"
    retry = False

    def __init__(self, status: int, problem: str, reasons: Sequence[str], where: str) -> None:
        super().__init__(problem, where=where, remedy="Check the bundle and the input.")
        self.status = status
        self.reasons = tuple(reasons)


@dataclass(frozen=True, slots=True)
class _Address:
    path: str | None
    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, address: str) -> _Address:
        parts = urlsplit(address)
        if parts.scheme == "unix" and parts.path:
            return cls(parts.path, "localhost", 0, False)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        bare = parts.path in ("", "/") and not parts.query and parts.username is None
        if host and bare and (parts.scheme == "https" or _is_plain_loopback(parts.scheme, host)):
            tls = parts.scheme == "https"
            return cls(None, host, port or (443 if tls else 80), tls)
        raise InputError(
            "no address of OPA",
            where=address.partition("@")[2] or address,
            remedy="Use unix:///path, http://127.0.0.1:PORT, or https://host.",
        )

    def connect(self, seconds: float) -> socket.socket:
        if self.path is not None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(seconds)
                connection.connect(self.path)
            except BaseException:
                connection.close()
                raise
            return connection
        connection = socket.create_connection((self.host, self.port), seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.tls:
            return connection
        try:
            context = ssl.create_default_context()
            return context.wrap_socket(connection, server_hostname=self.host)
        except BaseException:
            connection.close()
            raise


class OpaClient:
    """A thread-safe client of one OPA at ``unix:///path``, ``http://`` loopback, or ``https://``.

    Every call ends within ``deadline`` seconds. A kept connection that OPA closed meanwhile is
    replaced once. Unreachable, late or unreadable raises ``UnavailableError``; an error that OPA
    answers raises ``OpaError``.
    """

    def __init__(
        self, address: str, *, token: str | None = None, deadline: float = 5.0, pool: int = 8
    ) -> None:
        self.address = address
        self.deadline = deadline
        self._address = _Address.parse(address)
        self._idle: list[socket.socket] = []
        self._pool = pool
        self._closed = False
        self._lock = threading.Lock()
        if token is not None and (not token.isascii() or not token.isprintable() or " " in token):
            raise InputError("the token of OPA is malformed", remedy="Use printable ASCII.")
        self._credentials = f"Authorization: Bearer {token}\r\n" if token else ""

    def query(
        self, path: str, question: object, metadata: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Evaluate ``data.<path>`` and return OPA's whole reply.

        ``metadata`` is logged by OPA beside the decision and never read by a rule; it cannot be
        masked, so it holds no personal data.
        """
        body = {**(metadata or {}), "input": question}
        return self._call("POST", f"/v1/data/{quote(path)}", body)

    def evaluate(self, query: str, question: object) -> list[dict[str, Any]]:
        """Evaluate an ad-hoc query of our own and return its bindings, one object per solution."""
        reply = self._call("POST", "/v1/query", {"query": query, "input": question})
        found = reply.get("result", [])
        if not isinstance(found, list):
            raise self._unavailable("OPA's reply has no list of solutions")
        return found

    def data(self, path: str) -> dict[str, Any]:
        """Return OPA's whole reply for ``data.<path>`` without an input."""
        return self._call("GET", f"/v1/data/{quote(path)}")

    def compile(
        self,
        path: str,
        question: object,
        unknowns: Sequence[str] | None = None,
        dialect: Dialect = "ucast",
    ) -> dict[str, Any]:
        """Evaluate the filter rule ``data.<path>`` partially and return OPA's whole reply.

        ``both`` answers UCAST and SQL of one evaluation. ``unknowns`` replaces the rule's own.
        """
        body: dict[str, Any] = {"input": question}
        if unknowns is not None:
            body["unknowns"] = list(unknowns)
        if dialect == "both":
            body["options"] = {"targetDialects": ["ucast+all", "sql+postgresql"]}
        return self._call("POST", f"/v1/compile/{quote(path)}", body, _ACCEPT[dialect])

    def status(self) -> dict[str, Any]:
        """Return OPA's whole status; an ``OpaError`` when its status plugin is off."""
        return self._call("GET", "/v1/status")

    def healthy(self) -> bool:
        """Tell whether OPA answers at all; never raises for a fault of OPA."""
        try:
            return self._exchange("GET", "/health", b"", "*/*").status == 200
        except UnavailableError:
            return False

    def close(self) -> None:
        """Close every kept connection; later calls raise ``UnavailableError``."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _call(
        self, method: str, target: str, body: object = None, accept: str = "application/json"
    ) -> dict[str, Any]:
        data = b"" if body is None else _encode(body)
        reply = self._exchange(method, target, data, accept)
        try:
            document = json.loads(reply.body) if reply.body else {}
        except (ValueError, RecursionError):
            document = None
        if reply.status != 200:
            raise _refused(reply.status, document, self.address)
        if not isinstance(document, dict):
            raise self._unavailable("OPA's reply is no JSON object")
        return document

    def _exchange(self, method: str, target: str, body: bytes, accept: str) -> Reply:
        end = time.monotonic() + self.deadline
        # One write: a head that travels alone waits for the peer's acknowledgement.
        request = (
            f"{method} {target} HTTP/1.1\r\nHost: {self._address.host}\r\n"
            f"Accept: {accept}\r\nContent-Type: application/json\r\n{self._credentials}"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        kept = self._take()
        if kept is not None:
            try:
                return self._talk(kept, request, end)
            except (NoReplyError, BrokenPipeError, ConnectionResetError):
                pass  # OPA closed it while it was idle; a query changes nothing, so ask again
            except (OSError, ProtocolError) as error:
                raise self._unavailable(_reason(error)) from error
        try:
            return self._talk(self._address.connect(_left(end)), request, end)
        except (OSError, ProtocolError) as error:
            raise self._unavailable(_reason(error)) from error

    def _talk(self, connection: socket.socket, request: bytes, end: float) -> Reply:
        keep = False
        try:
            connection.settimeout(_left(end))
            connection.sendall(request)
            reply = read_reply(_receiver(connection, end), _MAX_REPLY)
            keep = reply.reusable
            return reply
        finally:
            if not keep or not self._give(connection):
                connection.close()

    def _take(self) -> socket.socket | None:
        with self._lock:
            if self._closed:
                raise self._unavailable("the client is closed")
            return self._idle.pop() if self._idle else None

    def _give(self, connection: socket.socket) -> bool:
        with self._lock:
            if self._closed or len(self._idle) >= self._pool:
                return False
            self._idle.append(connection)
            return True

    def _unavailable(self, problem: str) -> UnavailableError:
        return UnavailableError(
            problem,
            where=self.address,
            remedy="Check that OPA runs there; see `spine opa status`.",
            code="engine.unavailable",
        )


def _is_plain_loopback(scheme: str, host: str) -> bool:
    # Without TLS the token and the answers would travel in the clear.
    return scheme == "http" and host in _LOOPBACK


def _encode(body: object) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            "the input is no JSON value",
            remedy="Send JSON values only.",
            code="engine.invalid_input",
        ) from error


def _receiver(connection: socket.socket, end: float) -> Callable[[], bytes]:
    def receive() -> bytes:
        connection.settimeout(_left(end))
        return connection.recv(_READ)

    return receive


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "OPA did not answer in time"
    if isinstance(error, ProtocolError):
        return f"OPA's reply cannot be read: {error}"
    return f"OPA cannot be reached: {getattr(error, 'strerror', None) or type(error).__name__}"


def _refused(status: int, document: object, where: str) -> OpaError:
    whole = document if isinstance(document, Mapping) else {}
    errors = whole.get("errors")
    details = [each for each in errors if isinstance(each, Mapping)] if errors else []
    problem = str(whole.get("message", "no reason given"))
    if details:
        place = details[0].get("location")
        at = f" at {place.get('file')}:{place.get('row')}" if isinstance(place, Mapping) else ""
        problem = f"{problem}: {details[0].get('message')}{at}"
    reasons = [str(each["code"]) for each in (whole, *details) if "code" in each]
    return OpaError(status, f"OPA answered {status}: {problem}", reasons, where)
