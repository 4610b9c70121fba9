"""Ask OPA and fail closed: whatever is not a whole answer from a bundle is a denial.

Nothing here turns a deny into an allow, and no rule lives here.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Protocol

from dataspine.core.clock import Clock, rfc3339, utc_now
from dataspine.core.errors import InputError, UnavailableError
from dataspine.decisions.decision import POINTS, Decider, Decision, DecisionInput, Policy
from dataspine.decisions.opa_client import Dialect, OpaError

__all__ = ["Engine", "Filter", "FilterError", "Opa", "decide_now", "judged"]

_MAIN = "dataspine/main"
_ROW_FILTER = f"{_MAIN}/row_replicate_filter"
_ROOT = "dataspine"
_PARALLEL = 4
_FEW = 4


class Opa(Protocol):
    """What the engine needs of a client; ``OpaClient`` is one, an adapter may be another."""

    def query(
        self, path: str, question: object, metadata: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Evaluate ``data.<path>`` for an input and return OPA's whole reply."""
        ...

    def data(self, path: str) -> dict[str, Any]:
        """Return OPA's whole reply for ``data.<path>``."""
        ...

    def compile(
        self,
        path: str,
        question: object,
        unknowns: Sequence[str] | None = None,
        dialect: Dialect = "ucast",
    ) -> dict[str, Any]:
        """Evaluate a filter rule partially and return OPA's whole reply."""
        ...


@dataclass(frozen=True, slots=True)
class Filter:
    """A row rule as a condition on the row alone.

    ``ucast`` is there when ``kind`` is ``condition``; ``sql`` is for people to read.
    """

    kind: Literal["always", "never", "condition"]
    ucast: Mapping[str, Any] | None
    sql: str


class FilterError(UnavailableError):
    """The row rules cannot be compiled for these facts; ask OPA row by row, or halt."""

    code = "engine.not_compilable"
    retry = False


class Engine(Decider):
    """Decides through one OPA. ``decide`` never raises for a fault of the engine."""

    def __init__(self, client: Opa, clock: Clock = utc_now) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._newest = -1

    def decide(
        self, question: DecisionInput, *, metadata: Mapping[str, Any] | None = None
    ) -> Decision:
        """Return OPA's decision, or a denial with one of the ``engine.*`` codes."""
        at = self._clock()
        if question.point not in POINTS or not question.facts:
            return Decision.refused(
                question,
                "engine.invalid_input",
                "the input has no facts, or its point is unknown",
                f"Ask at one of: {', '.join(POINTS)}.",
                at,
            )
        path = f"{_MAIN}/{question.point.replace('.', '_')}"
        try:
            reply = self._client.query(path, question.document(), metadata)
        except InputError as error:
            return Decision.refused(question, "engine.invalid_input", error.problem, "", at)
        except UnavailableError as error:
            return Decision.refused(question, _code(error), error.problem, error.remedy, at)
        decision = judged(question, reply, at)
        if decision.policy is not None and self._is_older(decision.policy):
            return Decision.refused(
                question,
                "engine.older_policy",
                f"OPA answered with sequence {decision.policy.sequence}, after a newer one",
                "Publish again: a rollback is a new, higher sequence.",
                at,
            )
        return decision

    def decide_many(self, questions: Sequence[DecisionInput]) -> list[Decision]:
        """Return one decision per question, in order; each has its own entry in OPA's log."""
        if len(questions) <= _FEW:
            return [self.decide(each) for each in questions]
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="decide") as pool:
            return list(pool.map(self.decide, questions))

    def compile_filter(self, facts: Mapping[str, Any], at: datetime) -> Filter:
        """Return the ``row.replicate`` rules for these facts as a condition on the row.

        Raises ``FilterError`` when a rule leaves what OPA can compile, when OPA hints at a missing
        input, or when the bundle has no filter; ``UnavailableError`` when OPA does not answer.
        """
        question = DecisionInput("row.replicate", at, facts).document()
        try:
            reply = self._client.compile(_ROW_FILTER, question, dialect="both")
        except OpaError as error:
            raise _not_compilable(error.problem) from error
        result = reply.get("result")
        if reply.keys() - {"result"} or not isinstance(result, dict | None):
            raise _not_compilable(f"OPA adds {sorted(reply.keys() - {'result'})} to its answer")
        if not result:
            self._prove_filter_exists(question)
            return Filter("never", None, "WHERE FALSE")
        ucast, sql = (_target(result, each) for each in ("ucast", "postgresql"))
        if not isinstance(ucast, dict) or not isinstance(sql, str):
            raise _not_compilable("OPA's answer has no UCAST and SQL")
        return Filter("condition", ucast, sql) if ucast else Filter("always", None, sql)

    def policy(self) -> Policy | None:
        """Return the active bundle's revision and sequence, or None before the first one."""
        bundles = self._client.data("system/bundles").get("result")
        for bundle in bundles.values() if isinstance(bundles, dict) else ():
            manifest = bundle.get("manifest", {})
            if _ROOT in manifest.get("roots", ()):
                sequence = (manifest.get("metadata") or {}).get("sequence")
                return Policy.of({"revision": manifest.get("revision"), "sequence": sequence})
        return None

    def _is_older(self, policy: Policy) -> bool:
        with self._lock:
            newest, self._newest = self._newest, max(self._newest, policy.sequence)
        return policy.sequence < newest

    def _prove_filter_exists(self, question: Mapping[str, Any]) -> None:
        # OPA answers alike for "never" and for a path that does not exist. With the whole input
        # unknown, a rule that exists leaves a residue or leaves the fragment; nothing leaves none.
        try:
            reply = self._client.compile(_ROW_FILTER, question, unknowns=["input"])
        except OpaError as error:
            if "pe_fragment_error" in error.reasons:
                return
            raise _not_compilable(error.problem) from error
        if "result" not in reply:
            raise _not_compilable("the bundle has no filter for row rules, or one that never holds")


def judged(question: DecisionInput, reply: Mapping[str, Any], at: datetime) -> Decision:
    """Return what a reply of OPA, or an event of its log, decided; what is not whole denies."""
    result = reply.get("result")
    if "warning" in reply or not isinstance(result, Mapping):
        return _undefined(question, "OPA gave no answer for this point", at)
    if result.get("policy") is None:
        return _undefined(question, "the answer does not name the bundle that gave it", at)
    given = reply.get("decision_id")
    try:
        return Decision.of(
            {
                **result,
                # Without decision logs OPA gives no id.
                "decision_id": given if given else str(uuid.uuid4()),
                "point": question.point,
                "input_digest": question.digest,
                "evaluated_at": rfc3339(at),
                "at_replaced": False,
            }
        )
    except InputError as error:
        return _undefined(question, f"the answer is malformed: {error}", at)


def decide_now(decider: Decider, question: DecisionInput, clock: Clock = utc_now) -> Decision:
    """Decide with the asker's own time instead of the question's, and say so."""
    decision = decider.decide(replace(question, at=clock()))
    return replace(decision, at_replaced=True)


def _target(result: Mapping[str, Any], name: str) -> object:
    target = result.get(name)
    return target.get("query") if isinstance(target, Mapping) else None


def _code(error: UnavailableError) -> str:
    if not isinstance(error, OpaError):
        return "engine.unavailable"
    if error.status == 400:
        return "engine.invalid_input"
    return "engine.undefined" if error.status in (404, 500) else "engine.unavailable"


def _undefined(question: DecisionInput, message: str, at: datetime) -> Decision:
    return Decision.refused(
        question,
        "engine.undefined",
        message,
        "Check that a bundle is active: `spine opa status`, `spine bundle status`.",
        at,
    )


def _not_compilable(problem: str) -> FilterError:
    return FilterError(
        problem, where=_ROW_FILTER, remedy="Give the row rule a `row_ok` that OPA can compile."
    )
