"""What a candidate bundle would change: recorded decisions, and everything that exists now.

Both sides of the comparison are answers of OPA: what the base bundle says and what the candidate
says. An answer that the base gave when it was recorded is taken as it was recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dataspine.adapters import route_deploy, schema_publish
from dataspine.adapters.opened_bundle import Opened
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.cdc.state import RouteStore
from dataspine.core.clock import rfc3339
from dataspine.core.errors import DataSpineError
from dataspine.decisions.comparison import Comparison, Finding
from dataspine.decisions.decision import Decision, DecisionInput
from dataspine.decisions.recorded import Recording

__all__ = ["CHANGES", "KINDS", "Impact", "Period", "Told", "impact"]

CHANGES = ("deny_to_allow", "allow_to_deny", "changed_obligations")
KINDS = ("same", *CHANGES, "not_replayable")

Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Period:
    """Which recorded decisions count: ``since`` inside, ``until`` outside, None without end."""

    since: datetime | None = None
    until: datetime | None = None

    def document(self) -> dict[str, str | None]:
        """Return the JSON object."""
        ends = {"since": self.since, "until": self.until}
        return {name: rfc3339(end) if end else None for name, end in ends.items()}


@dataclass(frozen=True, slots=True)
class Impact:
    """What a candidate changes, counted in decisions and existing things.

    ``recorded`` and ``existing`` count by the words of ``KINDS``; ``points`` does so per point.
    ``codes`` says how often a violation that denies ``appears`` or ``disappears``; ``reasons`` why
    something was not replayable. ``distinct`` recorded questions were ``asked`` so many times:
    more often than once where a dated boundary lies between two times it was asked for.
    """

    base: Mapping[str, Any]
    candidate: Mapping[str, Any]
    period: Period
    recorded: Mapping[str, int]
    existing: Mapping[str, int]
    points: Mapping[str, Mapping[str, int]]
    codes: Mapping[str, Mapping[str, int]]
    reasons: Mapping[str, int]
    distinct: int
    asked: int
    examples: Sequence[Mapping[str, Any]] = field(default=())

    @property
    def counts(self) -> dict[str, int]:
        """Recorded and existing together: the facts of a promotion."""
        return {kind: self.recorded[kind] + self.existing[kind] for kind in KINDS}

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "base": dict(self.base),
            "candidate": dict(self.candidate),
            "period": self.period.document(),
            "counts": self.counts,
            "recorded": dict(self.recorded),
            "existing": dict(self.existing),
            "points": {point: dict(counts) for point, counts in self.points.items()},
            "codes": {code: dict(counts) for code, counts in self.codes.items()},
            "reasons": dict(self.reasons),
            "distinct": self.distinct,
            "asked": self.asked,
            "examples": [dict(example) for example in self.examples],
        }


def impact(  # noqa: PLR0913 - what is compared, and how
    session: Session,
    candidate: Opened,
    base: Opened,
    period: Period = Period(),
    *,
    examples: int = 5,
    workers: int | None = None,
    told: Told = lambda _done, _of: None,
) -> Impact:
    """Compare what two bundles answer to recorded questions, and to what exists now.

    ``examples`` is how many of each kind the report shows; ``told`` gets how many recorded
    decisions are done, of how many. Raises ``UnavailableError`` when OPA goes away meanwhile.
    """
    tally = _Tally(examples)
    bundles = (base.source(), candidate.source())
    with Comparison(session.opa_path, *bundles, base.bundle.revision, workers) as comparison:
        with (
            session.database.read() as connection,
            Recording(connection, period.since, period.until) as recording,
        ):
            total, done = recording.total, 0
            for findings in comparison.recorded(recording.batches()):
                for finding in findings:
                    tally.recorded(finding, recording)
                    done += finding.count
                told(done, total)
            tally.skipped("recorded", recording.skipped)
        for questions in _existing(session, tally):
            for question, before, after in comparison.both(questions):
                tally.existing(question, before, after)
        told(total, total)
    return Impact(
        base=base.document(),
        candidate=candidate.document(),
        period=period,
        recorded=_whole(tally.counts["recorded"]),
        existing=_whole(tally.counts["existing"]),
        points={point: _whole(counts) for point, counts in sorted(tally.points.items())},
        codes=dict(sorted(tally.codes.items())),
        reasons=dict(sorted(tally.reasons.items())),
        distinct=tally.distinct,
        asked=tally.asked,
        examples=[each for kind in CHANGES for each in tally.examples[kind]],
    )


class _Tally:
    """Counts findings, and keeps the first few of each kind as examples."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.examples: dict[str, list[dict[str, Any]]] = {kind: [] for kind in CHANGES}
        self.counts: dict[str, Counter[str]] = {"recorded": Counter(), "existing": Counter()}
        self.points: dict[str, Counter[str]] = {}
        self.codes: dict[str, dict[str, int]] = {}
        self.reasons: Counter[str] = Counter()
        self.distinct = 0
        self.asked = 0

    def recorded(self, finding: Finding, recording: Recording) -> None:
        """Count a finding; an example names the first decision that it covers."""
        self.asked += 1
        self.distinct += finding.first
        answers = (finding.asked, finding.before, finding.after)
        example = self._count("recorded", finding.count, *answers)
        if example is not None:
            example["decision_id"] = recording.decision_id(finding.row)

    def existing(self, question: DecisionInput, before: Decision, after: Decision) -> None:
        """Count what both bundles say about something that exists."""
        self._count("existing", 1, question, before, after)

    def skipped(self, source: str, reasons: Mapping[str, int]) -> None:
        """Count what could not be asked, by reason."""
        self.reasons.update(reasons)
        self.counts[source]["not_replayable"] += sum(reasons.values())

    def _count(
        self, source: str, count: int, question: DecisionInput, before: Decision, after: Decision
    ) -> dict[str, Any] | None:
        """Return the example that was kept, or None."""
        kind = _kind(before, after)
        self.counts[source][kind] += count
        self.points.setdefault(question.point, Counter())[kind] += count
        was, will = set(before.codes), set(after.codes)
        for word, codes in (("appears", will - was), ("disappears", was - will)):
            for code in codes:
                self.codes.setdefault(code, {"appears": 0, "disappears": 0})[word] += count
        if kind == "same" or len(self.examples[kind]) >= self._limit:
            return None
        example = {
            "kind": kind,
            "source": source,
            "decision_id": None,
            "point": question.point,
            "name": str(question.facts.get("name", "")),
            "at": rfc3339(question.at),
            "decisions": count,
            "before": _answer(before),
            "after": _answer(after),
        }
        self.examples[kind].append(example)
        return example


def _kind(before: Decision, after: Decision) -> str:
    if before.allow != after.allow:
        return "deny_to_allow" if after.allow else "allow_to_deny"
    return "same" if _demands(before) == _demands(after) else "changed_obligations"


def _demands(decision: Decision) -> tuple[frozenset[object], frozenset[object]]:
    violations = frozenset((each.code, each.severity) for each in decision.violations)
    return violations, frozenset(decision.obligations)


def _answer(decision: Decision) -> dict[str, Any]:
    warnings = {each.code for each in decision.violations if not each.denies}
    return {
        "allow": decision.allow,
        "codes": list(decision.codes),
        "warnings": sorted(warnings),
        "obligations": [each.document() for each in decision.obligations],
    }


def _whole(counts: Mapping[str, int]) -> dict[str, int]:
    return {kind: counts.get(kind, 0) for kind in KINDS}


def _existing(session: Session, tally: _Tally) -> list[list[DecisionInput]]:
    """Return the questions about every subject's latest version, and every desired route, now."""
    subjects = []
    for subject in session.registry.subjects():
        latest = session.registry.version(subject, "latest")
        try:
            subjects.append(schema_publish.question(session, Proposal.of(latest)))
        except DataSpineError as error:
            tally.skipped("existing", {error.code: 1})
    routes = [
        route_deploy.question_again(session, route) for route in RouteStore(session.database).all()
    ]
    return [subjects, routes]
