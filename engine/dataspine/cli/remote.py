"""A running service as a command asks it: one request, one answer, never a second try."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from dataspine.adapters.access import DeniedError
from dataspine.core.canonical import canonical, parse_json
from dataspine.core.errors import (
    ConflictError,
    DataSpineError,
    InputError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
)
from dataspine.decisions.decision import Decision
from dataspine.web.advertisement import LOOPBACK

__all__ = ["DECISION", "VERSION", "Remote"]

DECISION = frozenset(
    ("decision_id", "point", "allow", "violations", "obligations", "policy", "input_digest")
) | {"evaluated_at", "valid_until"}
VERSION = frozenset(
    ("subject", "version", "id", "schemaType", "schema", "semver", "owner", "provenance")
) | {"published_at"}

CONNECT_SECONDS = 5.0
DEADLINE_SECONDS = 60.0
MAX_ANSWER = 32 * 1_048_576
MAX_TOKEN = 8_192
# What problem JSON adds to the document of a denied request.
_PROBLEM = frozenset(
    ("type", "title", "status", "detail", "code", "problem", "where", "remedy", "retry")
) | {"exit_code"}
_KINDS: dict[int, type[DataSpineError]] = {3: UnavailableError, 4: IntegrityError}
_STATUSES: dict[int, type[DataSpineError]] = {404: NotFoundError, 409: ConflictError}


class Remote:
    """One connection to a service; ``connect`` first, ``close`` at the end.

    The address is ``https``, or ``http`` on loopback; ``InputError`` otherwise. Redirects are not
    followed, environment proxies not used. ``token`` travels as a bearer token.
    """

    def __init__(
        self, url: str, *, token: str | None = None, deadline: float = DEADLINE_SECONDS
    ) -> None:
        self.url = url.rstrip("/")
        self._parts = _checked(url)
        self._headers = {"Accept": "application/json", "User-Agent": "data-spine"}
        if token:
            if len(token) > MAX_TOKEN or not token.isascii() or not token.isprintable():
                raise InputError(
                    "the token has characters that no token has",
                    where="SPINE_TOKEN",
                    remedy="Set it to the token alone, without line breaks.",
                    code="input.token",
                )
            self._headers["Authorization"] = f"Bearer {token}"
        self._deadline = deadline
        self._connection = self._made()
        self.timing = ""

    def connect(self) -> None:
        """Reach the service; raise ``UnavailableError`` while nothing was sent yet."""
        try:
            self._connection.connect()
            self._connection.sock.settimeout(self._deadline)
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(
                f"the service cannot be reached: {_reason(error)}",
                where=self.url,
                remedy="Start it with `spine serve`, or work on the workspace with --local.",
                code="server.unreachable",
            ) from None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def get(
        self,
        *segments: str | int,
        query: Mapping[str, object] | None = None,
        has: frozenset[str] = frozenset(),
    ) -> Any:
        """Return the document of a path; ``query`` values of None are left out.

        The document, or each of a list of them, ``has`` these keys, or it is nobody we know.
        """
        wanted = {k: v for k, v in (query or {}).items() if v is not None}
        return self._known(self._ask("GET", segments, wanted, None), has)

    def post(self, *segments: str | int, body: Any, has: frozenset[str]) -> Any:
        """Send a document and return the answer; a denial is an answer, not an error."""
        return self._known(self._ask("POST", segments, {}, canonical(body)), has)

    def _known(self, answer: Any, has: frozenset[str]) -> Any:
        several = answer if isinstance(answer, list) else [answer]
        if has and not all(isinstance(each, dict) and has <= each.keys() for each in several):
            raise self._foreign("it answers another document")
        return answer

    def _ask(
        self,
        method: str,
        segments: Sequence[str | int],
        query: Mapping[str, object],
        body: bytes | None,
    ) -> Any:
        path = self._parts.path.rstrip("/")
        path += "".join(f"/{quote(str(segment), safe='')}" for segment in segments)
        if query:
            path += f"?{urlencode(query)}"
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            status, data = self._exchange(method, path, body, headers)
            answer = parse_json(data, where=self.url, max_bytes=MAX_ANSWER) if data else None
        except (OSError, http.client.HTTPException, InputError) as error:
            raise self._broken(method, _reason(error)) from None
        if status < 300:
            return answer
        whole = answer if isinstance(answer, dict) else {}
        if whole.get("code") == DeniedError.code:
            raise self._not_permitted(whole)
        if "decision_id" in whole:
            return {key: value for key, value in whole.items() if key not in _PROBLEM}
        raise self._error(status, whole)

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        # A socket's timeout is for one operation; a peer that drips bytes needs this one.
        timer = threading.Timer(self._deadline, _interrupt, [self._connection])
        timer.daemon = True
        timer.start()
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            data = response.read(MAX_ANSWER + 1)
        finally:
            timer.cancel()
        if len(data) > MAX_ANSWER:
            raise InputError(
                f"the answer is over the limit of {MAX_ANSWER} bytes",
                where=self.url,
                remedy="Ask for less.",
            )
        if response.length:
            raise http.client.IncompleteRead(data)
        self.timing = response.headers.get("Server-Timing", "")
        return response.status, data

    def _made(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=CONNECT_SECONDS, context=context)
        return http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)

    def _broken(self, method: str, reason: str) -> UnavailableError:
        error = UnavailableError(
            f"the service broke off in the middle: {reason}",
            where=self.url,
            remedy="Look at what it did before you run it again."
            if method == "POST"
            else "Run it again; see the service's log.",
            code="server.broken",
        )
        error.retry = method != "POST"
        return error

    def _foreign(
        self, problem: str, kind: type[DataSpineError] = UnavailableError
    ) -> DataSpineError:
        return kind(
            problem,
            where=self.url,
            remedy="Check that the address is a Data Spine service.",
            code="server.foreign",
        )

    def _not_permitted(self, whole: Mapping[str, Any]) -> DataSpineError:
        try:
            decision = Decision.of(
                {key: value for key, value in whole.items() if key not in _PROBLEM}
            )
        except (InputError, StopIteration):
            return self._foreign("it denies without saying why")
        return DeniedError(decision, str(whole.get("where", "")))

    def _error(self, status: int, whole: Mapping[str, Any]) -> DataSpineError:
        if 300 <= status < 400:
            return InputError(
                f"it answers with a redirect (HTTP {status})",
                where=self.url,
                remedy="Name the address that it redirects to.",
                code="server.redirected",
            )
        code, problem = whole.get("code"), whole.get("problem")
        if not isinstance(code, str) or not isinstance(problem, str):
            kind = UnavailableError if status >= 500 else InputError
            return self._foreign(f"it answers HTTP {status} without saying why", kind)
        known = _KINDS.get(whole.get("exit_code", 2), _STATUSES.get(status, InputError))
        error = (DataSpineError if whole.get("exit_code") == DataSpineError.exit_code else known)(
            problem,
            where=str(whole.get("where", "")),
            remedy=str(whole.get("remedy", "")),
            code=code,
        )
        error.retry = whole.get("retry") is True
        return error


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        plain = parts.username is None and not parts.query and not parts.fragment
        if safe and plain and parts.hostname and parts.port != 0 and url.isprintable():
            return parts
    except ValueError:
        pass
    raise InputError(
        "a service's address is https://, or http:// on loopback, and carries no credentials",
        where="--server",
        remedy="Write https://HOST, and give the token by SPINE_TOKEN.",
        code="input.server_url",
    )


def _interrupt(connection: http.client.HTTPConnection) -> None:
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) if isinstance(error, InputError) else type(error).__name__
