from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataspine.core.canonical import canonical, parse_json
from dataspine.core.errors import InputError
from dataspine.decisions.decision import (
    Decision,
    DecisionInput,
    Obligation,
    Policy,
    Violation,
)

AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
DENIAL = Decision(
    decision_id="d1",
    point="route.deploy",
    allow=False,
    violations=(
        Violation(
            "residency.region_denied", "error", "m", "/facts", "r", ("GDPR-44",), "email", 14
        ),
        Violation("contract.owner_missing", "warn", "m", "", "r", exception={"rule": "x"}),
    ),
    obligations=(Obligation("mask", "/facts/sinks/0/masks", "email", "hmac"),),
    policy=Policy("1.4.0+sha256.9f2c", 41),
    input_digest="sha256:00",
    evaluated_at=AT,
    valid_until=datetime(2027, 3, 31, tzinfo=UTC),
)
DOCUMENT: dict[str, Any] = {
    "decision_id": "d1",
    "point": "route.deploy",
    "allow": False,
    "violations": [
        {
            "code": "residency.region_denied",
            "severity": "error",
            "message": "m",
            "path": "/facts",
            "remediation": "r",
            "controls": ["GDPR-44"],
            "field": "email",
            "line": 14,
        },
        {
            "code": "contract.owner_missing",
            "severity": "warn",
            "message": "m",
            "path": "",
            "remediation": "r",
            "controls": [],
            "exception": {"rule": "x"},
        },
    ],
    "obligations": [
        {"type": "mask", "path": "/facts/sinks/0/masks", "field": "email", "method": "hmac"}
    ],
    "policy": {"revision": "1.4.0+sha256.9f2c", "sequence": 41},
    "input_digest": "sha256:00",
    "evaluated_at": "2026-11-23T09:00:00Z",
    "valid_until": "2027-03-31T00:00:00Z",
}

texts = st.text(st.characters(codec="utf-8"), max_size=12)
times = st.datetimes(min_value=datetime(1980, 1, 1), timezones=st.just(UTC))
violations = st.builds(
    Violation,
    texts,
    st.sampled_from(["error", "warn", "fatal"]),
    texts,
    texts,
    texts,
    st.lists(texts, max_size=2).map(tuple),
    st.none() | texts,
    st.none() | st.integers(1, 9999),
    st.none() | st.dictionaries(texts, texts, max_size=2),
)
denials = st.builds(
    Decision,
    decision_id=texts,
    point=texts,
    allow=st.just(False),
    violations=st.lists(violations, max_size=3).map(tuple),
    obligations=st.lists(
        st.builds(Obligation, texts, texts, texts, st.none() | texts), max_size=2
    ).map(tuple),
    policy=st.none() | st.builds(Policy, texts.filter(bool), st.integers(0, 2**53)),
    input_digest=texts,
    evaluated_at=times,
    valid_until=st.none() | times,
    at_replaced=st.booleans(),
)


def test_a_decision_is_the_documented_json() -> None:
    assert DENIAL.document() == DOCUMENT


def test_codes_are_those_that_deny() -> None:
    assert DENIAL.codes == ("residency.region_denied",)


@given(denials)
def test_a_decision_survives_its_document(decision: Decision) -> None:
    assert Decision.of(parse_json(canonical(decision.document()))) == decision


@pytest.mark.parametrize(
    "change",
    [
        {"allow": True},
        {"allow": "false"},
        {"allow": None},
        {"violations": {}},
        {"violations": [1]},
        {"violations": [{"code": "a.b"}]},
        {"obligations": None},
        {"obligations": [{"type": "mask"}]},
        {"policy": {"revision": "x"}},
        {"policy": {"revision": "x", "sequence": True}},
        {"policy": {"revision": "", "sequence": 1}},
        {"policy": "x"},
        {"valid_until": "soon"},
        {"valid_until": 1},
    ],
)
def test_a_malformed_decision_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Decision.of({**DOCUMENT, **change})


def test_a_warning_lets_an_allow_stand() -> None:
    warned = {**DOCUMENT, "allow": True, "violations": DOCUMENT["violations"][1:]}
    assert Decision.of(warned).allow


def test_a_refusal_has_our_own_id_no_policy_and_no_end() -> None:
    question = DecisionInput("route.deploy", AT, {"name": "r"})
    refusal = Decision.refused(question, "engine.undefined", "m", "r", AT)
    document = refusal.document()
    assert document.pop("decision_id")
    assert document == {
        "point": "route.deploy",
        "allow": False,
        "violations": [
            {
                "code": "engine.undefined",
                "severity": "error",
                "message": "m",
                "path": "",
                "remediation": "r",
                "controls": [],
            }
        ],
        "obligations": [],
        "policy": None,
        "input_digest": question.digest,
        "evaluated_at": "2026-11-23T09:00:00Z",
        "valid_until": None,
    }


def test_the_input_digest_leaves_the_time_out_and_the_row_in() -> None:
    first = DecisionInput("row.replicate", AT, {"name": "r"})
    later = DecisionInput("row.replicate", AT.replace(year=2030), {"name": "r"})
    row = DecisionInput("row.replicate", AT, {"name": "r"}, {"country": "DE"})
    assert first.digest == later.digest
    assert first.digest != row.digest


def test_a_question_survives_its_document() -> None:
    question = DecisionInput("row.replicate", AT, {"name": "r"}, {"country": None})
    assert DecisionInput.parse(question.document()) == question


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ([], "q.json#"),
        ({}, "q.json#/point"),
        ({"point": "p", "at": "2026-11-23", "facts": {}}, "q.json#/at"),
        ({"point": "p", "at": "2026-11-23T09:00:00Z", "facts": []}, "q.json#/facts"),
        ({"point": "p", "at": "2026-11-23T09:00:00Z", "facts": {}, "row": 1}, "q.json#/row"),
        ({"point": "p", "at": "2026-11-23T09:00:00Z", "facts": {}, "x": 1}, "q.json#/x"),
    ],
)
def test_a_malformed_question_is_refused_with_its_place(document: object, where: str) -> None:
    with pytest.raises(InputError) as raised:
        DecisionInput.parse(document, "q.json")
    assert raised.value.where == where
