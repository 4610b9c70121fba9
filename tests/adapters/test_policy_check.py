"""Checking rules: each fault that a person can write is found, at its line, by its part."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.adapters.odd_rule import RULE, TEST

from dataspine.adapters.finding import Finding
from dataspine.adapters.policy_check import ALL, FAST, LINT, TESTS, Part, Result, run_parts
from dataspine.adapters.rule_library import Library, custom_library, product_library
from dataspine.adapters.tools.opa import Opa
from dataspine.core.errors import InputError
from dataspine.core.workspace import Workspace

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
ODD = "dataspine/custom/shop/odd/odd.rego"
ODD_TEST = "dataspine/custom/shop/odd/odd_test.rego"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "shop"
    rule = root / "policies" / ODD
    rule.parent.mkdir(parents=True)
    rule.write_text(RULE)
    (root / "policies" / ODD_TEST).write_text(TEST)
    (root / "spine.yaml").write_text("name: shop\nmode: dev\n")
    matrix = ROOT / "schema/data-residency-matrix.yaml"
    (root / "schema").mkdir()
    (root / "schema/data-residency-matrix.yaml").write_text(matrix.read_text())
    return Workspace.open(root)


def _found(library: Library, parts: tuple[Part, ...] = ALL) -> list[Finding]:
    results: list[Result] = []
    return list(run_parts(library, parts, results.append))


def _changed(workspace: Workspace, opa: Path, changes: Mapping[str, tuple[str, str]]) -> Library:
    for name, (before, after) in changes.items():
        path = workspace.root / "policies" / name
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))
    return custom_library(workspace, Opa(opa))


def test_the_product_is_clean(opa: Path, regal: Path) -> None:
    results: list[Result] = []

    found = run_parts(product_library(ROOT / "policies", Opa(opa)), ALL, results.append)

    assert found == ()
    assert [(r.part.name, r.skipped) for r in results] == [
        ("format", ""),
        ("compile", ""),
        ("schemas", ""),
        ("lint", ""),
        ("conventions", ""),
        ("coverage", ""),
        ("firing", ""),
        ("entry points", ""),
        ("filters", ""),
    ]


def test_own_rules_of_a_workspace_are_clean(workspace: Workspace, opa: Path, regal: Path) -> None:
    library = custom_library(workspace, Opa(opa))

    assert list(library.rules) == ["shop.odd"]
    assert _found(library, LINT) == []
    assert _found(library, TESTS[:4]) == []


@pytest.mark.parametrize(
    ("name", "before", "after", "code", "line", "message"),
    [
        (ODD, "\n\n\tviolation", "\n\n\n\tviolation", "policy.format", None, "`opa fmt`"),
        (ODD, '"odd"\n', "odd\n", "policy.compile", 18, "var odd is unsafe"),
        (
            ODD,
            '"odd"\n',
            '"odd"\n\ttime.now_ns() > 0\n',
            "policy.capability",
            19,
            "undefined function time.now_ns",
        ),
        (
            ODD,
            '"odd"\n',
            '"odd"\n\tcoun(input.facts.name) > 0\n',
            "policy.compile",
            19,
            "undefined function coun",
        ),
        (ODD, '.name == "odd"', '.nmae == "odd"', "policy.schema", 18, "input.facts.nmae"),
        (ODD, "#   severity", "#   severty", "policy.convention", 10, '"severity" is a required'),
        (ODD, "severity: error", "severity: high", "policy.convention", 10, '"high" is not one'),
        (ODD, "GDPR-5.2", "GDPR-999", "policy.convention", 10, "GDPR-999 is described nowhere"),
        (ODD, "another name.", "another name", "policy.convention", 10, "custom.remediation"),
        (ODD_TEST, "odd_test", "even_test", "policy.convention", 1, "its folder dataspine/custom"),
        (
            ODD,
            "\n# METADATA\n# description: The name is odd.\n",
            "\n",
            "policy.convention",
            14,
            "deny",
        ),
        (ODD_TEST, '"shop.odd"', '"shop.even"', "policy.test", 5, "test_odd fails"),
    ],
)
def test_faults_are_found_at_their_line(
    name: str,
    before: str,
    after: str,
    code: str,
    line: int | None,
    message: str,
    workspace: Workspace,
    opa: Path,
) -> None:
    found = _found(_changed(workspace, opa, {name: (before, after)}), FAST)

    assert found, "nothing was found"
    assert found[0].code == code
    assert (found[0].file, found[0].line) == (str(workspace.root / "policies" / name), line)
    assert message in found[0].message
    assert found[0].remediation


def test_a_control_of_the_workspace_is_described_in_it(workspace: Workspace, opa: Path) -> None:
    (workspace.root / "policies/controls.yaml").write_text("SHOP-1: Names are even.\n")

    library = _changed(workspace, opa, {ODD: ("GDPR-5.2", "SHOP-1")})

    assert library.controls["SHOP-1"] == "Names are even."
    assert _found(library, LINT) == []


def test_a_rule_without_tests_is_found(workspace: Workspace, opa: Path) -> None:
    (workspace.root / "policies" / ODD_TEST).unlink()

    found = _found(custom_library(workspace, Opa(opa)), FAST)

    assert [each.message for each in found] == ["shop.odd has no test beside it"]


def test_lines_that_no_test_reaches_are_found(workspace: Workspace, opa: Path) -> None:
    more = '\ndeny contains "x" if input.facts.name == "never"\n'
    library = _changed(workspace, opa, {ODD: ("\t})\n}\n", "\t})\n}\n" + more)})

    found = _found(library, TESTS[:3])

    assert [(each.code, each.line) for each in found] == [
        ("policy.coverage", 26),
        ("policy.silent", 26),
    ]


def test_a_rule_that_another_rule_s_test_reaches_is_still_silent(
    workspace: Workspace, opa: Path
) -> None:
    root = workspace.root / "policies"
    other = root / "dataspine/custom/shop/even/even.rego"
    other.parent.mkdir()
    other.write_text(RULE.replace("odd", "even"))
    own = "test_odd if odd.deny == set() with input as {}\n"
    head = TEST.partition("test_odd")[0].replace("odd", "even")
    other.with_name("even_test.rego").write_text(head + own.replace("odd", "even"))
    borrowed = TEST.replace("odd.deny == set() with", "count(even.deny) == 1 with").replace(
        "shop.odd\n\n", "shop.odd\nimport data.dataspine.custom.shop.even\n\n"
    )
    (root / ODD_TEST).write_text(borrowed)

    found = _found(custom_library(workspace, Opa(opa)), TESTS[:3])

    assert [each.message for each in found] == ["shop.even denies nothing in its own tests"]


def test_a_product_code_is_refused(workspace: Workspace, opa: Path) -> None:
    rule = workspace.root / "policies/dataspine/custom/pii/untagged_field/untagged_field.rego"
    rule.parent.mkdir(parents=True)
    rule.write_text(RULE.replace("shop.odd", "pii.untagged_field"))

    with pytest.raises(InputError) as raised:
        custom_library(workspace, Opa(opa))

    assert raised.value.code == "bundle.custom_code"


def _product(opa: Path, name: str, before: str, after: str) -> Library:
    library = product_library(ROOT / "policies", Opa(opa))
    text = library.files[name].decode()
    assert before in text
    files = {**library.files, name: text.replace(before, after).encode()}
    return Library(library.root, files, library.own, library.controls, library.opa)


def test_an_entry_point_that_allows_nothing_asked_is_found(opa: Path) -> None:
    name = "dataspine/main/main.rego"
    library = _product(
        opa, name, 'else := decision.refusal("route.deploy")', 'else := {"allow": true}'
    )

    found = _found(library, TESTS[3:4])

    assert {(each.code, each.message) for each in found} == {
        ("policy.open", "dataspine.main.route_deploy does not deny an empty question")
    }


def test_a_filter_outside_of_the_fragment_is_found(opa: Path) -> None:
    name = "dataspine/main/filter.rego"
    library = _product(opa, name, "decision.is_filter_question\n", "not input.row.hidden\n")

    found = _found(library, TESTS[4:])

    assert [each.code for each in found] == ["policy.filter"]
    assert "pe_fragment_error" in found[0].message or "not" in found[0].message


def test_a_filter_that_never_answers_is_found(opa: Path) -> None:
    name = "dataspine/main/filter.rego"
    library = _product(opa, name, "\t_passes_home_not_allowed\n", "\tinput.facts.none\n")

    found = _found(library, TESTS[4:])

    assert [each.message.partition(": ")[2] for each in found] == [
        "it answers nothing for a whole question"
    ]


def test_library_code_may_read_what_some_point_sends_and_nothing_else(opa: Path) -> None:
    name = "dataspine/lib/decision/decision.rego"
    library = _product(opa, name, "input.facts.name,", "input.facts.title,")

    found = _found(library, LINT[2:3])

    assert {(each.code, each.file) for each in found} == {("policy.schema", library.shown(name))}


def test_a_workspace_without_rules_of_its_own_is_clean(
    workspace: Workspace, opa: Path, regal: Path
) -> None:
    for name in (ODD, ODD_TEST):
        (workspace.root / "policies" / name).unlink()
    results: list[Result] = []
    found = run_parts(custom_library(workspace, Opa(opa)), ALL, results.append)
    skipped = {result.part.name: result.skipped for result in results if result.skipped}
    assert (found, skipped) == ((), {"filters": "the tests' questions are not here"})
