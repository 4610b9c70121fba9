"""Delivery: the outbox's events to every receiver, at least once, each run's in their order."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from dataspine.core.canonical import canonical
from dataspine.core.clock import Clock, rfc3339, utc_now
from dataspine.core.configuration import AllowedReceiver
from dataspine.core.database import Database
from dataspine.core.errors import DataSpineError, UnavailableError
from dataspine.core.files import private
from dataspine.core.workspace import Receiver
from dataspine.lineage._tables import deliveries, receivers
from dataspine.lineage.outbox import LOCAL, Entry, pending, settle
from dataspine.lineage.recipient import Recipient
from dataspine.lineage.store import LineageStore

__all__ = ["Delivery"]

_logger = logging.getLogger(__name__)

IDLE_SECONDS = 0.2
DEADLINE_SECONDS = 10.0
BACKOFF_BASE = 0.5
BACKOFF_CAP = 60.0
RETRY_AFTER_CAP = 600.0
BATCH_SIZE = 100
MAX_ANSWER = 1_048_576
_PATH = "/api/v1/lineage"
_RETRIED = frozenset({408, 425, 429})

Seconds = Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a receiver said; status 0 means that it could not be reached."""

    status: int
    body: bytes = b""
    retry_after: float | None = None

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def retriable(self) -> bool:
        return self.status == 0 or self.status in _RETRIED or self.status >= 500


@dataclass(slots=True)
class _Backoff:
    """Full jitter: each failure doubles the longest wait, the wait is anything below it."""

    random: Callable[[], float]
    attempts: int = 0
    until: float = 0.0

    def failed(self, now: float, retry_after: float | None) -> None:
        longest = min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(self.attempts, 20))
        self.attempts += 1
        wait = self.random() * longest
        self.until = now + max(wait, min(retry_after or 0.0, RETRY_AFTER_CAP))


@dataclass(slots=True)
class _Pass:
    """What one pass over the waiting events has decided so far."""

    outcomes: dict[int, tuple[str, str]] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)


class Delivery:
    """Sends in background threads, one for each receiver and one for the workspace's own store.

    A receiver that is down or slow holds nothing else up, nor does a run whose event fails. An
    event that a receiver refuses for good becomes a dead letter: a line of ``dead_letters``,
    fsynced, then a row. One process delivers at a time; others wait for its end. ``root`` is the
    folder that ``file:`` references of tokens are relative to, ``allowed`` who may get one.
    """

    def __init__(  # noqa: PLR0913 - time and randomness are passed in
        self,
        database: Database,
        receivers: Iterable[Receiver],
        *,
        dead_letters: Path,
        root: Path = Path(),
        allowed: Sequence[AllowedReceiver] = (),
        clock: Clock = utc_now,
        monotonic: Seconds = time.monotonic,
        random: Callable[[], float] = random.random,
        idle_seconds: float = IDLE_SECONDS,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self._database = database
        self._store = LineageStore(database, clock=clock)
        self._clock = clock
        self._dead_letters = dead_letters
        self._idle = idle_seconds
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        file_lock = threading.Lock()
        self._workers = [
            _Worker(
                database,
                receiver,
                _Sender(Recipient(receiver, allowed, root=root), deadline_seconds),
                _DeadLetters(dead_letters, file_lock),
                clock=clock,
                monotonic=monotonic,
                random=random,
            )
            for receiver in receivers
        ]

    def start(self) -> None:
        """Start the threads."""
        self._stop.clear()
        self._register()
        steps = [self._feed, *(worker.step for worker in self._workers)]
        names = ["local", *(worker.name for worker in self._workers)]
        for name, step in zip(names, steps, strict=True):
            thread = threading.Thread(
                target=self._loop, args=(name, step), name=f"lineage-{name}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """End the threads; what is not delivered stays in the outbox."""
        self._stop.set()
        # The first close interrupts a request on its way; the second what that thread opened since.
        self._close()
        for thread in self._threads:
            thread.join(seconds)
        self._threads.clear()
        self._close()

    def step(self) -> int:
        """Make one pass for the store and each receiver; return how many events were settled."""
        self._register()
        return self._feed() + sum(worker.step() for worker in self._workers)

    def _close(self) -> None:
        for worker in self._workers:
            worker.close()

    def _feed(self) -> int:
        return self._store.catch_up()

    def _loop(self, name: str, step: Callable[[], int]) -> None:
        while not self._stop.is_set():
            with self._database.lease(f"lineage-{name}", self._stop, self._idle) as holds:
                while not self._stop.is_set() and holds():
                    if not self._attempt(name, step):
                        self._stop.wait(self._idle)

    def _attempt(self, name: str, step: Callable[[], int]) -> int:
        try:
            return step()
        except DataSpineError as error:
            _logger.warning("lineage delivery to %s: %s", name, error)
        except Exception:
            _logger.exception("lineage delivery to %s failed", name)
        return 0

    def _register(self) -> None:
        """Make the configured receivers, and no others, those that events are pending for."""
        names = [worker.name for worker in self._workers]
        with self._database.begin() as connection:
            for table in (receivers, deliveries):
                gone = table.c.receiver.not_in([LOCAL, *names])
                connection.execute(sa.delete(table).where(gone))
            for name in names:
                settle(connection, name, {}, at=rfc3339(self._clock()))


class _Worker:
    """One receiver: which events are due, what is done with its answers."""

    def __init__(  # noqa: PLR0913 - what Delivery was given
        self,
        database: Database,
        receiver: Receiver,
        sender: _Sender,
        dead_letters: _DeadLetters,
        *,
        clock: Clock,
        monotonic: Seconds,
        random: Callable[[], float],
    ) -> None:
        self.name = receiver.name
        self._database = database
        self._batch = receiver.batch
        self._sender = sender
        self._dead_letters = dead_letters
        self._clock = clock
        self._monotonic = monotonic
        self._random = random
        self._partitions: dict[str, _Backoff] = {}
        self._whole = _Backoff(random)

    def close(self) -> None:
        self._sender.close()

    def step(self) -> int:
        """Send what is due and return how many events were settled."""
        settled, after = 0, 0
        while self._monotonic() >= self._whole.until:
            with self._database.read() as connection:
                waiting = pending(connection, self.name, after=after)
            if not waiting:
                break
            after = waiting[-1].seq
            settled += self._send(waiting)
        return settled

    def _send(self, waiting: list[Entry]) -> int:
        now = self._monotonic()
        current = _Pass(blocked={p for p, b in self._partitions.items() if b.until > now})
        try:
            if self._batch:
                due = [e for e in waiting if e.partition not in current.blocked]
                for start in range(0, len(due), BATCH_SIZE):
                    self._send_batch(due[start : start + BATCH_SIZE], current)
            else:
                for entry in waiting:
                    self._send_one(entry, current)
        finally:
            if current.outcomes:
                with self._database.begin() as connection:
                    settle(connection, self.name, current.outcomes, at=rfc3339(self._clock()))
        return len(current.outcomes)

    def _send_one(self, entry: Entry, current: _Pass) -> None:
        if entry.partition in current.blocked or self._monotonic() < self._whole.until:
            return
        answer = self._sender.post(entry.body.encode(), batch=False)
        self._judge(entry, answer, current)

    def _send_batch(self, entries: list[Entry], current: _Pass) -> None:
        entries = [e for e in entries if e.partition not in current.blocked]
        if not entries or self._monotonic() < self._whole.until:
            return
        body = "[" + ",".join(entry.body for entry in entries) + "]"
        answer = self._sender.post(body.encode(), batch=True)
        if answer.accepted:
            failed = _failed(answer.body, len(entries))
            for index, entry in enumerate(entries):
                self._judge(entry, failed.get(index, _Answer(200)), current)
        elif answer.retriable:
            self._whole.failed(self._monotonic(), answer.retry_after)
        elif len(entries) == 1:
            self._judge(entries[0], answer, current)
        else:
            # The receiver refuses the whole: halves find the event that it means.
            middle = len(entries) // 2
            self._send_batch(entries[:middle], current)
            self._send_batch(entries[middle:], current)

    def _judge(self, entry: Entry, answer: _Answer, current: _Pass) -> None:
        if answer.accepted:
            current.outcomes[entry.seq] = ("delivered", "")
            self._partitions.pop(entry.partition, None)
            self._whole = _Backoff(self._random)
        elif answer.retriable:
            # Unreachable or overloaded: no other event would fare better.
            if answer.status == 0 or answer.retry_after is not None:
                self._whole.failed(self._monotonic(), answer.retry_after)
            else:
                backoff = self._partitions.setdefault(entry.partition, _Backoff(self._random))
                backoff.failed(self._monotonic(), None)
            current.blocked.add(entry.partition)
        else:
            reason = f"HTTP {answer.status}"
            self._dead_letters.add(self.name, entry, reason, at=rfc3339(self._clock()))
            current.outcomes[entry.seq] = ("dead", reason)
            self._partitions.pop(entry.partition, None)


class _Sender:
    """One keep-alive connection: no redirects, a deadline for the whole request."""

    def __init__(self, recipient: Recipient, deadline: float) -> None:
        self._recipient = recipient
        self._deadline = deadline
        self._connection: http.client.HTTPConnection | None = None
        self._url = recipient.url

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _interrupt(connection)
            connection.close()

    def post(self, body: bytes, *, batch: bool) -> _Answer:
        """Send a body; a peer that cannot be reached or understood answers with status 0."""
        path = (self._url.path if self._url.path not in ("", "/") else _PATH).rstrip("/")
        headers = {"Content-Type": "application/json", "User-Agent": "data-spine"}
        try:
            token = self._recipient.token()
        except DataSpineError as error:
            _logger.warning("receiver %s: %s", self._recipient.name, error)
            return _Answer(0)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        target = f"{path}/batch" if batch else path
        if self._url.query:
            target += f"?{self._url.query}"
        fresh = self._connection is None
        try:
            return self._exchange(target, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not fresh and isinstance(error, http.client.RemoteDisconnected | ConnectionError):
                # The peer had closed an idle connection; the request is sent once more.
                with contextlib.suppress(OSError, http.client.HTTPException):
                    return self._exchange(target, body, headers)
                self.close()
            _logger.info("receiver %s: %s", self._recipient.name, type(error).__name__)
            return _Answer(0)

    def _exchange(self, target: str, body: bytes, headers: Mapping[str, str]) -> _Answer:
        if self._connection is None:
            self._connection = self._open()
        connection = self._connection
        # A socket's timeout is for one operation; a peer that drips bytes needs this one.
        timer = threading.Timer(self._deadline, _interrupt, [connection])
        timer.daemon = True
        timer.start()
        try:
            connection.request("POST", target, body, dict(headers))
            response = connection.getresponse()
            data = response.read(MAX_ANSWER + 1)
            if len(data) > MAX_ANSWER or response.will_close:
                self.close()
            return _Answer(response.status, data, _retry_after(response.headers["Retry-After"]))
        finally:
            timer.cancel()

    def _open(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=self._deadline, context=context)
        return http.client.HTTPConnection(host, port, timeout=self._deadline)


class _DeadLetters:
    """The file of dead letters: one JSON line each, on disk before the row says so."""

    def __init__(self, path: Path, lock: threading.Lock) -> None:
        self._path = path
        self._lock = lock

    def add(self, receiver: str, entry: Entry, reason: str, *, at: str) -> None:
        line = canonical(
            {
                "at": at,
                "receiver": receiver,
                "id": entry.id,
                "partition": entry.partition,
                "reason": reason,
                "event": json.loads(entry.body),
            }
        )
        try:
            with self._lock, open(self._path, "ab", opener=private) as file:
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UnavailableError(
                f"the dead letter cannot be written: {error.strerror}",
                where=str(self._path),
                remedy="Check the file's owner, mode and disk; the event stays pending.",
                code="lineage.dead_letter_unwritable",
            ) from error


def _interrupt(connection: http.client.HTTPConnection) -> None:
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _retry_after(text: str | None) -> float | None:
    """Return the seconds of a ``Retry-After``; its date form is left to the backoff."""
    return float(text) if text and text.strip().isdecimal() else None


def _failed(body: bytes, count: int) -> dict[int, _Answer]:
    """Read which events of a batch failed; an answer of another shape reports none."""
    try:
        told = json.loads(body or b"{}").get("failed_events") or ()
        return {
            item["index"]: _Answer(503 if item.get("retriable") else 422)
            for item in told
            if isinstance(item["index"], int) and 0 <= item["index"] < count
        }
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}
