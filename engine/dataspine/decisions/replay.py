"""Many questions to one fixed bundle, on a private OPA that logs nothing."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dataspine.bundles import TrustedKey
from dataspine.core.canonical import sha256
from dataspine.core.clock import Clock, utc_now
from dataspine.core.errors import UnavailableError
from dataspine.decisions.decision import POINTS, Decision, DecisionInput
from dataspine.decisions.engine import Engine, judged
from dataspine.decisions.opa_client import OpaError
from dataspine.decisions.supervisor import OpaChild

__all__ = ["FixedBundle", "Replayer"]

_START_SECONDS = 30.0
# `with input` makes OPA forget all that it has computed, even what no question can change. These
# documents are most of a decision's time: OPA computes them once for a batch. A set that is not
# there is as good as an empty one, and `is_whole` is true or as good as false.
_CONSTANTS = {
    "dataspine.lib.bundle_data.is_whole": "count({{1 | {path}}}) > 0",
    "dataspine.lib.exceptions.boundaries": "{{each | some each in {path}}}",
    "dataspine.lib.transfers.boundaries": "{{each | some each in {path}}}",
}
_DEADLINE_SECONDS = 120.0
_KNOWN = "; ".join(
    f"c{number} := {value.format(path=f'data.{path}')}"
    for number, (path, value) in enumerate(_CONSTANTS.items())
)
_WITH = " ".join(
    ("with input as q", *(f"with data.{path} as c{n}" for n, path in enumerate(_CONSTANTS)))
)


class FixedBundle:
    """A bundle source over one verified archive; ``keys`` are those that may have signed it."""

    def __init__(self, data: bytes, keys: Sequence[TrustedKey]) -> None:
        self.etag = sha256(data)
        self._data = data
        self._keys = tuple(keys)
        self._never = threading.Event()

    def current(self) -> tuple[str, bytes]:
        """Return the ETag and the bytes."""
        return self.etag, self._data

    def wait(self, etag: str | None, seconds: float) -> tuple[str, bytes] | None:
        """Return the bundle unless ``etag`` is its own: then there is no other, ever."""
        if etag != self.etag:
            return self.current()
        self._never.wait(seconds)
        return None

    def trusted_keys(self) -> Sequence[TrustedKey]:
        """Return the public keys that may have signed it."""
        return self._keys


class Replayer:
    """A context manager around one OPA that serves one bundle; it decides in batches.

    Nothing that is asked here enters a decision log or the journal.
    """

    def __init__(self, opa: Path, bundle: FixedBundle, *, clock: Clock = utc_now) -> None:
        self._bundle = bundle
        self._clock = clock
        self._child = OpaChild(opa, bundle, on_logs=None, deadline=_DEADLINE_SECONDS)
        self._engine = Engine(self._child.client, clock)

    def __enter__(self) -> Self:
        """Start OPA; return when the bundle is active."""
        self._child.start()
        try:
            self._child.wait_active(timeout=_START_SECONDS, etag=self._bundle.etag)
        except BaseException:
            self._child.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop OPA."""
        self._child.stop()

    def decide(self, questions: Sequence[DecisionInput]) -> list[Decision]:
        """Return one decision per question of one point, in order.

        A fault of the rules is a denial ``engine.*``, as everywhere. A fault of OPA raises
        ``UnavailableError``: that it was away says nothing about the bundle.
        """
        points = {each.point for each in questions}
        if len(questions) > 1 and len(points) == 1 and points <= set(POINTS):
            try:
                return self._batch(questions)
            except OpaError:
                # One rule that fails takes the whole query with it: halve until it stands alone.
                half = len(questions) // 2
                return self.decide(questions[:half]) + self.decide(questions[half:])
        return [self._single(each) for each in questions]

    def _batch(self, questions: Sequence[DecisionInput]) -> list[Decision]:
        path = f"data.dataspine.main.{questions[0].point.replace('.', '_')}"
        query = f"{_KNOWN}; answers := {{i: a | some i, q in input; a := {path} {_WITH}}}"
        found = self._child.client.evaluate(query, [each.document() for each in questions])
        answers: Mapping[str, Any] = found[0].get("answers", {}) if found else {}
        at = self._clock()
        decisions = []
        for number, question in enumerate(questions):
            answer = answers.get(str(number))
            reply = {} if answer is None else {"result": answer}
            decisions.append(judged(question, reply, at))
        return decisions

    def _single(self, question: DecisionInput) -> Decision:
        decision = self._engine.decide(question)
        if "engine.unavailable" in decision.codes and decision.policy is None:
            raise UnavailableError(
                decision.violations[0].message,
                remedy="Run it again; see `spine doctor`.",
                code="engine.unavailable",
            )
        return decision
