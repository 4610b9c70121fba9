"""The row filter lets through exactly what the decision allows."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from tests.policies.support import DATA, ROW, build, changed, evaluate

pytestmark = pytest.mark.integration

CODE = "residency.home_not_allowed"
RULES: tuple[dict[str, str], ...] = (
    {},
    *({name: severity} for name in (CODE, "residency") for severity in ("error", "warn", "ignore")),
    {CODE: "error", "residency": "ignore"},
    {CODE: "warn", "residency": "error"},
)
EXCEPTIONS = tuple(
    [
        {
            "rule": rule,
            "applies-to": applies,
            "reason": "moves in March",
            "approved-by": "data-governance",
            "effective-until": until,
        }
    ]
    for rule in (CODE, "residency.region_denied")
    for applies in ("shop.*", "shop.route", "bank.**")
    for until in ("2026-11-24T09:00:00Z", "2027-03-01T00:00:00Z")
)
VALUES = ("DE", "FR", "US", "BR", "de", "", " DE", "ÄÖ", None, True, 0, 9007199254740993, 1.5)
HOMES: tuple[Any, ...] = ("allowed", ["EU"], ["US"], ["EU", "BR"], ["??"])
MASKS: tuple[dict[str, str], ...] = (
    {},
    {"customers.email": "hmac"},
    {"customers.email": "redact"},
    {"x.email": "hmac"},
)
REGIONS = ("us-east-1", "eu-west-1", "sa-east-1", "mars-1")
CLASSES = (["PII"], ["Public"], ["PII", "Public"], ["Unclassified"], ["Secret"])
TIMES = ("2026-11-24T09:00:00Z", "2027-03-31T00:00:00Z", "2030-01-01T00:00:00Z")


def test_filter_agrees_with_the_decision_under_every_severity_and_exception(
    opa: Path, tmp_path: Path
) -> None:
    chance = random.Random(20261124)
    cases = [
        {
            "question": _row(chance),
            "config": {"rules": rules},
            "exceptions": exceptions,
        }
        for rules, exceptions in itertools.product(RULES, ([], *EXCEPTIONS))
        for _ in range(12)
    ]
    # What `with` puts in place must be a variable: OPA takes a reference in a query for undefined.
    query = (
        "[[decided, passed] | some case in input; "
        "question := case.question; config := case.config; exceptions := case.exceptions; "
        "decided := data.dataspine.main.row_replicate.allow with input as question "
        "with data.dataspine.config as config with data.dataspine.exceptions as exceptions; "
        "passed := [true | data.dataspine.main.row_replicate_filter with input as question "
        "with data.dataspine.config as config with data.dataspine.exceptions as exceptions]]"
    )

    answers = evaluate(opa, build(tmp_path, {**DATA, "config": {"rules": {}}}), query, cases)

    assert len(answers) == len(cases)
    # Both answers occur often enough for their agreement to mean something.
    assert min(sum(d for d, _ in answers), sum(not d for d, _ in answers)) > len(cases) / 10
    other = [case for case, (d, p) in zip(cases, answers, strict=True) if p != [True] * d]
    assert other == []


def _row(chance: random.Random) -> dict[str, Any]:
    home: dict[str, Any] = chance.choice(
        ({"column": "country"}, {"column": "country"}, {"constant": "EU"}, {"constant": "BR"})
    )
    question: dict[str, Any] = changed(ROW, ("facts", "home"), home)
    question["at"] = chance.choice(TIMES)
    question["row"] = chance.choice(({}, *({"country": value} for value in VALUES)))
    facts = question["facts"]
    facts["homes"] = chance.choice(HOMES)
    facts["sink"] = {
        "name": "lake",
        "region": chance.choice(REGIONS),
        "masks": chance.choice(MASKS),
    }
    facts["columns"][0] = {"path": "email", "classifications": chance.choice(CLASSES)}
    return question
