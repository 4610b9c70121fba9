"""Mutants of a small rule: what is changed, what its tests notice, and what was explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataspine.adapters.policy_mutants import Outcome, mutants, survivors, try_mutants
from dataspine.adapters.rule_library import Library, product_library
from dataspine.adapters.tools.opa import Opa
from dataspine.core.errors import InputError

pytestmark = pytest.mark.integration

RULE = """\
package dataspine.rules.shop.big

deny contains "big" if {
\tinput.size > 3 # é: columns count bytes or characters, offsets must be right
\tnot _is_waived
}

_is_waived if input.waived == true

_is_waived if input.owner == "shop"
"""
TEST = """\
package dataspine.rules.shop.big_test

import data.dataspine.rules.shop.big

test_big if big.deny == {"big"} with input as {"size": 9}

test_small if big.deny == set() with input as {"size": 1}

test_waived if big.deny == set() with input as {"size": 9, "waived": true}
"""
FOLDER = "dataspine/rules/shop/big"
DENY = "dataspine.rules.shop.big.deny"
WAIVED = "dataspine.rules.shop.big._is_waived"


@pytest.fixture
def library(tmp_path: Path, opa: Path) -> Library:
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "big.rego").write_text(RULE)
    (tmp_path / FOLDER / "big_test.rego").write_text(TEST)
    return product_library(tmp_path, Opa(opa))


def test_each_part_of_a_rule_is_changed_once(library: Library) -> None:
    found = {(each.line, each.rule.rpartition(".")[2], each.mutation) for each in mutants(library)}

    assert found == {
        (3, "deny", 'change "big"'),
        (4, "deny", "drop input.size > 3"),
        (4, "deny", "negate input.size > 3"),
        (4, "deny", ">= in input.size > 3"),
        (4, "deny", "raise 3"),
        (5, "deny", "drop not _is_waived"),
        (5, "deny", "negate not _is_waived"),
        (8, "_is_waived", "drop _is_waived if input.waived == true"),
        (8, "_is_waived", "drop input.waived == true"),
        (8, "_is_waived", "negate input.waived == true"),
        (8, "_is_waived", "!= in input.waived == true"),
        (8, "_is_waived", "flip true"),
        (10, "_is_waived", 'drop _is_waived if input.owner == "shop"'),
        (10, "_is_waived", 'drop input.owner == "shop"'),
        (10, "_is_waived", 'negate input.owner == "shop"'),
        (10, "_is_waived", '!= in input.owner == "shop"'),
        (10, "_is_waived", 'change "shop"'),
    }


def test_a_change_is_made_where_it_stands(library: Library) -> None:
    changed = {
        each.mutation: each.applied(RULE.encode()).decode()
        for each in mutants(library)
        if each.line in {5, 10}
    }

    assert changed["negate not _is_waived"] == RULE.replace("not _is_waived", "_is_waived")
    assert changed['change "shop"'] == RULE.replace('"shop"', '"shop~"')


def test_what_no_test_notices_survives(library: Library) -> None:
    told: list[Outcome] = []

    outcomes = try_mutants(library, mutants(library), told.append)

    assert set(told) == set(outcomes)
    assert len(told) == len(outcomes)
    # At the boundary and for the second waiver there is no test.
    assert {o.mutant.mutation for o in outcomes if o.fate == "survived"} == {
        ">= in input.size > 3",
        "raise 3",
        'drop _is_waived if input.owner == "shop"',
        '!= in input.owner == "shop"',
        'change "shop"',
    }
    assert {o.fate for o in outcomes} == {"survived", "killed"}


def test_a_mutant_that_is_no_rego_does_not_count(tmp_path: Path, opa: Path) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    rule = "package dataspine.rules.shop.big\n\ndeny contains x if some x in input.names\n"
    test = 'test_x if big.deny == {"x"} with input as {"names": ["x"]}\n'
    (tmp_path / FOLDER / "big.rego").write_text(rule)
    (tmp_path / FOLDER / "big_test.rego").write_text(TEST.partition("test_big")[0] + test)
    library = product_library(tmp_path, Opa(opa))

    outcomes = try_mutants(library, mutants(library))

    assert [(o.mutant.mutation, o.fate) for o in outcomes] == [
        ("drop some x in input.names", "invalid")
    ]


def test_a_failing_suite_is_no_judge(library: Library) -> None:
    test = f"{FOLDER}/big_test.rego"
    files = {**library.files, test: TEST.replace("9}", "2}", 1).encode()}
    broken = Library(library.root, files, library.own, library.controls, library.opa)

    with pytest.raises(InputError) as raised:
        try_mutants(broken, mutants(broken))

    assert raised.value.code == "policy.tests_fail"


def test_survivors_are_explained_and_stale_explanations_are_found(library: Library) -> None:
    outcomes = try_mutants(library, mutants(library))
    reason = "The other waiver was tested; this one is history."
    entries = [
        (WAIVED, 'drop _is_waived if input.owner == "shop"'),
        (WAIVED, '!= in input.owner == "shop"'),
        (WAIVED, 'change "shop"'),
        (DENY, "raise 3"),
        (DENY, "raise 4"),
    ]
    (library.root / "survivors.yaml").write_text(
        "".join(
            f"- rule: {rule}\n  mutation: '{mutation}'\n  reason: {reason}\n"
            for rule, mutation in entries
        )
    )

    found = list(survivors(library, outcomes))

    assert [(each.code, each.line, each.message) for each in found] == [
        ("policy.mutant", 4, f"no test notices a change to {DENY}: >= in input.size > 3"),
        (
            "policy.survivor_stale",
            13,
            f"a test notices it, or it is no longer there: {DENY}: raise 4",
        ),
    ]
