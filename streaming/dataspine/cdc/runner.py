"""The embedded runner: snapshot, then stream, in one process; flushes at transaction boundaries."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dataspine.cdc.event import Batch
from dataspine.cdc.flush import Flush, FlushRecord, FlushTarget, Outcome, older_sink, recover
from dataspine.cdc.lag import Lag, LagWindow
from dataspine.cdc.postgres import SlotState
from dataspine.core.errors import DataSpineError

__all__ = ["REPORT_SECONDS", "STARTING_OVER", "Runner", "Source", "Status"]

# A flush has a fixed price (opening the sink, four durable commits); under load fewer are better,
# and at the target rate this many rows still come within a third of a second.
FLUSH_ROWS = 20_000
FLUSH_SECONDS = 0.2
PROBE_SECONDS = 10.0
SKEW_SECONDS = 60.0
REPORT_SECONDS = 5.0
STARTING_OVER = "starting over"
_BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)
# What was between the sinks' position and now cannot be had any more, except as a new snapshot.
_LOST = frozenset(
    {"cdc.slot_missing", "cdc.slot_lost", "cdc.publication_changed", "cdc.key_changed"}
)


class _StoppedError(Exception):
    """The run was told to stop while a source waited."""


class Source(Protocol):
    """Where changes come from; ``PostgresSource`` is one."""

    def prepare(self, on_wait: Callable[[str], None]) -> int:
        """Create what streaming needs; return the snapshot's position.

        While the source makes it wait, ``on_wait`` is called with what for, and may raise.
        """

    def snapshot(self, on_wait: Callable[[str], None]) -> Iterator[Batch]:
        """Yield every row; the last batch has the commit. ``on_wait`` as in ``prepare``."""

    def stream(self, start_lsn: int) -> Iterator[Batch | None]:
        """Yield what came after a position, for ever; None when nothing came for a moment."""

    def confirm(self, lsn: int) -> None:
        """Allow the source to forget everything up to a position."""

    def heartbeat(self) -> None:
        """Send a transaction through the stream: a batch with ``heartbeat`` set."""

    def probe(self) -> SlotState:
        """Say how far the source's slot is, or raise when changes are missed."""

    def clock_skew(self) -> float:
        """Return by how many seconds the source's clock is ahead."""

    def destroy(self) -> None:
        """Remove what ``prepare`` created."""

    def disconnect(self) -> None:
        """Close connections; what ``prepare`` created stays."""


@dataclass(slots=True)
class Status:
    """What a route does now; ``outcomes`` counts since the start, per sink.

    ``clock_skew`` (seconds) and ``slot_lag_bytes`` are by source, as last sampled. ``started_over``
    says by source why its last snapshot replaced an earlier life of the route. While it waits for a
    fault to pass, ``where`` and ``remedy`` belong to ``problem``, and ``failing_since`` (seconds
    since the epoch) is when the first attempt failed.
    """

    state: str = "starting"
    problem: str = ""
    where: str = ""
    remedy: str = ""
    failing_since: float | None = None
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    lag: dict[str, Lag] = field(default_factory=dict)
    positions: dict[str, dict[str, int | None]] = field(default_factory=dict)
    clock_skew: dict[str, float] = field(default_factory=dict)
    slot_lag_bytes: dict[str, int] = field(default_factory=dict)
    started_over: dict[str, str] = field(default_factory=dict)


class Runner:
    """Runs one route until told to stop.

    ``flush_rows`` bounds what is held in memory, within a transaction too. ``on_status`` is called
    after each flush, at each change of state and every few seconds. A fault that a retry may cure
    makes the runner start again at the sinks' positions; where the source can no longer continue
    there, with a new snapshot; any other one ends ``run``. A heartbeat is sent after
    ``heartbeat_seconds`` without a flush.
    """

    def __init__(
        self,
        target: FlushTarget,
        sources: Mapping[str, Source],
        *,
        on_status: Callable[[Status], None] = lambda _status: None,
        now: Callable[[], float] = time.time,
        flush_rows: int = FLUSH_ROWS,
        heartbeat_seconds: float = PROBE_SECONDS,
    ) -> None:
        self._target = target
        self.flush_rows = flush_rows
        self.heartbeat_seconds = heartbeat_seconds
        self._sources = dict(sources)
        self._on_status = on_status
        self._now = now
        self._reported = 0.0
        self._gone: dict[str, DataSpineError] = {}
        self._lag = {sink.name: LagWindow() for sink in target.sinks}
        self.status = Status(outcomes={s.name: dict.fromkeys(Outcome.ALL, 0) for s in target.sinks})

    def run(self, stop: threading.Event) -> None:
        """Recover, take missing snapshots, then stream every source until ``stop`` is set."""
        failures = 0
        while not stop.is_set():
            flushed = sum(map(_total, self.status.outcomes.values()))
            try:
                self._run_once(stop)
            except DataSpineError as error:
                if not error.retry and error.code not in _LOST:
                    raise
                if sum(map(_total, self.status.outcomes.values())) > flushed:
                    failures = 0
                self._stall(self._sources)
                self._report_waiting(error)
                stop.wait(_BACKOFF[min(failures, len(_BACKOFF) - 1)])
                failures += 1
            finally:
                for source in self._sources.values():
                    source.disconnect()
        self._report("stopped")

    def _run_once(self, stop: threading.Event) -> None:
        lines = []
        for name, source in self._sources.items():
            positions = self._start(name, source, stop)
            if stop.is_set():
                return
            lines.append(_Line(self, name, source, positions))
        self._report("streaming")
        try:
            while not stop.is_set():
                for line in lines:
                    line.step()
                    # An open flush has the dead-letter store for itself until it ends.
                    while line.is_open and not stop.is_set():
                        line.step()
            for line in lines:
                line.flush_ready()
        finally:
            for line in lines:
                line.abort()

    def _start(self, name: str, source: Source, stop: threading.Event) -> dict[str, int | None]:
        positions = recover(self._target, name)
        is_new = None in positions.values()
        # What the stream itself found cannot be seen at the slot.
        lost = None if is_new else self._gone.pop(name, None) or _lost(source)
        if lost is None and not is_new:
            lost = older_sink(self._target, name, positions)
        if lost is not None:
            reason = f"{lost.code}: {lost.problem}"
            self.status.started_over[name] = reason
            self._report(STARTING_OVER, reason)
        if is_new or lost is not None:
            with contextlib.suppress(_StoppedError):
                self._take_snapshot(name, source, stop, positions)
        self.status.positions[name] = positions
        return positions

    def _take_snapshot(
        self, name: str, source: Source, stop: threading.Event, positions: dict[str, int | None]
    ) -> None:
        self._stall([name])
        self._report("snapshot")

        def on_wait(blocker: str) -> None:
            if blocker != self.status.problem:
                self._report("snapshot", blocker)
            self._report_sometimes()
            if stop.is_set():
                raise _StoppedError

        # A new slot forgets what sinks with an older position still need, so all start over.
        source.destroy()
        source.prepare(on_wait)
        flush = Flush(self._target, name, self._target.sinks, snapshot=True)
        try:
            end = 0
            for batch in source.snapshot(on_wait):
                if stop.is_set():
                    return
                end = batch.begin_lsn
                flush.add([batch])
                self._report_sometimes()
            records = flush.commit(end)
        finally:
            flush.abort()
        self._count(records)
        positions.update(dict.fromkeys(positions, end))

    def _stall(self, sources: Mapping[str, Source] | list[str]) -> None:
        at = self._now()
        for name in sources:
            for window in self._lag.values():
                window.stalled(name, at)

    def _count(self, records: list[FlushRecord]) -> None:
        for record in records:
            held = self.status.outcomes[record.sink]
            for word, count in record.counts.items():
                held[word] += count

    def _report_waiting(self, error: DataSpineError) -> None:
        if self.status.failing_since is None:
            self.status.failing_since = self._now()
        self._report("waiting", f"{error.code}: {error.problem}", error)

    def _report(self, state: str, problem: str = "", error: DataSpineError | None = None) -> None:
        self.status.state, self.status.problem = state, problem
        self.status.where, self.status.remedy = (error.where, error.remedy) if error else ("", "")
        if state == "streaming":
            self.status.failing_since = None
        at = self._now()
        self.status.lag = {name: window.read(at) for name, window in self._lag.items()}
        self._on_status(self.status)
        self._reported = time.monotonic()

    def _report_sometimes(self) -> None:
        if time.monotonic() - self._reported >= REPORT_SECONDS:
            self._report(self.status.state, self.status.problem)


class _Line:
    """One source's stream on its way into flushes."""

    def __init__(
        self, runner: Runner, name: str, source: Source, positions: dict[str, int | None]
    ) -> None:
        self._runner = runner
        self._target = runner._target
        self._name = name
        self._source = source
        self._positions = positions
        start = min(p for p in positions.values() if p is not None)
        self._stream = iter(source.stream(start))
        self._held: list[Batch] = []
        self._rows = 0
        self._since = 0.0
        self._flush: Flush | None = None
        self._committed: list[tuple[float, int]] = []
        self._end = self._confirmed = start
        self._open_rows = 0
        self._limit = runner.flush_rows
        # The first heartbeat goes out at once: until it arrives, nobody knows that the line is up.
        self._probe_due = self._skew_due = self._beat_due = time.monotonic()
        self._skew = 0.0
        self._beat: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether pieces of a transaction wait in an open flush."""
        return self._flush is not None

    def step(self) -> None:
        """Take one batch, or notice that none came; flush when it is time."""
        self._look()
        try:
            batch = next(self._stream)
        except DataSpineError as error:
            if error.code in _LOST:
                self._runner._gone[self._name] = error
            raise
        if batch is not None:
            self._take(batch)
        self._runner._report_sometimes()
        if not self._held and self._flush is None:
            return
        due = time.monotonic() - self._since >= FLUSH_SECONDS
        if self._rows >= self._limit or due:
            self._go(batch)

    def _look(self) -> None:
        """See to clocks, slot and heartbeat when their time has come."""
        at, status = time.monotonic(), self._runner.status
        if at >= self._skew_due:
            self._skew = status.clock_skew[self._name] = self._source.clock_skew()
            self._skew_due = at + SKEW_SECONDS
        if at >= self._probe_due:
            status.slot_lag_bytes[self._name] = self._source.probe().lag_bytes
            self._probe_due = at + PROBE_SECONDS
        if at >= self._beat_due and self._beat is None:
            self._beat = self._runner._now()
            self._source.heartbeat()
            self._wait_for(self._committed[0][0] if self._committed else self._beat)

    def _take(self, batch: Batch) -> None:
        if not self._held and self._flush is None:
            self._since = time.monotonic()
        self._held.append(batch)
        self._rows += len(batch.changes)
        self._open_rows += len(batch.changes)
        if batch.commit is None:
            return
        self._end = batch.commit.end_lsn
        if self._open_rows or batch.heartbeat:
            # On this machine's clock, as the sink's commit will be.
            self._committed.append((batch.commit.committed_at - self._skew, self._open_rows))
            self._wait_for(self._committed[0][0])
        if batch.heartbeat:
            self._beat = None
            self._beat_due = time.monotonic() + self._runner.heartbeat_seconds
        self._open_rows = 0

    def _wait_for(self, since: float | None) -> None:
        for window in self._runner._lag.values():
            window.waiting(self._name, since)

    def _go(self, batch: Batch | None) -> None:
        at_boundary = self._held[-1].commit is not None if self._held else self._open_rows == 0
        if at_boundary:
            self.flush_ready()
        elif batch is not None and self._rows >= self._limit:
            # A huge transaction: its pieces wait in open transactions, not in memory.
            self._stage()

    def _stage(self) -> None:
        if self._flush is None:
            self._flush = Flush(self._target, self._name, self._target.sinks)
        self._flush.add(self._held, self._positions)
        self._held, self._rows = [], 0

    def flush_ready(self) -> None:
        """Flush what is held, if it ends with a transaction's end."""
        if self._open_rows or self._end == self._confirmed:
            return
        records: list[FlushRecord] = []
        if self._committed:
            self._stage()
            flush, self._flush = self._flush, None
            if flush is not None:
                try:
                    records = flush.commit(self._end)
                finally:
                    flush.abort()
            self._positions.update({s.name: self._end for s in self._target.sinks})
        self._held, self._rows = [], 0
        self._source.confirm(self._end)
        self._confirmed = self._end
        self._target.hook("confirmed")
        if not self._committed:
            return
        self._beat_due = time.monotonic() + self._runner.heartbeat_seconds
        self._measure(records)
        self._committed = []
        self._runner._count(records)
        self._runner._report("streaming")

    def _measure(self, records: list[FlushRecord]) -> None:
        at = self._runner._now()
        for record in records:
            window = self._runner._lag[record.sink]
            total = _total(record.counts)
            # Parked rows are no samples, so the records of a transaction shrink by their share.
            share = 1 - record.counts[Outcome.PARKED] / total if total else 0
            for committed_at, rows in self._committed:
                window.applied(committed_at, at, round(rows * share))
        for window in self._runner._lag.values():
            for committed_at, rows in self._committed:
                if not rows:
                    window.passed(committed_at, at)
        self._wait_for(self._beat)

    def abort(self) -> None:
        """Give up what is not committed."""
        if self._flush is not None:
            self._flush.abort()
            self._flush = None


def _lost(source: Source) -> DataSpineError | None:
    """Return why the source cannot go on from the sinks' positions, or None when it can."""
    try:
        source.probe()
    except DataSpineError as error:
        if error.code in _LOST:
            return error
        raise
    return None


def _total(counts: Mapping[str, int]) -> int:
    return sum(counts.values())
