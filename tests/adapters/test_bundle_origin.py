"""What a bundle's origin takes from reports of tests, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dataspine.adapters.bundle_origin import read_reports
from dataspine.bundles import Results
from dataspine.core.errors import InputError

PASSED = {"package": "data.shop.odd_test", "name": "test_odd", "duration": 9}
FAILED = {**PASSED, "name": "test_even", "fail": True}


def _read(*reports: Any) -> tuple[Results | None, float | None]:
    return read_reports([json.dumps(report).encode() for report in reports])


@pytest.mark.parametrize(
    ("reports", "found"),
    [
        ([], (None, None)),
        ([[]], (Results(0, 0), None)),
        ([[PASSED, FAILED]], (Results(1, 1), None)),
        ([[PASSED, {**PASSED, "error": {}}]], (Results(1, 1), None)),
        ([[PASSED, {**FAILED, "skip": True}]], (Results(1, 0), None)),
        ([{"files": {}, "coverage": 97.126}, [PASSED]], (Results(1, 0), 97.13)),
    ],
)  # fmt: skip
def test_reports_say_how_many_passed(reports: list[Any], found: object) -> None:
    assert _read(*reports) == found


def test_no_report_hides_what_another_says() -> None:
    assert _read([FAILED], [PASSED]) == _read([PASSED], [FAILED]) == (Results(1, 1), None)
    assert _read({"coverage": 100}, {"coverage": 7.5}) == (None, 7.5)


@pytest.mark.parametrize(
    "report",
    [
        [{}],
        [PASSED, {}],
        [PASSED, "test_odd"],
        [{"name": "test_odd"}],
        [{"package": "data.shop.odd_test"}],
        [{**PASSED, "name": ""}],
        [{**PASSED, "package": " "}],
        [{**PASSED, "name": 7}],
        {},
        {"coverage": "97"},
        {"coverage": True},
        {"coverage": 100.1},
        {"coverage": -1},
        None,
        "passed",
    ],
)
def test_what_is_no_report_is_refused(report: object) -> None:
    with pytest.raises(InputError) as caught:
        _read([PASSED], report)

    assert caught.value.document() == {
        "code": "input.invalid",
        "problem": "is not a report of `opa test`",
        "where": "report 2",
        "remedy": "Write one with `opa test --format json`, or with --coverage added.",
        "retry": False,
    }
