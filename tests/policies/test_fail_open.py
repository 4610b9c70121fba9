"""Hunt for fail-open: nothing missing, null or retyped may turn a denial into an allow.

Every place of a denied question and of the bundle's data is changed in every way. The few changes
that allow are listed with the reason why the offending fact itself is gone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.policies.support import DATA, QUESTIONS, VIOLATING, build, changed, evaluate, places

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
    },
    # … the principal is the local user, or asks for another thing, or is another one.
    "api_access": {(("facts", "local"), "True")},
    # … nothing flips, or somebody else is the author of what a verified approver approved.
    "bundle_promote": {(("facts", "candidate", "author"), "'x'")},
    # … the personal column is not sent.
    "route_deploy": {(("facts", "tables", 0, "columns", 0), "…")},
    "dead_letter_replay": set(),
    "row_replicate": {(("facts", "columns", 0), "…")},
}

# The same for each rule alone, whatever the others say: which changes leave nothing to find?
_FIELDS: Place = ("facts", "fields")
_NO_FIELD = {(_FIELDS, "[]"), ((*_FIELDS, 0), "…")}
_PREVIOUS: Place = ("facts", "previous")
_NOTHING_BEFORE = {
    (_PREVIOUS, "None"),
    ((*_PREVIOUS, "fields"), "[]"),
    ((*_PREVIOUS, "fields", 0), "…"),
}
_WAIVER: Place = (*_FIELDS, 0, "waiver")
_NO_WAIVER = {(_WAIVER, "None"), (_WAIVER, "…")}
_TABLE: Place = ("facts", "tables", 0)
_COLUMN: Place = (*_TABLE, "columns", 0)
_OTHER: Place = (*_TABLE, "columns", 1)
_UNKNOWN_HOME = {((*_TABLE, "homes"), "['x']"), ((*_TABLE, "homes", 0), "…")}
FACT_IS_GONE: dict[str, set[tuple[Place, str]]] = {
    "contract.version_bump_wrong": {(("facts", "version", "claimed"), "None")},
    "pii.classification_removed": _NO_FIELD | _NOTHING_BEFORE,
    "pii.unknown_classification": _NO_FIELD,
    # An unknown classification is one, and the business of its own rule.
    "pii.untagged_field": _NO_FIELD
    | {
        ((*_FIELDS, 0, "classifications"), "['x']"),
        ((*_FIELDS, 0, "tokens"), "['x']"),
        ((*_FIELDS, 0, "tokens"), "[]"),
        ((*_FIELDS, 0, "tokens", 0), "…"),
    },
    "pii.waiver_expired": _NO_FIELD | _NO_WAIVER | {((*_WAIVER, "until"), "None")},
    "pii.waiver_without_reason": _NO_FIELD | _NO_WAIVER,
    "retention.exceeds_maximum": _NO_FIELD | {((*_FIELDS, 0, "classifications"), "['x']")},
    "retention.hint_missing": _NO_FIELD,
    "retention.malformed": _NO_FIELD
    | {((*_FIELDS, 0, "retention"), "None"), ((*_FIELDS, 0, "retention"), "…")},
    "retention.prolonged": _NO_FIELD
    | _NOTHING_BEFORE
    | {((*_PREVIOUS, "fields", 0, "retention"), "None")},
    "residency.guard_classified": {
        ((*_TABLE, "guard_columns"), "[]"),
        ((*_TABLE, "guard_columns", 0), "…"),
    },
    "residency.home_not_allowed": {(("facts", "columns", 0), "…")},
    "residency.inherited_label": {
        (_OTHER, "…"),
        ((*_OTHER, "inherited"), "[]"),
        ((*_OTHER, "inherited"), "…"),
        ((*_OTHER, "inherited", 0), "…"),
    },
    "residency.key_exposed": {(_COLUMN, "…")},
    # What has no entry owes nothing and has no basis: it is denied, by `region_denied`.
    "residency.obligation_missing": _UNKNOWN_HOME
    | {(_COLUMN, "…"), ((*_COLUMN, "classifications"), "['x']")},
    "residency.region_denied": {(_COLUMN, "…"), ((*_TABLE, "homes", 1), "…")},
    "residency.transfer_basis_expired": _UNKNOWN_HOME
    | {(_COLUMN, "…"), ((*_COLUMN, "classifications"), "['x']")},
    "residency.unclassified_column": {(_OTHER, "…"), ((*_OTHER, "classifications"), "['x']")},
    "promotion.deny_to_allow": {(("facts", "approvers"), "['x']")},
    "promotion.self_approved": {
        (("facts", "approvers"), "['x']"),
        (("facts", "approvers"), "[]"),
        (("facts", "approvers", 0), "…"),
    },
    # Nobody approved, which another rule denies; or it is a question from before.
    "promotion.unverified_approval": {
        (("facts", "approvers"), "[]"),
        (("facts", "approvers", 0), "…"),
        (("facts", "verified_approvers"), "…"),
    },
    "promotion.sequence_not_newer": {
        (("facts", "current"), "None"),
        (("facts", "current", "sequence"), "7"),
    },
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


@pytest.mark.parametrize("code", sorted(VIOLATING))
def test_no_change_to_a_violation_goes_unnoticed(code: str, opa: Path, bundle: Path) -> None:
    entry, question = VIOLATING[code]
    # Whatever is no retyped, missing or null fact is another question, and not hunted here.
    changes: tuple[Any, ...] = (..., None, 7, [], {}, ["x"], {"x": "x"})
    mutants = [(at, to, changed(question, at, to)) for at in places(question) for to in changes]
    query = (
        f"[{{v.code | some v in answer.violations}} | some question in input; "
        f"answer := data.dataspine.main.{entry} with input as question]"
    )

    answers = evaluate(opa, bundle, query, [question, *(mutant for _, _, mutant in mutants)])

    assert len(answers) == len(mutants) + 1
    assert code in answers[0]
    silent = {
        (at, _shown(to))
        for (at, to, _), codes in zip(mutants, answers[1:], strict=True)
        if not {code, "engine.invalid_input"} & set(codes)
    }
    assert silent == FACT_IS_GONE.get(code, set())


@pytest.mark.parametrize("entry", sorted(QUESTIONS))
def test_no_change_to_the_data_allows(entry: str, opa: Path, bundle: Path) -> None:
    mutants = [(at, _shown(to), changed(DATA, at, to)) for at in places(DATA) for to in CHANGES]
    # A missing document cannot be expressed by `with`; the next test builds such bundles.
    mutants = [(at, to, data) for at, to, data in mutants if set(data) == set(DATA)]
    # What `with` puts in place must be a variable: OPA takes a reference in a query for undefined.
    query = (
        f"[[answer.allow, codes] | question := input.question; some other in input.data; "
        f"config := other.config; exceptions := other.exceptions; matrix := other.matrix; "
        f"answer := data.dataspine.main.{entry} with input as question "
        f"with data.dataspine.config as config "
        f"with data.dataspine.exceptions as exceptions "
        f"with data.dataspine.matrix as matrix; "
        f"codes := {{v.code | some v in answer.violations}}]"
    )

    answers = evaluate(
        opa,
        bundle,
        query,
        {"question": QUESTIONS[entry], "data": [DATA, *(data for _, _, data in mutants)]},
    )

    assert len(answers) == len(mutants) + 1
    # The unchanged question was judged by rules, not refused.
    assert answers[0][0] is False
    assert not [code for code in answers[0][1] if code.startswith("engine.")]
    opened = {
        (at, to)
        for (at, to, _), allow in zip(mutants, [a for a, _ in answers[1:]], strict=True)
        if allow
    }
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
