"""The embedded runner: snapshot, then stream, in one process; flushes at transaction boundaries."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dataspine.cdc.event import Batch
from dataspine.cdc.flush import Flush, FlushRecord, FlushTarget, Outcome, recover
from dataspine.cdc.lag import Lag, LagWindow
from dataspine.core.errors import UnavailableError

__all__ = ["Runner", "Source", "Status"]

# A flush has a fixed price (opening the sink, four durable commits); under load fewer are better,
# and at the target rate this many rows still come within a third of a second.
FLUSH_ROWS = 20_000
FLUSH_SECONDS = 0.2
_BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)


class Source(Protocol):
    """Where changes come from; ``PostgresSource`` is one."""

    def prepare(self) -> int:
        """Create what streaming needs; return the snapshot's position."""

    def snapshot(self) -> Iterator[Batch]:
        """Yield every row; the last batch has the commit."""

    def stream(self, start_lsn: int) -> Iterator[Batch | None]:
        """Yield what came after a position, for ever; None when nothing came for a moment."""

    def confirm(self, lsn: int) -> None:
        """Allow the source to forget everything up to a position."""

    def destroy(self) -> None:
        """Remove what ``prepare`` created."""

    def disconnect(self) -> None:
        """Close connections; what ``prepare`` created stays."""


@dataclass(slots=True)
class Status:
    """What a route does now; ``outcomes`` counts since the start, per sink."""

    state: str = "starting"
    problem: str = ""
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    lag: dict[str, Lag] = field(default_factory=dict)
    positions: dict[str, dict[str, int | None]] = field(default_factory=dict)


class Runner:
    """Runs one route until told to stop.

    ``flush_rows`` bounds what is held in memory, within a transaction too. ``on_status`` is called
    after each flush and at each change of state. A fault that a retry may cure makes the runner
    start over at the sinks' positions; any other one ends ``run``.
    """

    def __init__(
        self,
        target: FlushTarget,
        sources: Mapping[str, Source],
        *,
        on_status: Callable[[Status], None] = lambda _status: None,
        now: Callable[[], float] = time.time,
        flush_rows: int = FLUSH_ROWS,
    ) -> None:
        self._target = target
        self.flush_rows = flush_rows
        self._sources = dict(sources)
        self._on_status = on_status
        self._now = now
        self._lag = {sink.name: LagWindow() for sink in target.sinks}
        self.status = Status(outcomes={s.name: dict.fromkeys(Outcome.ALL, 0) for s in target.sinks})

    def run(self, stop: threading.Event) -> None:
        """Recover, take missing snapshots, then stream every source until ``stop`` is set."""
        failures = 0
        while not stop.is_set():
            flushed = sum(map(_total, self.status.outcomes.values()))
            try:
                self._run_once(stop)
            except UnavailableError as error:
                if not error.retry:
                    raise
                if sum(map(_total, self.status.outcomes.values())) > flushed:
                    failures = 0
                self._report("waiting", f"{error.code}: {error.problem}")
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
            for line in lines:
                line.flush_ready()
        finally:
            for line in lines:
                line.abort()

    def _start(self, name: str, source: Source, stop: threading.Event) -> dict[str, int | None]:
        positions = recover(self._target, name)
        if None in positions.values():
            # A new slot forgets what sinks with an older position still need, so all start over.
            self._report("snapshot")
            source.destroy()
            source.prepare()
            flush = Flush(self._target, name, self._target.sinks, snapshot=True)
            try:
                end = 0
                for batch in source.snapshot():
                    if stop.is_set():
                        return positions
                    end = batch.begin_lsn
                    flush.add([batch])
                records = flush.commit(end)
            finally:
                flush.abort()
            self._count(records)
            positions.update(dict.fromkeys(positions, end))
        self.status.positions[name] = positions
        return positions

    def _count(self, records: list[FlushRecord]) -> None:
        for record in records:
            held = self.status.outcomes[record.sink]
            for word, count in record.counts.items():
                held[word] += count

    def _report(self, state: str, problem: str = "") -> None:
        self.status.state, self.status.problem = state, problem
        at = self._now()
        self.status.lag = {name: window.read(at) for name, window in self._lag.items()}
        self._on_status(self.status)


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
        self._end = 0
        self._open_rows = 0
        self._limit = runner.flush_rows

    def step(self) -> None:
        """Take one batch, or notice that none came; flush when it is time."""
        batch = next(self._stream)
        if batch is not None:
            self._take(batch)
        if not self._held and self._flush is None:
            return
        due = time.monotonic() - self._since >= FLUSH_SECONDS
        if self._rows >= self._limit or due:
            self._go(batch)

    def _take(self, batch: Batch) -> None:
        if not self._held and self._flush is None:
            self._since = time.monotonic()
        self._held.append(batch)
        self._rows += len(batch.changes)
        self._open_rows += len(batch.changes)
        if batch.commit is not None:
            self._committed.append((batch.commit.committed_at, self._open_rows))
            self._open_rows, self._end = 0, batch.commit.end_lsn
            for window in self._runner._lag.values():
                window.waiting(self._committed[0][0])

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
        if self._open_rows or not self._committed:
            return
        records: list[FlushRecord] = []
        if self._flush is not None or any(batch.changes for batch in self._held):
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
        self._target.hook("confirmed")
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
            window.waiting(None)

    def abort(self) -> None:
        """Give up what is not committed."""
        if self._flush is not None:
            self._flush.abort()
            self._flush = None


def _total(counts: Mapping[str, int]) -> int:
    return sum(counts.values())
