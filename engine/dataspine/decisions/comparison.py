"""What two bundles answer to recorded questions: some OPAs serve one, as many the other."""

from __future__ import annotations

import contextlib
import os
import queue
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from dataspine.decisions.decision import Decision, DecisionInput
from dataspine.decisions.engine import judged
from dataspine.decisions.recorded import Recorded, microseconds
from dataspine.decisions.replay import FixedBundle, Replayer

__all__ = ["Comparison", "Finding"]

_MOST_WORKERS = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """Both answers to one question for a while.

    They cover ``count`` decisions, of which the event ``row`` is the earliest; ``first`` when no
    earlier answer was needed for this question.
    """

    asked: DecisionInput
    row: int
    count: int
    before: Decision
    after: Decision
    first: bool


class Comparison:
    """A context manager around ``workers`` pairs of OPAs, one with each bundle.

    ``revision`` is the base's: what it answered when a question was recorded is not asked again.
    """

    def __init__(
        self,
        opa: Path,
        base: FixedBundle,
        candidate: FixedBundle,
        revision: str,
        workers: int | None = None,
    ) -> None:
        self._opa = opa
        self._bundles = (base, candidate)
        self._revision = revision
        self._workers = workers or min(os.cpu_count() or 1, _MOST_WORKERS)
        self._stack = contextlib.ExitStack()
        self._idle: queue.SimpleQueue[tuple[Replayer, Replayer]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        """Start every OPA."""
        with contextlib.ExitStack() as starting:
            for _ in range(self._workers):
                base, candidate = (
                    starting.enter_context(Replayer(self._opa, each)) for each in self._bundles
                )
                self._idle.put((base, candidate))
            self._pool = starting.enter_context(ThreadPoolExecutor(self._workers, "impact"))
            self._stack = starting.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop what runs."""
        self._pool.shutdown(cancel_futures=True)
        self._stack.close()

    def recorded(self, batches: Iterable[list[Recorded]]) -> Iterator[Sequence[Finding]]:
        """Yield what became of each batch, in order; a few are under way at any time."""
        waiting: deque[Future[Sequence[Finding]]] = deque()
        for batch in batches:
            waiting.append(self._pool.submit(self._settle, batch))
            if len(waiting) > 2 * self._workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def both(
        self, questions: Sequence[DecisionInput]
    ) -> Iterator[tuple[DecisionInput, Decision, Decision]]:
        """Yield each question of one point with the base's and the candidate's answer."""
        with self._pair() as (base, candidate):
            return zip(questions, base.decide(questions), candidate.decide(questions), strict=True)

    @contextlib.contextmanager
    def _pair(self) -> Iterator[tuple[Replayer, Replayer]]:
        pair = self._idle.get()
        try:
            yield pair
        finally:
            self._idle.put(pair)

    def _settle(self, batch: list[Recorded]) -> Sequence[Finding]:
        """Answer each question for its first time; then again for what neither answer covers."""
        findings: list[Finding] = []
        due = [(recorded, 0) for recorded in batch]
        with self._pair() as (base, candidate):
            while due:
                asked = [recorded.at(index) for recorded, index in due]
                after = candidate.decide(asked)
                before = self._before(base, due, asked)
                later = []
                for (recorded, index), question, was, will in zip(
                    due, asked, before, after, strict=True
                ):
                    end = _end(recorded, index, was, will)
                    row, count = recorded.rows[index], end - index
                    findings.append(Finding(question, row, count, was, will, index == 0))
                    if end < len(recorded.moments):
                        later.append((recorded, end))
                due = later
        return findings

    def _before(
        self,
        base: Replayer,
        due: Sequence[tuple[Recorded, int]],
        asked: Sequence[DecisionInput],
    ) -> list[Decision]:
        # What the base itself answered then is in the log: the same question has the same answer.
        known = {
            number: judged(question, recorded.event, question.at)
            for number, ((recorded, index), question) in enumerate(zip(due, asked, strict=True))
            if index == 0 and _revision(recorded.event) == self._revision
        }
        unknown = [number for number in range(len(due)) if number not in known]
        answers = base.decide([asked[number] for number in unknown]) if unknown else []
        known.update(zip(unknown, answers, strict=True))
        return [known[number] for number in range(len(due))]


def _revision(event: Mapping[str, Any]) -> str | None:
    result = event.get("result")
    policy = result.get("policy") if isinstance(result, Mapping) else None
    return policy.get("revision") if isinstance(policy, Mapping) else None


def _end(recorded: Recorded, index: int, *answers: Decision) -> int:
    """Return the index of the first time that one of the answers does not cover any more."""
    ends = [microseconds(each.valid_until) for each in answers if each.valid_until is not None]
    if not ends:
        return len(recorded.moments)
    return bisect_left(recorded.moments, min(ends), lo=index + 1)
