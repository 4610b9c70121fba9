"""Judgements for machines: SARIF, JUnit and GitHub annotations, each with file and line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from importlib.metadata import version
from typing import Annotated, Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import typer

from dataspine.adapters.finding import Finding
from dataspine.cli.output import Output
from dataspine.decisions.decision import Decision

__all__ = [
    "Format",
    "FormatOption",
    "nothing_compared",
    "prepare",
    "print_decision",
    "print_report",
]


class Format(StrEnum):
    """How a judging command answers."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"
    GITHUB = "github"


FormatOption = Annotated[
    Format, typer.Option("--format", help="How to answer; json is what --json prints.")
]
SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
# XML 1.0 has no way to write these, not even escaped.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def prepare(form: Format, output: Output) -> None:
    """Let nothing but the chosen format reach stdout."""
    if form is Format.JSON:
        output.as_json = True
    elif form is not Format.TEXT:
        output.quiet = True


def print_decision(
    form: Format,
    decision: Decision,
    *,
    subject: str,
    file: str = "",
    unjudged: Sequence[str] = (),
) -> None:
    """Print a decision's violations, as findings in the file that was judged."""
    findings = [
        Finding(
            violation.code,
            violation.message,
            file,
            violation.line,
            violation.remediation,
            violation.severity,
            violation.controls,
        )
        for violation in decision.violations
    ]
    revision = decision.policy.revision if decision.policy else ""
    print_report(form, findings, subject=subject, revision=revision, unjudged=unjudged)


def print_report(
    form: Format,
    findings: Sequence[Finding],
    *,
    subject: str,
    revision: str = "",
    unjudged: Sequence[str] = (),
) -> None:
    """Print findings as SARIF, JUnit or GitHub annotations; text and JSON say it elsewhere.

    ``revision`` is the policy's, so that a report names what judged; ``unjudged`` are the subjects
    of which no version was known to compare with.
    """
    if form is Format.SARIF:
        sys.stdout.write(
            json.dumps(_sarif(findings, revision, unjudged), ensure_ascii=False) + "\n"
        )
    elif form is Format.JUNIT:
        sys.stdout.write(_junit(findings, subject, revision, unjudged) + "\n")
    elif form is Format.GITHUB:
        if unjudged:
            sys.stdout.write(f"::warning::{_data(nothing_compared(unjudged))}\n")
        for line in _github(findings, subject, revision):
            sys.stdout.write(line + "\n")


def nothing_compared(subjects: Sequence[str]) -> str:
    """Return the first line of a report about subjects without a known version."""
    return f"no previous version of {', '.join(subjects)} is known: nothing was compared"


def _sarif(findings: Sequence[Finding], revision: str, unjudged: Sequence[str]) -> dict[str, Any]:
    codes = sorted({finding.code for finding in findings})
    first = {finding.code: finding for finding in reversed(findings)}
    told = {"noPreviousVersion": list(unjudged)} if unjudged else {}
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "data-spine",
                        "semanticVersion": version("data-spine"),
                        "rules": [_descriptor(first[code]) for code in codes],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, codes) for finding in findings],
                "properties": {"policyRevision": revision} | told,
            }
        ],
    }


def _descriptor(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.code,
        "shortDescription": {"text": finding.code},
        "help": {"text": finding.remediation or finding.message},
        "properties": {"tags": sorted(finding.controls)},
    }


def _result(finding: Finding, codes: Sequence[str]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": "error" if finding.fails else "warning",
        "message": {"text": " ".join(filter(None, (finding.message, finding.remediation)))},
        "locations": [],
    }
    if finding.file:
        # Code scanning shows nothing without a line; the first stands for the whole file.
        place = {
            "artifactLocation": {"uri": quote(finding.file)},
            "region": {"startLine": finding.line or 1},
        }
        result["locations"] = [{"physicalLocation": place}]
    return result


def _junit(
    findings: Sequence[Finding], subject: str, revision: str, unjudged: Sequence[str]
) -> str:
    failures = sum(finding.fails for finding in findings)
    counts = {"tests": str(max(1, len(findings))), "failures": str(failures), "errors": "0"}
    root = ET.Element("testsuites", {"name": "data-spine", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": _xml(subject), **counts})
    properties = ET.SubElement(suite, "properties")
    ET.SubElement(properties, "property", {"name": "policy", "value": _xml(revision)})
    if unjudged:
        told = {"name": "no-previous-version", "value": _xml(", ".join(unjudged))}
        ET.SubElement(properties, "property", told)
    if not findings:
        ET.SubElement(suite, "testcase", {"classname": _xml(subject), "name": "policy"})
    for finding in findings:
        attributes = {"classname": _xml(subject), "name": _xml(f"{finding.code} {finding.place}")}
        if finding.file:
            attributes["file"] = _xml(finding.file)
        if finding.line:
            attributes["line"] = str(finding.line)
        case = ET.SubElement(suite, "testcase", attributes)
        text = _xml(f"{finding.place} {finding.message}\n{finding.remediation}".strip())
        if finding.fails:
            told = {"type": _xml(finding.code), "message": _xml(finding.message)}
            ET.SubElement(case, "failure", told).text = text
        else:
            # A warning is no failure.
            ET.SubElement(case, "system-out").text = text
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True)


def _github(findings: Sequence[Finding], subject: str, revision: str) -> Iterator[str]:
    by = f" by policy {revision}" if revision else ""
    failed = sum(finding.fails for finding in findings)
    verdict = f"{subject}: {failed} errors, {len(findings) - failed} warnings{by}"
    yield f"::notice::{_data(verdict)}"
    for finding in findings:
        places = {"file": finding.file, "line": str(finding.line or ""), "title": finding.code}
        where = ",".join(f"{key}={_property(value)}" for key, value in places.items() if value)
        text = "\n".join(filter(None, (finding.message, finding.remediation)))
        yield f"::{'error' if finding.fails else 'warning'} {where}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
