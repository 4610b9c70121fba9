"""The gate: equal to OPA, once per class, closed when anything is in doubt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dataspine.cdc.event import Column
from dataspine.cdc.gate import Action, Gate, boundary_rows, bounded, predicate
from dataspine.cdc.refusal import MAX_CLASSES, REFUSALS
from dataspine.core.errors import IntegrityError, UnavailableError
from dataspine.decisions.decision import Decision, DecisionInput, Obligation, Policy, Violation
from dataspine.decisions.fault import Fault

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
COUNTRY = Column("country", "text", False)
IN_EU = {"type": "field", "operator": "in", "field": "row.country", "value": ["DE", "FR"]}


@dataclass(frozen=True)
class Compiled:
    kind: str
    ucast: dict[str, Any] | None = None


@dataclass
class Asker:
    """Answers like the rule `row.country in allowed`; each field can be made to lie."""

    allowed: tuple[str, ...] = ("DE", "FR")
    compiled: Compiled | None = field(default_factory=lambda: Compiled("condition", IN_EU))
    active: Policy | None = field(default_factory=lambda: Policy("r1", 1))
    valid_until: datetime | None = None
    obligations: tuple[Obligation, ...] = ()
    down: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)
    refused: list[tuple[str, str, Fault]] = field(default_factory=list)

    def decide(self, point: str, facts: Mapping[str, Any], row: Mapping[str, Any]) -> Decision:
        self.asked.append(dict(row))
        allow = row.get("country") in self.allowed
        violation = Violation("residency.region_denied", "error", "m", "/row", "Mask it.")
        return Decision(
            decision_id=f"d{len(self.asked)}",
            point=point,
            allow=allow,
            violations=() if allow else (violation,),
            obligations=self.obligations,
            policy=None if self.down else self.active,
            input_digest="sha256:0",
            evaluated_at=NOW,
            valid_until=self.valid_until,
        )

    def compile_filter(self, facts: Mapping[str, Any], at: datetime) -> Compiled | None:
        return self.compiled

    def refuse(self, point: str, facts: Mapping[str, Any], code: str, words: Fault) -> Decision:
        self.refused.append((point, code, words))
        question = DecisionInput(point, NOW, facts)
        return Decision.refused(question, code, words.title, words.remedy, NOW)

    def policy(self) -> Policy | None:
        return self.active


def gate(asker: Asker, masks: Mapping[str, str] | None = None) -> Gate:
    made = Gate(asker, {"name": "r", "table": "people"}, [COUNTRY], masks or {}, lambda: NOW)
    made.refresh()
    asker.asked.clear()
    return made


def actions(made: Gate, *values: str | None) -> list[Action]:
    return [v.action for v in made.judge([values], len(values))]


def test_each_class_is_asked_once_and_keeps_its_decision() -> None:
    asker = Asker()
    made = gate(asker)
    verdicts = made.judge([["DE", "BR", "DE", None, "BR"]], 5)
    assert [v.action for v in verdicts] == ["allow", "park", "allow", "park", "park"]
    assert verdicts[1] is verdicts[4]
    assert verdicts[1].codes == ("residency.region_denied",)
    assert asker.asked == [{"country": "DE"}, {"country": "BR"}, {"country": None}]


@pytest.mark.parametrize(
    "compiled",
    [
        Compiled("always"),
        Compiled("condition", {**IN_EU, "value": ["DE", "FR", "GB"]}),
        Compiled("condition", {**IN_EU, "operator": "like"}),
        Compiled("condition", {"type": "compound", "operator": "not", "value": [IN_EU]}),
        Compiled("sometimes"),
    ],
    ids=["always", "wider", "operator", "negated", "kind"],
)
def test_filter_that_differs_from_opa_is_refused(compiled: Compiled) -> None:
    with pytest.raises(IntegrityError) as caught:
        gate(Asker(compiled=compiled))
    assert caught.value.code == "cdc.gate_mismatch"


@pytest.mark.parametrize(
    "compiled", [Compiled("never"), Compiled("condition", {**IN_EU, "value": ["DE"]})]
)
def test_filter_too_narrow_for_its_literals_to_show_is_refused_by_the_first_row(
    compiled: Compiled,
) -> None:
    made = gate(Asker(compiled=compiled))
    with pytest.raises(IntegrityError) as caught:
        actions(made, "DE", "FR")
    assert caught.value.code == "cdc.gate_mismatch"


def test_rule_that_does_not_compile_asks_opa_for_every_class() -> None:
    asker = Asker(compiled=None)
    made = gate(asker)
    assert not made.pushed_down
    assert actions(made, "DE", "BR") == ["allow", "park"]


def test_new_revision_and_passed_time_make_the_gate_prove_itself_again() -> None:
    now = [NOW]
    asker = Asker(valid_until=NOW + timedelta(days=1))
    made = Gate(asker, {}, [COUNTRY], {}, lambda: now[0])
    made.refresh()
    count = len(asker.asked)
    made.refresh()
    assert len(asker.asked) == count
    asker.active = Policy("r2", 2)
    made.refresh()
    assert (len(asker.asked), made.revision) == (2 * count, "r2")
    now[0] += timedelta(days=2)
    asker.valid_until = None
    made.refresh()
    assert len(asker.asked) == 3 * count


def test_without_an_active_policy_the_gate_does_not_open() -> None:
    with pytest.raises(UnavailableError) as caught:
        gate(Asker(active=None))
    assert caught.value.code == "cdc.gate_unavailable"


@pytest.mark.parametrize("fault", ["down", "changed"])
def test_engine_fault_halts_and_parks_nothing(fault: str) -> None:
    asker = Asker()
    made = gate(asker)
    asker.down = fault == "down"
    asker.active = Policy("r2", 2) if fault == "changed" else asker.active
    with pytest.raises(UnavailableError) as caught:
        actions(made, "DE")
    assert caught.value.code == "cdc.gate_unavailable"


@pytest.mark.parametrize(
    ("obligation", "masks", "action"),
    [
        (Obligation("mask", "/p", "email", "hmac"), {"email": "hmac"}, "allow"),
        (Obligation("mask", "/p", "email", "hmac"), {"email": "redact"}, "park"),
        (Obligation("mask", "/p", "email", "hmac"), {}, "park"),
        (Obligation("drop_column", "/p", "email"), {"email": "null"}, "allow"),
        (Obligation("drop_row", "/p", "country"), {}, "drop"),
        (Obligation("notarise", "/p", "email"), {"email": "hmac"}, "park"),
    ],
)
def test_obligation_holds_or_the_row_parks(
    obligation: Obligation, masks: dict[str, str], action: str
) -> None:
    assert actions(gate(Asker(obligations=(obligation,)), masks), "DE") == [action]


def test_boundary_rows_hold_what_filters_get_wrong() -> None:
    rows = boundary_rows(["country"], IN_EU)
    values = [row["country"] for row in rows if "country" in row]
    assert {} in rows
    assert {"DE", "de", "FR", "", None, "ZZ", 2**53 + 1} <= {
        v for v in values if not isinstance(v, bool)
    }


@pytest.mark.parametrize(
    ("node", "row", "expected"),
    [
        ({"operator": "ne", "value": "x"}, {"a": None}, True),
        ({"operator": "ne", "value": "x"}, {}, False),
        ({"operator": "eq", "value": 1}, {"a": True}, False),
        ({"operator": "lt", "value": 18}, {"a": None}, True),
        ({"operator": "gt", "value": 18}, {"a": "text"}, True),
        ({"operator": "startswith", "value": "D"}, {"a": "DE"}, True),
        ({"operator": "startswith", "value": "D"}, {"a": 7}, False),
    ],
)
def test_comparison_follows_rego(node: dict[str, Any], row: dict[str, Any], expected: bool) -> None:
    compiled = Compiled("condition", {"type": "field", "field": "row.a", **node})
    assert predicate(compiled)(row) is expected


def test_table_without_guard_has_one_class() -> None:
    asker = Asker(compiled=Compiled("never"))
    made = Gate(asker, {}, [], {}, lambda: NOW)
    made.refresh()
    assert len({id(v) for v in made.judge([], 3)}) == 1
    assert replace(asker, asked=[]).asked == []


@pytest.mark.parametrize(
    ("value", "is_asked"),
    [("x" * 256, True), ("x" * 257, False), ("é" * 128, True), ("é" * 129, False)],
)
def test_home_over_the_bound_parks_and_opa_is_not_asked(value: str, is_asked: bool) -> None:
    asker = Asker()
    made = gate(asker)
    assert actions(made, value) == ["park"]
    assert [row["country"] for row in asker.asked] == [value] * is_asked
    refusal = ("row.replicate", "cdc.home_too_long", REFUSALS["cdc.home_too_long"])
    assert asker.refused == [refusal] * (not is_asked)


def test_homes_over_the_bound_are_one_class_and_are_not_kept() -> None:
    asker = Asker()
    made = gate(asker)
    verdicts = made.judge([["a" * 300, "b" * 300, "DE", "a" * 300]], 4)
    assert verdicts[0] is verdicts[1] is verdicts[3]
    assert (verdicts[0].codes, verdicts[0].detail) == (
        ("cdc.home_too_long",),
        "The home is longer than 256 bytes",
    )
    assert len(asker.refused) == 1
    assert list(made._memo) == ["DE"]


def test_classes_of_one_flush_are_capped_and_the_next_flush_goes_on() -> None:
    asker = Asker()
    made = gate(asker)
    homes = [f"home {number}" for number in range(MAX_CLASSES + 2)]
    verdicts = made.judge([[*homes, "DE", "home 0"]], MAX_CLASSES + 4)
    assert len(asker.asked) == MAX_CLASSES
    over = verdicts[MAX_CLASSES]
    assert (over.action, over.codes) == (Action.PARK, ("cdc.too_many_homes",))
    assert verdicts[MAX_CLASSES + 1] is verdicts[MAX_CLASSES + 2] is over
    assert verdicts[-1] is verdicts[0]
    assert [code for _, code, _ in asker.refused] == ["cdc.too_many_homes"]
    made.begin_flush()
    assert actions(made, "DE", homes[-1]) == ["allow", "park"]
    assert len(asker.asked) == MAX_CLASSES + 2


@pytest.mark.parametrize(
    ("value", "kept"),
    [("", ""), ("DE", "DE"), ("x" * 9_000, "x" * 256), ("é" * 200, "é" * 128)],
)
def test_home_is_kept_within_the_bound(value: str, kept: str) -> None:
    assert bounded(value) == kept


def test_word_in_a_column_that_became_a_number_is_judged_as_it_is() -> None:
    asker = Asker()
    made = Gate(asker, {"name": "r"}, [Column("country", "int4", False)], {}, lambda: NOW)
    made.refresh()
    asker.asked.clear()
    assert actions(made, "7", "seven") == ["park", "park"]
    assert asker.asked == [{"country": 7}, {"country": "seven"}]
