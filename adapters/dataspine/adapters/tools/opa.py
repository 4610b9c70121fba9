"""OPA as a tool over a folder of Rego: format, compile, inspect, test, parse, evaluate, serve."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataspine.adapters.tools.program import Diagnostic, Run, run
from dataspine.bundles.confined import CAPABILITIES, ENVIRONMENT, opa_command
from dataspine.core.errors import InputError, UnavailableError
from dataspine.core.process import spawn, stop
from dataspine.core.scratch import scratch
from dataspine.decisions.opa_client import OpaClient

__all__ = ["Annotation", "Answered", "Case", "Opa", "Tested"]

SECONDS = 60.0
TEST_SECONDS = 300.0
SERVE_SECONDS = 15.0
_PLACE = re.compile(r"(?P<file>[^\s:][^:\n]*\.rego):(?P<line>\d+): (?P<message>.*)")


@dataclass(frozen=True, slots=True)
class Annotation:
    """One METADATA block: the path it is about, such as ``dataspine.main.route_deploy``."""

    path: tuple[str, ...]
    words: Mapping[str, Any]
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Case:
    """One test of Rego; ``failed`` names its failing cases, or itself; ``output`` is printed."""

    package: str
    name: str
    file: str
    line: int
    failed: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)
    output: str = ""

    @property
    def path(self) -> str:
        """What the expression ``only`` of ``Opa.test`` is matched with."""
        return f"data.{self.package}.{self.name}"


@dataclass(frozen=True, slots=True)
class Tested:
    """A run of tests. ``uncovered`` maps files to the lines that none reached, when asked for.

    ``faults`` says why nothing ran: the files do not compile.
    """

    cases: tuple[Case, ...] = ()
    faults: tuple[Diagnostic, ...] = ()
    uncovered: Mapping[str, tuple[int, ...]] | None = None

    @property
    def passed(self) -> bool:
        """Tell whether tests ran and none failed."""
        return bool(self.cases) and not self.faults and not any(c.failed for c in self.cases)


@dataclass(frozen=True, slots=True)
class Answered:
    """What queries answer, or the faults of the files or of their evaluation."""

    values: tuple[Any, ...] = ()
    faults: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True)
class Opa:
    """An OPA program; every call names files relative to ``folder``, where it runs.

    Each raises ``UnavailableError`` when OPA does not answer in time.
    """

    path: Path

    def unformatted(self, folder: Path) -> tuple[str, ...]:
        """Return the files that ``opa fmt`` would change, or cannot parse."""
        found = self._run(folder, "fmt", "--list", ".")
        broken = [place.file for place in _places(found.complaint)]
        return tuple(sorted({*found.output.split("\n"), *broken} - {""}))

    def check(
        self,
        folder: Path,
        files: Sequence[str] = (".",),
        *,
        schema: Path | None = None,
        capabilities: Path = CAPABILITIES,
    ) -> tuple[Diagnostic, ...]:
        """Compile strictly; with ``schema``, every reference into ``input`` must be in it."""
        # All of them: by itself OPA stops at the tenth.
        argv: list[str | Path] = ["--strict", "--format", "json", "--max-errors", "0"]
        argv += ["--schema", schema] if schema else []
        found = self._run(folder, "check", *argv, *files, capabilities=capabilities)
        return () if found.status == 0 else _errors(found)

    def annotations(self, folder: Path) -> tuple[Annotation, ...]:
        """Return every METADATA block; raise ``InputError`` for files that do not parse."""
        found = self._read(folder, "inspect", "--annotations", "--format", "json", ".")
        return tuple(
            Annotation(
                path=tuple(str(part["value"]) for part in entry["path"][1:]),
                words=entry["annotations"],
                file=entry["location"]["file"].removeprefix("./"),
                line=entry["location"]["row"],
            )
            for entry in found.get("annotations") or ()
        )

    def test(self, folder: Path, *, only: str = "", coverage: bool = False) -> Tested:
        """Run the tests whose ``data.<package>.<name>`` the expression ``only`` matches."""
        # As a bundle, the same files would be parsed and compiled twice.
        argv = ["--format", "json"]
        # OPA's own five seconds for one test are too few on a busy machine.
        argv += ["--timeout", f"{TEST_SECONDS:.0f}s"]
        argv += ["--run", only] if only else []
        found = self._run(folder, "test", *argv, ".", seconds=TEST_SECONDS)
        results = found.document()
        if not isinstance(results, list):
            faults = _places(found.complaint) or (Diagnostic(found.reason),)
            return Tested(faults=faults if found.status else ())
        cases = tuple(_case(each) for each in results)
        if not coverage or any(case.failed for case in cases):
            return Tested(cases)
        # OPA prints the results or the coverage, never both.
        argv += ["--coverage", "--coverage-runs=", "."]
        covered = self._run(folder, "test", *argv, seconds=TEST_SECONDS)
        return Tested(cases, uncovered=_uncovered(covered))

    def parse(self, file: Path) -> dict[str, Any]:
        """Return a file's syntax tree, each node with its place and text."""
        argv = ["--format", "json", "--json-include", "locations,-comments", file.name]
        return self._read(file.parent, "parse", *argv)

    def evaluate(self, folder: Path, query: str, value: object) -> Any:
        """Return what a query over the bundle in ``folder`` answers; None when undefined."""
        argv = ["--bundle", ".", "--stdin-input", "--format", "json", query]
        found = self._read(folder, "eval", *argv, stdin=json.dumps(value).encode())
        results = found.get("result")
        return results[0]["expressions"][0]["value"] if results else None

    def answers(self, folder: Path, queries: Sequence[str]) -> Answered:
        """Return what each query over the files in ``folder`` answers without any input."""
        argv = ["--data", ".", "--format", "json", f"[{', '.join(queries)}]"]
        found = self._run(folder, "eval", *argv, seconds=TEST_SECONDS)
        answer = found.document()
        if isinstance(answer, dict) and answer.get("result"):
            return Answered(tuple(answer["result"][0]["expressions"][0]["value"]))
        faults = _told(answer) if isinstance(answer, dict) else ()
        return Answered(faults=faults or (Diagnostic(found.reason),))

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[OpaClient]:
        """Serve the folder on a private unix socket for as long as the context lasts."""
        # An OPA that serves has every built-in, so that these rules must not name the others.
        if self.answers(folder, ["true"]).faults:
            raise self._not_served()
        # The path of a unix socket is at most about a hundred bytes.
        with scratch("socket") as place:
            address = f"unix://{place}/opa.sock"
            argv = opa_command(self.path, "run", "--server", "--addr", address, "--bundle", ".")
            argv += ["--disable-telemetry", "--log-level", "error"]
            process = spawn(argv, cwd=folder, env=ENVIRONMENT)
            client = OpaClient(address)
            try:
                end = time.monotonic() + SERVE_SECONDS
                while not client.healthy():
                    if process.poll() is not None or time.monotonic() > end:
                        raise self._not_served()
                    time.sleep(0.02)
                yield client
            finally:
                client.close()
                stop(process, 2)

    def _not_served(self) -> UnavailableError:
        return UnavailableError(
            "OPA does not serve the rules",
            where=str(self.path),
            remedy="Run `spine policy check` over them.",
        )

    def _run(
        self,
        folder: Path,
        command: str,
        *arguments: str | Path,
        capabilities: Path = CAPABILITIES,
        stdin: bytes = b"",
        seconds: float = SECONDS,
    ) -> Run:
        argv = opa_command(self.path, command, *arguments, capabilities=capabilities)
        return run(argv, cwd=folder, env=ENVIRONMENT, stdin=stdin, seconds=seconds)

    def _read(
        self, folder: Path, command: str, *arguments: str, stdin: bytes = b""
    ) -> dict[str, Any]:
        found = self._run(folder, command, *arguments, stdin=stdin)
        answer = found.document() if found.status == 0 else None
        if not isinstance(answer, dict):
            raise InputError(
                f"OPA cannot read the rules: {found.reason}",
                remedy="Correct them there.",
                code="policy.unreadable",
            )
        return answer


def _case(result: Mapping[str, Any]) -> Case:
    failed = tuple(_failures(result, ""))
    return Case(
        package=result["package"].removeprefix("data."),
        name=result["name"],
        file=result["location"]["file"].removeprefix("./"),
        line=result["location"]["row"],
        failed=failed,
        seconds=result["duration"] / 1e9,
        output=base64.b64decode(result.get("output", "")).decode("utf-8", "replace"),
    )


def _failures(result: Mapping[str, Any], at: str) -> Iterator[str]:
    if not (result.get("fail") or result.get("error")):
        return
    below = [
        name
        for key, each in (result.get("sub_results") or {}).items()
        for name in _failures(each, f"{at}[{key}]")
    ]
    if below:
        yield from below
    else:
        error = (result.get("error") or {}).get("message", "")
        yield f"{at} {error}".strip() or "failed"


def _uncovered(covered: Run) -> dict[str, tuple[int, ...]]:
    report = covered.document()
    if not isinstance(report, dict):
        raise UnavailableError(
            f"no coverage: {covered.reason}", where="opa test", remedy="Run it again."
        )
    return {
        name.removeprefix("./"): tuple(
            sorted(
                {
                    row
                    for span in found["not_covered"]
                    for row in range(span["start"]["row"], span["end"]["row"] + 1)
                }
            )
        )
        for name, found in report["files"].items()
        if found.get("not_covered")
    }


def _errors(checked: Run) -> tuple[Diagnostic, ...]:
    try:
        found = json.loads(checked.complaint)
    except ValueError:
        return (Diagnostic(checked.reason),)
    return _told(found)


def _told(found: Mapping[str, Any]) -> tuple[Diagnostic, ...]:
    return tuple(
        Diagnostic(
            error["message"],
            (error.get("location") or {}).get("file", "").removeprefix("./"),
            (error.get("location") or {}).get("row"),
            error.get("code", ""),
        )
        for error in found.get("errors", ())
    )


def _places(text: str) -> tuple[Diagnostic, ...]:
    return tuple(
        Diagnostic(each["message"], each["file"].removeprefix("./"), int(each["line"]))
        for each in _PLACE.finditer(text)
    )
