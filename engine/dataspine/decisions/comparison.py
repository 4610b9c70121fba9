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
from typing import Any, Literal, Self

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
        """Answer each question for its first time; then again for what an answer covers no more."""
        findings: list[Finding] = []
        due = [_Due(recorded) for recorded in batch]
        with self._pair() as (base, candidate):
            while due:
                self._recall(due)
                _ask(base, due, "before")
                _ask(candidate, due, "after")
                findings += [each.finding() for each in due]
                due = [later for each in due if (later := each.later()) is not None]
        return findings

    def _recall(self, due: Sequence[_Due]) -> None:
        # What the base itself answered then is in the log: the same question has the same answer.
        for each in due:
            event = each.recorded.event
            if each.index == 0 and _revision(event) == self._revision:
                each.before = judged(each.question, event, each.question.at)


@dataclass(slots=True)
class _Due:
    """A question at one of its moments, and the answers that are known to cover it."""

    recorded: Recorded
    index: int = 0
    before: Decision | None = None
    after: Decision | None = None

    @property
    def question(self) -> DecisionInput:
        return self.recorded.at(self.index)

    def finding(self) -> Finding:
        row, count = self.recorded.rows[self.index], self._end - self.index
        return Finding(self.question, row, count, *self._answers, first=self.index == 0)

    def later(self) -> _Due | None:
        """Return it at the first moment that not both answers cover, or None."""
        end = self._end
        if end == len(self.recorded.moments):
            return None
        kept = (each if self._covered(each) > end else None for each in self._answers)
        return _Due(self.recorded, end, *kept)

    @property
    def _answers(self) -> tuple[Decision, Decision]:
        if self.before is None or self.after is None:
            raise AssertionError("neither was left out")
        return self.before, self.after

    @property
    def _end(self) -> int:
        return min(map(self._covered, self._answers))

    def _covered(self, answer: Decision) -> int:
        """Return the index of the first moment that an answer does not cover any more."""
        moments = self.recorded.moments
        if answer.valid_until is None:
            return len(moments)
        return bisect_left(moments, microseconds(answer.valid_until), lo=self.index + 1)


def _ask(replayer: Replayer, due: Sequence[_Due], side: Literal["before", "after"]) -> None:
    unknown = [each for each in due if getattr(each, side) is None]
    answers = replayer.decide([each.question for each in unknown]) if unknown else []
    for each, answer in zip(unknown, answers, strict=True):
        setattr(each, side, answer)


def _revision(event: Mapping[str, Any]) -> str | None:
    result = event.get("result")
    policy = result.get("policy") if isinstance(result, Mapping) else None
    return policy.get("revision") if isinstance(policy, Mapping) else None
