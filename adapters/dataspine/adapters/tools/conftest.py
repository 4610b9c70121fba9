"""Conftest, which judges configuration files with a folder of Rego."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataspine.adapters.tools.program import find_program, run
from dataspine.bundles.confined import CAPABILITIES
from dataspine.core.errors import UnavailableError

__all__ = ["NAMESPACE", "VERSION", "Conftest", "Judged", "Verdict"]

VERSION = "0.71.1"
NAMESPACE = "dataspine.conftest"
SECONDS = 60.0
# It looks for plugins at home, and does not start without one.
_ENVIRONMENT = {"HOME": "/nonexistent"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One objection: the message, and what the rule says beside it (code, path, line, …)."""

    message: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """What conftest says about one file."""

    file: str
    failures: tuple[Verdict, ...]
    warnings: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Conftest:
    """A conftest program."""

    path: Path

    @classmethod
    def find(cls) -> Conftest | None:
        """Return the user's conftest, or None."""
        path = find_program("conftest")
        return cls(path) if path else None

    def version(self) -> str:
        """Return conftest's version with that of the OPA inside it."""
        said = run([self.path, "--version"], env=_ENVIRONMENT, seconds=SECONDS).output
        found = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        version, opa = (found.get(key, "unknown").strip() for key in ("Conftest", "OPA"))
        return f"{version} (OPA {opa})"

    def test(
        self,
        bundle: Path,
        files: Sequence[Path | str] = (),
        *,
        stdin: bytes | None = None,
        parser: str | None = None,
    ) -> tuple[Judged, ...]:
        """Judge files, or ``stdin``, with the rules and data of an unpacked bundle.

        Raises ``UnavailableError`` when conftest fails instead of judging.
        """
        argv: list[str | Path] = [self.path, "test", "--output", "json", "--policy", bundle]
        argv += ["--data", bundle, "--namespace", NAMESPACE, "--capabilities", CAPABILITIES]
        argv += ["--parser", parser] if parser else []
        argv += ["-"] if stdin is not None else list(files)
        found = run(argv, env=_ENVIRONMENT, stdin=stdin or b"", seconds=SECONDS)
        answer = found.document()
        if not isinstance(answer, list):
            raise UnavailableError(
                f"no report: {found.reason}", where="conftest", remedy="Correct what it names."
            )
        return tuple(
            Judged(each["filename"], _verdicts(each, "failures"), _verdicts(each, "warnings"))
            for each in answer
            if isinstance(each, dict)
        )


def _verdicts(result: dict[str, Any], kind: str) -> tuple[Verdict, ...]:
    found = result.get(kind) or ()
    return tuple(Verdict(each["msg"], dict(each.get("metadata") or {})) for each in found)
