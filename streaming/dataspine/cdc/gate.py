"""The gate: OPA's row rule, compiled, proved equal to OPA's answers, and asked once per class.

A class is a tuple of guard values under one revision. Its first row gets a ``Decision``; later rows
count under it. The compiled predicate must say the same as the decision, on generated boundary rows
before use and on every class after; anything else stops the route. Nothing here knows a rule.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import product
from typing import Any, Protocol

from dataspine.cdc.event import Column
from dataspine.cdc.refusal import MAX_CLASSES, MAX_GUARD_BYTES, REFUSALS
from dataspine.core.clock import Clock
from dataspine.core.errors import DataSpineError, IntegrityError, UnavailableError
from dataspine.decisions.decision import Decision, Policy
from dataspine.decisions.fault import Fault

__all__ = [
    "POINT",
    "Action",
    "Asker",
    "CompiledFilter",
    "Gate",
    "Predicate",
    "Verdict",
    "boundary_rows",
    "bounded",
    "predicate",
    "typed",
    "verdict_of",
]

POINT = "row.replicate"
_CLASSES = 100_000
_MAX_BOUNDARY_ROWS = 600

GuardRow = Mapping[str, Any]
Predicate = Callable[[GuardRow], bool]


class CompiledFilter(Protocol):
    """A row rule compiled for known facts: ``always``, ``never`` or a UCAST ``condition``."""

    @property
    def kind(self) -> str:
        """``always``, ``never`` or ``condition``."""

    @property
    def ucast(self) -> dict[str, Any] | None:
        """The condition."""


class Asker(Protocol):
    """Who answers; an adapter over the decision engine."""

    def decide(self, point: str, facts: Mapping[str, Any], row: GuardRow) -> Decision:
        """Answer for one row; never raises for a fault of the engine."""

    def compile_filter(self, facts: Mapping[str, Any], at: datetime) -> CompiledFilter | None:
        """Compile the row rule, or return None when it leaves the compilable fragment."""

    def policy(self) -> Policy | None:
        """Return what would answer now."""

    def refuse(self, point: str, facts: Mapping[str, Any], code: str, words: Fault) -> Decision:
        """Return the recorded denial of rows about which nobody asks OPA."""


class Action(StrEnum):
    """What the gate says about a row."""

    ALLOW = "allow"
    PARK = "park"
    DROP = "drop"


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """One class's answer; compared by identity, so that rows are counted without hashing texts.

    ``detail`` says in words what the codes leave open, without any value.
    """

    action: Action
    decision_id: str
    codes: tuple[str, ...]
    detail: str = ""


class Gate:
    """The gate of one route, table and sink.

    ``guards`` are the guard columns as the source describes them, ``masks`` what the sink does to
    the table's columns. ``refresh`` must succeed before rows are judged.
    """

    def __init__(
        self,
        asker: Asker,
        facts: Mapping[str, Any],
        guards: Sequence[Column],
        masks: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._asker = asker
        self._facts = facts
        self._guards = tuple(guards)
        self._masks = masks
        self._clock = clock
        self._policy: Policy | None = None
        self._valid_until: datetime | None = None
        self._predicate: Predicate | None = None
        self._memo: _Memo = _Memo(self._judge)
        self._refusals: dict[str, Verdict] = {}
        self._classes = 0

    @property
    def revision(self) -> str:
        """The revision that answers; empty before the first ``refresh``."""
        return self._policy.revision if self._policy else ""

    @property
    def pushed_down(self) -> bool:
        """Whether the rule compiled; if not, OPA is asked for every class alone."""
        return self._predicate is not None

    def refresh(self) -> None:
        """Compile and prove again when the policy changed or its time ran out, or raise."""
        policy, at = self._asker.policy(), self._clock()
        if policy is None:
            raise _unavailable("no policy is active")
        expired = self._valid_until is not None and at >= self._valid_until
        if policy == self._policy and not expired:
            return
        # 1. Nothing old answers while the new one is prepared, not even when that fails.
        self._policy = self._valid_until = self._predicate = None
        self._memo.clear()
        self._refusals.clear()
        compiled = self._asker.compile_filter(self._facts, at)
        # 2. Answers during the proof must come from this policy.
        self._policy = policy
        try:
            if compiled is not None:
                test = predicate(compiled)
                self._prove(test, compiled)
                self._predicate = test
        except DataSpineError:
            self._policy = None
            raise

    def begin_flush(self) -> None:
        """Let OPA be asked about ``MAX_CLASSES`` more classes."""
        self._classes = 0

    def judge(self, columns: Sequence[Sequence[str | None]], count: int) -> list[Verdict]:
        """Return a verdict per row; ``columns`` are the guard columns, each ``count`` long."""
        memo = self._memo
        if len(memo) > _CLASSES:
            memo.clear()
        if len(columns) == 1:
            return list(map(memo.__getitem__, columns[0]))
        if not columns:
            return [memo[()]] * count
        return list(map(memo.__getitem__, zip(*columns, strict=True)))

    def _judge(self, key: Any) -> Verdict:
        values = (key,) if len(self._guards) == 1 else key
        if any(value is not None and value != bounded(value) for value in values):
            return self._refuse("cdc.home_too_long")
        if self._classes >= MAX_CLASSES:
            return self._refuse("cdc.too_many_homes")
        self._classes += 1
        row = {
            column.name: typed(column.type, value)
            for column, value in zip(self._guards, values, strict=True)
        }
        decision = self._ask(row)
        if self._predicate is not None and self._predicate(row) is not decision.allow:
            raise _mismatch(self._facts)
        verdict = self._memo[key] = verdict_of(decision, self._masks)
        return verdict

    def _refuse(self, code: str) -> Verdict:
        # One class for all of them, however many there are; Python may park, and never allows.
        known = self._refusals.get(code)
        if known is None:
            words = REFUSALS[code]
            decision = self._asker.refuse(POINT, self._facts, code, words)
            known = Verdict(Action.PARK, decision.decision_id, (code,), words.title)
            self._refusals[code] = known
        return known

    def _ask(self, row: GuardRow) -> Decision:
        decision = self._asker.decide(POINT, self._facts, row)
        if decision.policy is None:
            # Infrastructure faults halt the route; they never park a row.
            raise _unavailable("the decision engine gave no answer")
        if decision.policy != self._policy:
            self._policy = None
            raise _unavailable("the policy changed while rows were judged")
        if decision.valid_until is not None and (
            self._valid_until is None or decision.valid_until < self._valid_until
        ):
            self._valid_until = decision.valid_until
        return decision

    def _prove(self, test: Predicate, compiled: CompiledFilter) -> None:
        for row in boundary_rows([c.name for c in self._guards], compiled.ucast):
            if test(row) is not self._ask(row).allow:
                raise _mismatch(self._facts)


class _Memo(dict[Any, Verdict]):
    """Verdicts by guard values; a missing one is asked for, and kept by whoever answers."""

    def __init__(self, ask: Callable[[Any], Verdict]) -> None:
        super().__init__()
        self._ask = ask

    def __missing__(self, key: Any) -> Verdict:
        return self._ask(key)


def verdict_of(decision: Decision, masks: Mapping[str, str]) -> Verdict:
    """Return what becomes of a row under a decision, when ``masks`` are what the sink does."""
    if not decision.allow:
        return Verdict(Action.PARK, decision.decision_id, tuple(decision.codes))
    types = Counter(o.type for o in decision.obligations)
    if types.pop("drop_row", 0):
        return Verdict(Action.DROP, decision.decision_id, ())
    for obligation in decision.obligations:
        method = masks.get(obligation.field or "")
        fulfilled = (obligation.type == "mask" and method == obligation.method) or (
            obligation.type == "drop_column" and method == "null"
        )
        if not fulfilled:
            return Verdict(Action.PARK, decision.decision_id, ("cdc.obligation_unmet",))
    return Verdict(Action.ALLOW, decision.decision_id, ())


def bounded(value: str) -> str:
    """Return a guard value, or its beginning when it is longer than any is judged by."""
    if len(value) <= MAX_GUARD_BYTES // 4:  # a character has four bytes at most
        return value
    return value[:MAX_GUARD_BYTES].encode()[:MAX_GUARD_BYTES].decode(errors="ignore")


def typed(kind: str, value: str | None) -> str | int | bool | None:
    """Turn PostgreSQL's text into the JSON value that a rule compares."""
    if value is None:
        return None
    if kind in {"int2", "int4", "int8"}:
        # A dead letter can be from when the column was text; then a rule sees the text.
        with contextlib.suppress(ValueError):
            return int(value)
    if kind == "bool":
        return value == "t"
    return value


# -- UCAST ---------------------------------------------------------------------------------------


def predicate(compiled: CompiledFilter) -> Predicate:
    """Turn a compiled filter into a function of the guard values; unknown nodes are refused."""
    if compiled.kind == "always":
        return lambda _row: True
    if compiled.kind == "never":
        return lambda _row: False
    if compiled.kind == "condition" and compiled.ucast is not None:
        return _node(compiled.ucast)
    raise _unknown(compiled.kind)


def _node(node: Mapping[str, Any]) -> Predicate:
    operator, value = node.get("operator"), node.get("value")
    if node.get("type") == "field":
        return _field(str(node.get("field")), str(operator), value)
    if node.get("type") != "compound" or not isinstance(value, list):
        raise _unknown(str(node.get("type")))
    parts = [_node(child) for child in value]
    if operator == "and":
        return lambda row: all(part(row) for part in parts)
    if operator == "or":
        return lambda row: any(part(row) for part in parts)
    if operator == "not":
        return lambda row: not all(part(row) for part in parts)
    raise _unknown(str(operator))


def _field(path: str, operator: str, literal: Any) -> Predicate:
    name = path.removeprefix("row.")
    if operator == "in":
        members = {_comparable(item) for item in literal}
        return lambda row: name in row and _comparable(row[name]) in members
    test = _TESTS.get(operator)
    if test is None:
        raise _unknown(operator)
    wanted = _comparable(literal)
    return lambda row: name in row and test(_comparable(row[name]), wanted)


# Rego orders values of different types: null < boolean < number < string.
_Comparable = tuple[int, Any]


def _comparable(value: Any) -> _Comparable:
    if value is None:
        return (0, 0)
    if isinstance(value, bool):
        return (1, value)
    if isinstance(value, int | float):
        return (2, value)
    return (3, value)


def _text(test: Callable[[str, str], bool]) -> Callable[[_Comparable, _Comparable], bool]:
    return lambda a, b: a[0] == 3 and b[0] == 3 and test(a[1], b[1])


_TESTS: dict[str, Callable[[_Comparable, _Comparable], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "ge": lambda a, b: a >= b,
    "startswith": _text(str.startswith),
    "endswith": _text(str.endswith),
    "contains": _text(lambda a, b: b in a),
}


def boundary_rows(columns: Sequence[str], ucast: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return rows on which a compiled filter and OPA could differ, each value in one column."""
    literals: dict[str, list[Any]] = {name: [] for name in columns}
    for name, value in _literals(ucast or {}):
        literals.setdefault(name, []).append(value)
    values = {name: _around(literals[name]) for name in columns}
    base = {name: next(iter(literals[name]), "ZZ") for name in columns}
    rows: list[dict[str, Any]] = [base, {}]
    for name in columns:
        rows.extend({**base, name: value} for value in values[name])
        rows.append({other: value for other, value in base.items() if other != name})
    if len(columns) > 1:
        pairs = product(*(values[name][:6] for name in columns))
        rows.extend(dict(zip(columns, pair, strict=True)) for pair in pairs)
    return rows[:_MAX_BOUNDARY_ROWS]


def _literals(node: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    value = node.get("value")
    if node.get("type") == "field":
        name = str(node.get("field")).removeprefix("row.")
        yield from ((name, item) for item in (value if isinstance(value, list) else [value]))
    elif isinstance(value, list):
        for child in value:
            yield from _literals(child)


def _around(literals: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for literal in literals:
        found.append(literal)
        if isinstance(literal, str):
            found += [literal.swapcase(), f"{literal} ", f" {literal}"]
        elif isinstance(literal, int) and not isinstance(literal, bool):
            found += [literal - 1, literal + 1, str(literal)]
    return [
        *found,
        *(None, "", "ZZ", "zz", "\u00c5land", "\u0130", "\U0001f1e9\U0001f1ea", "x" * 300),
        *(0, 7, 2**53 - 1, 2**53 + 1, True, False),
    ]


def _unavailable(problem: str) -> UnavailableError:
    return UnavailableError(
        problem,
        where="gate",
        remedy="Nothing was written; the route tries again when OPA answers.",
        code="cdc.gate_unavailable",
    )


def _mismatch(facts: Mapping[str, Any]) -> IntegrityError:
    return IntegrityError(
        "the compiled row rule and OPA's decision differ",
        where=f"{facts.get('name', '')}/{facts.get('table', '')}",
        remedy="Give the row rule a `row_ok` that says what its `deny` says; the route is halted.",
        code="cdc.gate_mismatch",
    )


def _unknown(what: str) -> IntegrityError:
    return IntegrityError(
        f"the compiled row rule has an unknown part {what!r}",
        where="gate",
        remedy="Use a supported OPA, or a simpler row rule; the route is halted.",
        code="cdc.gate_mismatch",
    )
