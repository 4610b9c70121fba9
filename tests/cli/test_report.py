"""Reports for machines: SARIF, JUnit, GitHub annotations."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from dataspine.adapters.finding import Finding
from dataspine.cli.output import Output
from dataspine.cli.report import Format, prepare, print_report

DENIED = Finding(
    "pii.untagged_field",
    "email looks personal, 100%: untagged",
    "schema/a b,c.avsc",
    11,
    "Tag email.",
    controls=("GDPR-30",),
)
WARNED = Finding("retention.hint_missing", "a\nb", "x.proto", None, "", severity="warn")
NOWHERE = Finding("engine.unavailable", "no \x00 answer <&>", remediation="Run `spine doctor`.")


def _printed(form: Format, findings: list[Finding], capsys: pytest.CaptureFixture[str]) -> str:
    print_report(form, findings, subject="shop.customers", revision="1.0.0+sha256.9f")
    return capsys.readouterr().out


def test_sarif_names_rule_level_and_line(capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(_printed(Format.SARIF, [DENIED, WARNED, NOWHERE], capsys))

    (run,) = report["runs"]
    assert report["version"] == "2.1.0"
    assert report["$schema"].endswith("sarif-2.1.0.json")
    assert run["properties"] == {"policyRevision": "1.0.0+sha256.9f"}
    rules = run["tool"]["driver"]["rules"]
    assert [(rule["id"], rule["properties"]["tags"]) for rule in rules] == [
        ("engine.unavailable", []),
        ("pii.untagged_field", ["GDPR-30"]),
        ("retention.hint_missing", []),
    ]
    assert run["results"][0] == {
        "ruleId": "pii.untagged_field",
        "ruleIndex": 1,
        "level": "error",
        "message": {"text": "email looks personal, 100%: untagged Tag email."},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": "schema/a%20b%2Cc.avsc"},
                    "region": {"startLine": 11},
                }
            }
        ],
    }
    warned, nowhere = run["results"][1:]
    assert (warned["level"], nowhere["level"]) == ("warning", "error")
    assert warned["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}
    assert nowhere["locations"] == []


def test_sarif_of_nothing_is_a_run_without_results(capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = json.loads(_printed(Format.SARIF, [], capsys))["runs"]

    assert run["results"] == []
    assert run["tool"]["driver"]["rules"] == []


def test_junit_counts_what_denies_alone(capsys: pytest.CaptureFixture[str]) -> None:
    root = ET.fromstring(_printed(Format.JUNIT, [DENIED, WARNED, NOWHERE], capsys))  # noqa: S314 - our own report

    assert root.attrib == {"name": "data-spine", "tests": "3", "failures": "2", "errors": "0"}
    denied, warned, nowhere = root.iter("testcase")
    assert denied.attrib == {
        "classname": "shop.customers",
        "name": "pii.untagged_field schema/a b,c.avsc:11",
        "file": "schema/a b,c.avsc",
        "line": "11",
    }
    assert denied.find("failure") is not None
    assert warned.find("failure") is None
    assert warned.findtext("system-out") == "x.proto a\nb"
    failure = nowhere.find("failure")
    assert failure is not None
    assert failure.attrib["message"] == "no � answer <&>"


def test_junit_of_nothing_is_one_passing_case(capsys: pytest.CaptureFixture[str]) -> None:
    root = ET.fromstring(_printed(Format.JUNIT, [], capsys))  # noqa: S314 - our own report

    assert [case.attrib["classname"] for case in root.iter("testcase")] == ["shop.customers"]
    assert root.attrib["failures"] == "0"


def test_github_annotations_stand_at_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _printed(Format.GITHUB, [DENIED, WARNED, NOWHERE], capsys).splitlines()

    assert lines == [
        "::notice::shop.customers: 2 errors, 1 warnings by policy 1.0.0+sha256.9f",
        "::error file=schema/a b%2Cc.avsc,line=11,title=pii.untagged_field"
        "::email looks personal, 100%25: untagged%0ATag email.",
        "::warning file=x.proto,title=retention.hint_missing::a%0Ab",
        "::error title=engine.unavailable::no \x00 answer <&>%0ARun `spine doctor`.",
    ]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (Format.TEXT, (False, False)),
        (Format.JSON, (True, False)),
        (Format.SARIF, (False, True)),
        (Format.JUNIT, (False, True)),
        (Format.GITHUB, (False, True)),
    ],
)
def test_only_the_chosen_format_speaks(
    form: Format, expected: tuple[bool, bool], capsys: pytest.CaptureFixture[str]
) -> None:
    output = Output()
    prepare(form, output)

    assert (output.as_json, output.quiet) == expected
    output.note("x")
    output.say("x")
    output.document({})
    said = capsys.readouterr()
    silent = {Format.TEXT: "x\n", Format.JSON: "{}\n"}
    assert said.out == silent.get(form, "")
