"""What a check objects to, in a file of the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["ERROR", "Finding"]

ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One objection; ``line`` is 1-based, None when it is about the whole file.

    ``severity`` is ``warn`` or anything else, as in a violation.
    """

    code: str
    message: str
    file: str = ""
    line: int | None = None
    remediation: str = ""
    severity: str = ERROR
    controls: tuple[str, ...] = ()

    @property
    def fails(self) -> bool:
        """Tell whether this finding alone fails a check."""
        return self.severity != "warn"

    @property
    def place(self) -> str:
        """``file:line``, as terminals and editors follow it."""
        return f"{self.file}:{self.line}" if self.file and self.line else self.file

    def document(self) -> dict[str, Any]:
        """Return the finding as a JSON object."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "file": self.file,
            "line": self.line,
            "remediation": self.remediation,
            "controls": list(self.controls),
        }
