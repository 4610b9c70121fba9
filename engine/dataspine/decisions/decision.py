"""The question that every enforcement point asks, and the answer that it gets.

Both are frozen values with one JSON document each; REST, CLI, journal and lineage show the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from dataspine.core.canonical import digest
from dataspine.core.clock import parse_rfc3339, rfc3339
from dataspine.core.errors import InputError

__all__ = [
    "POINTS",
    "Decider",
    "Decision",
    "DecisionInput",
    "Obligation",
    "Policy",
    "Violation",
]

POINTS = (
    "schema.publish",
    "route.deploy",
    "row.replicate",
    "dead_letter.replay",
    "workload.admit",
    "query.release",
    "bundle.promote",
    "api.access",
)

_QUESTION_KEYS = {"point", "at", "facts", "row"}


@dataclass(frozen=True, slots=True)
class DecisionInput:
    """What a point asks about: facts only, and the time it asks for.

    ``row`` is there for row rules alone and holds guard columns only.
    """

    point: str
    at: datetime
    facts: Mapping[str, Any]
    row: Mapping[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """Return the JSON object that OPA reads as ``input``."""
        return {**self._timeless(), "at": rfc3339(self.at)}

    @property
    def digest(self) -> str:
        """Return ``sha256:…`` of the document without ``at``."""
        return digest(self._timeless())

    @classmethod
    def parse(cls, document: object, where: str = "") -> DecisionInput:
        """Return the question of a JSON object, or raise ``InputError`` naming the pointer."""
        whole = _mapping(document, where, "")
        for key in whole:
            if key not in _QUESTION_KEYS:
                raise _wrong(where, f"/{key}", "the key is unknown")
        row = whole.get("row")
        return cls(
            point=_text(whole, "point", where),
            at=parse_rfc3339(_text(whole, "at", where), where=_place(where, "/at")),
            facts=_mapping(whole.get("facts"), where, "/facts"),
            row=None if row is None else _mapping(row, where, "/row"),
        )

    def _timeless(self) -> dict[str, Any]:
        document: dict[str, Any] = {"point": self.point, "facts": dict(self.facts)}
        if self.row is not None:
            document["row"] = dict(self.row)
        return document


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule. Severity ``warn`` does not deny, every other value does."""

    code: str
    severity: str
    message: str
    path: str
    remediation: str
    controls: tuple[str, ...] = ()
    field: str | None = None
    line: int | None = None
    exception: Mapping[str, Any] | None = None

    @property
    def denies(self) -> bool:
        """Tell whether this violation alone denies."""
        return self.severity != "warn"

    def document(self) -> dict[str, Any]:
        """Return the JSON object; ``field``, ``line``, ``exception`` only when known."""
        document: dict[str, Any] = {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "path": self.path,
            "remediation": self.remediation,
            "controls": list(self.controls),
        }
        if self.field is not None:
            document["field"] = self.field
        if self.line is not None:
            document["line"] = self.line
        if self.exception is not None:
            document["exception"] = dict(self.exception)
        return document

    @classmethod
    def of(cls, document: object) -> Violation:
        """Return the violation of a JSON object, or raise ``InputError``."""
        whole = _mapping(document, "", "/violations")
        controls = whole.get("controls", [])
        if not isinstance(controls, list) or not all(isinstance(each, str) for each in controls):
            raise _wrong("", "/violations/controls", "no list of strings")
        line = whole.get("line")
        if line is not None and (not isinstance(line, int) or isinstance(line, bool)):
            raise _wrong("", "/violations/line", "no whole number")
        exception = whole.get("exception")
        return cls(
            code=_text(whole, "code"),
            severity=_text(whole, "severity"),
            message=_text(whole, "message"),
            path=_text(whole, "path"),
            remediation=_text(whole, "remediation"),
            controls=tuple(controls),
            field=_optional_text(whole, "field"),
            line=line,
            exception=None if exception is None else _mapping(exception, "", "/exception"),
        )


@dataclass(frozen=True, slots=True)
class Obligation:
    """What the caller must do for the allow to hold."""

    type: str
    path: str
    field: str
    method: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the JSON object; ``method`` only when there is one."""
        document = {"type": self.type, "path": self.path, "field": self.field}
        return document if self.method is None else {**document, "method": self.method}

    @classmethod
    def of(cls, document: object) -> Obligation:
        """Return the obligation of a JSON object, or raise ``InputError``."""
        whole = _mapping(document, "", "/obligations")
        return cls(
            type=_text(whole, "type"),
            path=_text(whole, "path"),
            field=_text(whole, "field"),
            method=_optional_text(whole, "method"),
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """Which bundle answered: its revision, and its sequence in its channel."""

    revision: str
    sequence: int

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {"revision": self.revision, "sequence": self.sequence}

    @classmethod
    def of(cls, document: object) -> Policy:
        """Return the policy of a JSON object, or raise ``InputError``."""
        whole = _mapping(document, "", "/policy")
        sequence = whole.get("sequence")
        if not isinstance(sequence, int) or isinstance(sequence, bool) or sequence < 0:
            raise _wrong("", "/policy/sequence", "no whole number from 0")
        revision = _text(whole, "revision")
        if not revision:
            raise _wrong("", "/policy/revision", "empty")
        return cls(revision=revision, sequence=sequence)


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer for one input at one point. ``policy`` is None when no bundle answered."""

    decision_id: str
    point: str
    allow: bool
    violations: tuple[Violation, ...]
    obligations: tuple[Obligation, ...]
    policy: Policy | None
    input_digest: str
    evaluated_at: datetime
    valid_until: datetime | None
    at_replaced: bool = field(default=False)

    @property
    def codes(self) -> tuple[str, ...]:
        """Return the codes of the violations that deny, sorted, each once."""
        return tuple(sorted({each.code for each in self.violations if each.denies}))

    @property
    def result_digest(self) -> str:
        """Return ``sha256:…`` of what OPA answered: equal answers have equal digests."""
        return digest(self._result())

    def document(self) -> dict[str, Any]:
        """Return the JSON object that REST, CLI and the journal show."""
        document = {
            "decision_id": self.decision_id,
            "point": self.point,
            **self._result(),
            "input_digest": self.input_digest,
            "evaluated_at": rfc3339(self.evaluated_at),
        }
        return {**document, "at_replaced": True} if self.at_replaced else document

    @classmethod
    def of(cls, document: object) -> Decision:
        """Return the decision of a JSON object, or raise ``InputError``.

        An allow beside a violation that denies is refused: nothing here resolves it.
        """
        whole = _mapping(document, "", "")
        allow, replaced = whole.get("allow"), whole.get("at_replaced", False)
        if not isinstance(allow, bool) or not isinstance(replaced, bool):
            raise _wrong("", "/allow", "no boolean")
        violations = tuple(Violation.of(each) for each in _list(whole, "violations"))
        if allow and any(each.denies for each in violations):
            raise _wrong("", "/allow", "true beside a violation that denies")
        until, policy = _optional_text(whole, "valid_until"), whole.get("policy")
        return cls(
            decision_id=_text(whole, "decision_id"),
            point=_text(whole, "point"),
            allow=allow,
            violations=violations,
            obligations=tuple(Obligation.of(each) for each in _list(whole, "obligations")),
            policy=None if policy is None else Policy.of(policy),
            input_digest=_text(whole, "input_digest"),
            evaluated_at=parse_rfc3339(_text(whole, "evaluated_at"), where="/evaluated_at"),
            valid_until=None if until is None else parse_rfc3339(until, where="/valid_until"),
            at_replaced=replaced,
        )

    @classmethod
    def refused(
        cls, question: DecisionInput, code: str, message: str, remedy: str, at: datetime
    ) -> Decision:
        """Return the denial that OPA did not give: our own id, no policy, no end.

        ``input_digest`` is empty when the question is no JSON value.
        """
        try:
            input_digest = question.digest
        except (TypeError, ValueError, RecursionError):
            input_digest = ""
        return cls(
            decision_id=str(uuid.uuid4()),
            point=question.point,
            allow=False,
            violations=(
                Violation(
                    code=code, severity="error", message=message, path="", remediation=remedy
                ),
            ),
            obligations=(),
            policy=None,
            input_digest=input_digest,
            evaluated_at=at,
            valid_until=None,
        )

    def _result(self) -> dict[str, Any]:
        return {
            "allow": self.allow,
            "violations": [each.document() for each in self.violations],
            "obligations": [each.document() for each in self.obligations],
            "policy": None if self.policy is None else self.policy.document(),
            "valid_until": None if self.valid_until is None else rfc3339(self.valid_until),
        }


class Decider(Protocol):
    """What everybody above needs from the engine."""

    def decide(self, question: DecisionInput) -> Decision:
        """Return the decision; a fault of the engine is a denial ``engine.*``, never an error."""
        ...


def _place(where: str, pointer: str) -> str:
    return f"{where}#{pointer}" if where else pointer


def _wrong(where: str, pointer: str, problem: str) -> InputError:
    return InputError(
        problem,
        where=_place(where, pointer),
        remedy="Correct the document; `spine input` prints a whole one.",
    )


def _mapping(value: object, where: str, pointer: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(where, pointer, "no JSON object")
    return value


def _list(whole: Mapping[str, Any], key: str) -> list[Any]:
    value = whole.get(key)
    if not isinstance(value, list):
        raise _wrong("", f"/{key}", "no list")
    return value


def _text(whole: Mapping[str, Any], key: str, where: str = "") -> str:
    value = whole.get(key)
    if not isinstance(value, str):
        raise _wrong(where, f"/{key}", "no text" if key in whole else "missing")
    return value


def _optional_text(whole: Mapping[str, Any], key: str) -> str | None:
    return None if whole.get(key) is None else _text(whole, key)
