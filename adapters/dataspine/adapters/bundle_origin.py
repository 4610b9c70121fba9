"""Where a bundle's sources come from: git's commit, and what OPA's tests said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataspine.adapters.policy import content_of
from dataspine.bundles import Content, Origin, Results, unpack
from dataspine.core.canonical import parse_json
from dataspine.core.errors import ConflictError, InputError, UnavailableError
from dataspine.core.process import run
from dataspine.core.scratch import scratch
from dataspine.core.workspace import Workspace

__all__ = ["origin_of", "read_reports", "run_tests"]

_GIT_SECONDS = 10.0
_TEST_SECONDS = 300.0
_MAX_REPORT = 32 * 1_048_576


def origin_of(
    workspace: Workspace, content: Content, *, author: str, reports: Sequence[bytes] = ()
) -> Origin:
    """Return who made a content, from which commit, and how its tests went.

    The commit is named only when the workspace's sources build exactly this content.
    """
    commit, dirty = (None, None)
    if content_of(workspace).digest == content.digest:
        commit, dirty = _commit(workspace.root)
    results, coverage = read_reports(reports)
    return Origin(author=author, commit=commit, dirty=dirty, tests=results, coverage=coverage)


def read_reports(reports: Sequence[bytes]) -> tuple[Results | None, float | None]:
    """Return results and coverage from what ``opa test --format json`` wrote, each if there.

    Without ``--coverage`` OPA writes a list of tests, with it the coverage alone. Tests of several
    reports are added up, and the lowest coverage counts: no report hides what another says.
    """
    tests: list[dict[str, Any]] | None = None
    coverage = None
    for number, report in enumerate(reports):
        where = f"report {number + 1}"
        document = parse_json(report, where=where, max_bytes=_MAX_REPORT)
        if isinstance(document, list) and all(map(_is_test, document)):
            tests = [*(tests or ()), *document]
        elif isinstance(document, dict) and _is_percentage(document.get("coverage")):
            measured = round(float(document["coverage"]), 2)
            coverage = measured if coverage is None else min(coverage, measured)
        else:
            raise InputError(
                "is not a report of `opa test`",
                where=where,
                remedy="Write one with `opa test --format json`, or with --coverage added.",
            )
    return None if tests is None else _results(tests), coverage


def run_tests(workspace: Workspace, opa: Path, *, archive: bytes | None = None) -> list[bytes]:
    """Run the tests of the workspace's own rules; return OPA's reports of results and coverage.

    They say nothing about an ``archive`` of another content, which raises ``ConflictError``.
    """
    content = content_of(workspace)
    if archive is not None and unpack(archive).digest != content.digest:
        raise ConflictError(
            "the bundle is not what this workspace builds, so that its tests say nothing about it",
            remedy="Publish it from the workspace that built it, "
            "or hand over its report with --tests.",
            code="bundle.tests_of_another",
        )
    tests = {
        path.relative_to(workspace.root / "policies").as_posix(): path.read_bytes()
        for path in sorted(workspace.custom_path.rglob("*_test.rego"))
    }
    with scratch("rego") as folder:
        for path, raw in {**content.files, **tests}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(raw)
        command = [str(opa), "test", "--bundle", ".", "--format", "json"]
        results = _asked(command, folder)
        failed = _results(parse_json(results, max_bytes=_MAX_REPORT)).failed
        # With a failing test OPA writes no coverage.
        return [results] if failed else [results, _asked([*command, "--coverage"], folder)]


def _asked(command: list[str], folder: Path) -> bytes:
    try:
        ended = run(command, cwd=folder, seconds=_TEST_SECONDS)
    except OSError as error:
        raise UnavailableError(
            f"OPA did not run the tests: {error}", remedy="Run `spine doctor`."
        ) from None
    if ended.output.lstrip()[:1] not in (b"[", b"{"):
        said = ended.complaint[-500:].decode("utf-8", "replace").strip()
        raise InputError(
            f"the tests do not run: {said or 'there are none'}",
            remedy="See `opa test`.",
            code="bundle.tests_fail",
        )
    return ended.output


def _is_test(entry: object) -> bool:
    names = (entry.get("package"), entry.get("name")) if isinstance(entry, dict) else ()
    return bool(names) and all(isinstance(name, str) and name.strip() for name in names)


def _is_percentage(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100


def _results(found: list[dict[str, Any]]) -> Results:
    counted = [each for each in found if not each.get("skip")]
    # An error may be an empty object: Go writes one that has no public parts so.
    failed = sum(1 for each in counted if each.get("fail") or each.get("error") is not None)
    return Results(passed=len(counted) - failed, failed=failed)


def _commit(folder: Path) -> tuple[str | None, bool | None]:
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None, None
    changes = _git(folder, "status", "--porcelain", "--", ".")
    return commit, None if changes is None else bool(changes)


def _git(folder: Path, *arguments: str) -> str | None:
    # A repository's own configuration must not choose a program to run.
    command = ["git", "-c", "core.fsmonitor=false", *arguments]
    try:
        ended = run(command, cwd=folder, seconds=_GIT_SECONDS)
    except OSError:
        return None
    return ended.output.decode("utf-8", "replace").strip() if ended.code == 0 else None
