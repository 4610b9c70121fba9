"""Regal, the linter of Rego."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dataspine.adapters.tools.program import Diagnostic, find_program, run
from dataspine.core.errors import UnavailableError

__all__ = ["Regal"]

SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Regal:
    """A regal program."""

    path: Path

    @classmethod
    def find(cls) -> Regal | None:
        """Return the user's regal, or None."""
        path = find_program("regal")
        return cls(path) if path else None

    def version(self) -> str:
        """Return regal's version with that of the OPA inside it."""
        said = run([self.path, "version"], seconds=SECONDS).output
        found = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        version, opa = (found.get(key, "unknown").strip() for key in ("Version", "OPA Version"))
        return f"{version} (OPA {opa})"

    def lint(self, folder: Path, *, configuration: Path | None = None) -> tuple[Diagnostic, ...]:
        """Return what regal objects to in the folder; raise ``UnavailableError`` if it fails."""
        argv: list[str | Path] = [self.path, "lint", "--format", "json"]
        argv += ["--config-file", configuration] if configuration else []
        found = run([*argv, "."], cwd=folder, seconds=SECONDS)
        answer = found.document()
        violations = answer.get("violations") if isinstance(answer, dict) else None
        if violations is None:
            raise UnavailableError(
                f"no report: {found.reason}", where="regal", remedy="Correct what it names."
            )
        return tuple(
            Diagnostic(
                f"{each['description']} ({each['category']}/{each['title']})",
                each["location"]["file"].removeprefix("./"),
                each["location"]["row"],
                each["title"],
            )
            for each in violations
        )
