"""Hunt for fail-open: nothing missing, null or retyped may turn a denial into an allow.

Every place of a denied question and of the bundle's data is changed in every way. The few changes
that allow are listed with the reason why the offending fact itself is gone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.policies.support import DATA, QUESTIONS, build, changed, evaluate, places

pytestmark = pytest.mark.integration

Place = tuple[str | int, ...]
# A missing place is `...`; "x" is a text that nothing knows.
CHANGES: tuple[Any, ...] = (..., None, "", "x", 7, [], {}, False, True, ["x"], {"x": "x"})

# The offending fact is gone when …
GONE: dict[str, set[tuple[Place, str]]] = {
    "schema_publish": {
        # … there is no suspicious field, or none of its words is personal,
        (("facts", "fields"), "[]"),
        (("facts", "fields", 0), "…"),
        (("facts", "fields", 0, "tokens"), "[]"),
        (("facts", "fields", 0, "tokens"), "['x']"),
        (("facts", "fields", 0, "tokens", 0), "…"),
        (("facts", "fields", 0, "tokens", 0), "''"),
        (("facts", "fields", 0, "tokens", 0), "'x'"),
        # … or the field is tagged: its classification is then what somebody claims it is.
        (("facts", "fields", 0, "tagged"), "True"),
    },
    # … the personal column is not sent.
    "route_deploy": {(("facts", "tables", 0, "columns", 0), "…")},
    "row_replicate": {(("facts", "columns", 0), "…")},
}


def _shown(value: Any) -> str:
    return "…" if value is ... else repr(value)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("hunt"))


@pytest.mark.parametrize("entry", sorted(QUESTIONS))
def test_no_change_to_a_denied_question_allows(entry: str, opa: Path, bundle: Path) -> None:
    question = QUESTIONS[entry]
    mutants = [
        (at, _shown(to), changed(question, at, to)) for at in places(question) for to in CHANGES
    ]
    query = (
        f"[answer.allow | some question in input; "
        f"answer := data.dataspine.main.{entry} with input as question]"
    )

    answers = evaluate(opa, bundle, query, [question, *(mutant for _, _, mutant in mutants)])

    # One answer for each: an undefined decision would be missing here.
    assert len(answers) == len(mutants) + 1
    assert answers[0] is False
    opened = {(at, to) for (at, to, _), allow in zip(mutants, answers[1:], strict=True) if allow}
    assert opened == GONE[entry]


@pytest.mark.parametrize("entry", sorted(QUESTIONS))
def test_no_change_to_the_data_allows(entry: str, opa: Path, bundle: Path) -> None:
    mutants = [(at, _shown(to), changed(DATA, at, to)) for at in places(DATA) for to in CHANGES]
    # A missing document cannot be expressed by `with`; the next test builds such bundles.
    mutants = [(at, to, data) for at, to, data in mutants if set(data) == set(DATA)]
    query = (
        f"[answer.allow | some data_ in input.data; "
        f"answer := data.dataspine.main.{entry} with input as input.question "
        f"with data.dataspine.config as data_.config "
        f"with data.dataspine.exceptions as data_.exceptions "
        f"with data.dataspine.matrix as data_.matrix]"
    )

    answers = evaluate(
        opa,
        bundle,
        query,
        {"question": QUESTIONS[entry], "data": [DATA, *(data for _, _, data in mutants)]},
    )

    assert len(answers) == len(mutants) + 1
    opened = {(at, to) for (at, to, _), allow in zip(mutants, answers[1:], strict=True) if allow}
    assert opened == set()


@pytest.mark.parametrize("entry", sorted(QUESTIONS))
@pytest.mark.parametrize("name", sorted(DATA))
def test_a_bundle_without_a_document_denies(
    name: str, entry: str, opa: Path, tmp_path: Path
) -> None:
    lacking = build(tmp_path, {key: value for key, value in DATA.items() if key != name})

    answer = evaluate(opa, lacking, f"data.dataspine.main.{entry}", QUESTIONS[entry])

    assert answer["allow"] is False
    assert [violation["code"] for violation in answer["violations"]] == ["engine.invalid_data"]
