"""Mutants of a small rule: what is changed, what its tests notice, and what was explained."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.command import run

from dataspine.adapters.mutant_verdicts import Verdicts
from dataspine.adapters.policy_mutants import Outcome, mutants, survivors, try_mutants
from dataspine.adapters.rule_library import Library, product_library
from dataspine.adapters.tools.opa import Opa
from dataspine.core.errors import InputError, UnavailableError

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
CUSTOM = """\
# METADATA
# title: A subject is even
# description: Odd subjects confuse.
# labels:
#   controls: [GDPR-5.2]
# custom:
#   severity: error
#   message: "{subject} is odd"
#   remediation: Choose another name.
package dataspine.custom.shop.odd

import data.dataspine.lib.result

# METADATA
# description: The name is odd.
deny contains violation if {
\tinput.point == "schema.publish"
\tinput.facts.name == "odd"

\tfacts := {"path": "/facts/name", "subject": input.facts.name}
\tviolation := result.violation(rego.metadata.chain(), facts)
}
"""
CUSTOM_TEST = """\
package dataspine.custom.shop.odd_test

import data.dataspine.custom.shop.odd

test_odd if {
\todd.deny == {{
\t\t"code": "shop.odd",
\t\t"severity": "error",
\t\t"message": "odd is odd",
\t\t"path": "/facts/name",
\t\t"remediation": "Choose another name.",
\t\t"controls": ["GDPR-5.2"],
\t}} with input as _named("odd")
}

test_even if odd.deny == set() with input as _named("even")

_named(name) := {"point": "schema.publish", "facts": {"name": name}}
"""
ROOT = Path(__file__).parents[2]
FOLDER = "dataspine/rules/shop/big"
DENY = "dataspine.rules.shop.big.deny"
WAIVED = "dataspine.rules.shop.big._is_waived"


@pytest.fixture
def library(tmp_path: Path, opa: Path) -> Library:
    return _library(tmp_path, opa)


@pytest.fixture
def verdicts(tmp_path: Path, opa: Path) -> Verdicts:
    return Verdicts(tmp_path / "verdicts.json", opa)


def _library(root: Path, opa: Path, rule: str = RULE, test: str = TEST) -> Library:
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    (root / FOLDER / "big.rego").write_text(rule)
    (root / FOLDER / "big_test.rego").write_text(test)
    return product_library(root, Opa(opa))


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


def test_what_no_test_notices_survives(library: Library, verdicts: Verdicts) -> None:
    told: list[Outcome] = []

    outcomes = try_mutants(library, mutants(library), verdicts, told.append)

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


def test_a_mutant_that_is_no_rego_does_not_count(
    tmp_path: Path, opa: Path, verdicts: Verdicts
) -> None:
    rule = "package dataspine.rules.shop.big\n\ndeny contains x if some x in input.names\n"
    test = 'test_x if big.deny == {"x"} with input as {"names": ["x"]}\n'
    library = _library(tmp_path, opa, rule, TEST.partition("test_big")[0] + test)

    outcomes = try_mutants(library, mutants(library), verdicts)

    assert [(o.mutant.mutation, o.fate) for o in outcomes] == [
        ("drop some x in input.names", "invalid")
    ]


def test_one_case_of_a_table_and_a_conflict_notice_a_change(
    tmp_path: Path, opa: Path, verdicts: Verdicts
) -> None:
    # Without the second condition two answers contradict each other.
    rule = (
        "package dataspine.rules.shop.big\n\n"
        'size := "small" if input.size < 3\n\nsize := "one" if input.size == 0\n'
    )
    test = (
        "test_sizes[note] if {\n"
        '\tsome note, case in {"two": [2, {"small"}], "three": [3, set()]}\n'
        '\t{size | size := big.size} == case[1] with input as {"size": case[0]}\n}\n'
    )
    library = _library(tmp_path, opa, rule, TEST.partition("test_big")[0] + test)
    chosen = [
        mutant
        for mutant in mutants(library)
        if mutant.mutation in {"<= in input.size < 3", "drop input.size == 0", "raise 0"}
    ]

    outcomes = try_mutants(library, chosen, verdicts)

    assert [(o.mutant.mutation, o.fate) for o in outcomes] == [
        ("<= in input.size < 3", "killed"),
        ("drop input.size == 0", "killed"),
        ("raise 0", "survived"),
    ]


def test_a_failing_suite_is_no_judge(library: Library, verdicts: Verdicts) -> None:
    test = f"{FOLDER}/big_test.rego"
    files = {**library.files, test: TEST.replace("9}", "2}", 1).encode()}
    broken = Library(library.root, files, library.own, library.controls, library.opa)

    with pytest.raises(InputError) as raised:
        try_mutants(broken, mutants(broken), verdicts)

    assert raised.value.code == "policy.tests_fail"


@pytest.mark.parametrize("status", [1, 2, 137], ids=["error", "usage", "killed"])
def test_an_opa_that_fails_judges_nothing(
    tmp_path: Path, opa: Path, verdicts: Verdicts, status: int
) -> None:
    # As one that finds no memory: it fails on the first change, after the tests have passed.
    broken = tmp_path / "opa"
    flag = tmp_path / "passed"
    broken.write_text(
        f"#!/bin/sh\n[ -e {flag} ] && exit {status}\n"
        f'[ $1 = eval ] && touch {flag}\nexec {opa} "$@"\n'
    )
    broken.chmod(0o755)
    library = _library(tmp_path / "policies", broken)

    with pytest.raises(UnavailableError) as raised:
        try_mutants(library, mutants(library)[:1], verdicts)

    assert "the tests did not run" in raised.value.problem


def test_what_was_judged_is_judged_again_only_when_something_changed(
    tmp_path: Path, opa: Path
) -> None:
    place = tmp_path / "cache/verdicts.json"
    root = tmp_path / "policies"

    def judged(rule: str = RULE, test: str = TEST) -> tuple[int, tuple[Outcome, ...]]:
        # An OPA that counts how often it evaluates; its bytes stay the same.
        counted = _counting(tmp_path, opa)
        library = _library(root, counted, rule, test)
        (tmp_path / "runs").write_text("")
        with Verdicts(place, counted) as verdicts:
            outcomes = try_mutants(library, mutants(library), verdicts)
        return len((tmp_path / "runs").read_text().splitlines()), outcomes

    first, outcomes = judged()
    again, remembered = judged()
    after_a_rule, _ = judged(rule=RULE.replace("> 3", "> 4"))
    after_a_test, noticed = judged(test=TEST.replace('"size": 1}', '"size": 3}'))

    assert (first > 0, again, remembered) == (True, 0, outcomes)
    assert after_a_rule > 0
    assert after_a_test > 0
    assert ">= in input.size > 3" not in {
        o.mutant.mutation for o in noticed if o.fate == "survived"
    }


def test_verdicts_that_cannot_be_read_are_none(tmp_path: Path, library: Library, opa: Path) -> None:
    (tmp_path / "verdicts.json").write_text("[")

    with Verdicts(tmp_path / "verdicts.json", opa) as verdicts:
        outcomes = try_mutants(library, mutants(library)[:1], verdicts)

    assert [o.fate for o in outcomes] == ["killed"]
    assert list(json.loads((tmp_path / "verdicts.json").read_text()).values()) == ["killed"]


def _counting(folder: Path, opa: Path) -> Path:
    program = folder / "opa"
    program.write_text(
        f'#!/bin/sh\n[ $1 = eval ] && echo run >> {folder / "runs"}\nexec {opa} "$@"\n'
    )
    program.chmod(0o755)
    return program


def test_survivors_are_explained_and_stale_explanations_are_found(
    library: Library, verdicts: Verdicts
) -> None:
    outcomes = try_mutants(library, mutants(library), verdicts)
    _explain(
        library.root,
        (WAIVED, 'drop _is_waived if input.owner == "shop"'),
        (WAIVED, '!= in input.owner == "shop"'),
        (WAIVED, 'change "shop"'),
        (DENY, "raise 3"),
        (DENY, "raise 3"),
        (DENY, "raise 4"),
    )

    found = list(survivors(library, outcomes))

    assert [(each.code, each.line, each.message) for each in found] == [
        ("policy.survivor_stale", 13, f"it is listed twice: {DENY}: raise 3"),
        ("policy.survivor_stale", 16, f"a test notices it, or it is gone: {DENY}: raise 4"),
        ("policy.mutant", 4, f"no test notices a change to {DENY}: >= in input.size > 3"),
    ]


def test_an_explanation_has_no_other_keys(library: Library) -> None:
    (library.root / "survivors.yaml").write_text(
        "- rule: a\n  mutation: b\n  reason: long enough\n  line: 4\n"
    )

    with pytest.raises(InputError) as raised:
        list(survivors(library, ()))

    assert "'line'" in str(raised.value)


def test_the_command_fails_for_survivors_until_they_are_explained(
    tmp_path: Path, opa: Path
) -> None:
    root = tmp_path / "shop"
    folder = root / "policies/dataspine/custom/shop/odd"
    folder.mkdir(parents=True)
    (folder / "odd.rego").write_text(CUSTOM)
    (folder / "odd_test.rego").write_text(CUSTOM_TEST)
    (root / "spine.yaml").write_text("name: shop\nmode: dev\n")
    (root / "schema").mkdir()
    matrix = "schema/data-residency-matrix.yaml"
    (root / matrix).write_text((ROOT / matrix).read_text())
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "SPINE_OPA": str(opa)}

    def checked() -> tuple[int, list[dict[str, object]], dict[str, int]]:
        found = run("--json", "policy", "check", "--mutants", folder=root, environment=environment)
        return found.status, found.document["findings"], found.document["mutants"]

    status, found, counts = checked()
    rule = "dataspine.custom.shop.odd.deny"
    dropped = 'drop input.point == "schema.publish"'
    _explain(root / "policies", (rule, dropped))

    assert (status, counts["survived"]) == (1, 1)
    assert found == [
        {
            "code": "policy.mutant",
            "severity": "error",
            "message": f"no test notices a change to {rule}: {dropped}",
            "file": "policies/dataspine/custom/shop/odd/odd.rego",
            "line": 17,
            "remediation": "Add a test that does, remove what no answer needs, "
            "or list it with its reason in policies/survivors.yaml.",
            "controls": [],
        }
    ]
    assert checked() == (0, [], counts)


def _explain(policies: Path, *entries: tuple[str, str]) -> None:
    (policies / "survivors.yaml").write_text(
        "".join(
            f"- rule: {rule}\n  mutation: '{mutation}'\n  reason: It changes no answer.\n"
            for rule, mutation in entries
        )
    )
