"""How the command line speaks: Rich for people, one JSON document for machines."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dataspine.core.errors import DataSpineError
from dataspine.decisions.decision import Decision

__all__ = ["Output"]

_PIPE_WIDTH = 10_000  # nothing is cut or broken for who reads it line by line


class Output:
    """Print results: ``as_json`` prints one document on stdout and nothing else there."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.console = Console(highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = _PIPE_WIDTH
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    def document(self, value: Any) -> None:
        """Print the JSON document, when ``--json`` asked for it."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")

    def say(self, text: str | Text) -> None:
        """Print a line for people."""
        if not (self.as_json or self.quiet):
            self.console.print(text)

    def note(self, text: str) -> None:
        """Print a remark on stderr, out of the way of results."""
        if not (self.as_json or self.quiet):
            self.err.print(Text(text, "dim"))

    @contextlib.contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Show how far something is while it lasts; the block calls ``told(done, total)``."""
        if self.as_json or self.quiet or not self.err.is_terminal:
            yield lambda _done, _total: None
            return
        with self.err.status(f"{what} …") as status:
            yield lambda done, total: status.update(f"{what} … {done:,} of {total:,}")

    @contextlib.contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Show on a terminal's stderr that something takes its time."""
        if self.as_json or self.quiet or not self.err.is_terminal:
            yield
            return
        with self.err.status(Text(f"{text} …", "dim")):
            yield

    def table(
        self, columns: tuple[str, ...], rows: list[tuple[object, ...]], *, none: str = ""
    ) -> None:
        """Print rows for people; without any, what ``none`` says instead."""
        if self.as_json or self.quiet:
            return
        if none and not rows:
            self.console.print(Text(none))
            return
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            table.add_column(column)
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        self.console.print(table)

    def decision(self, decision: Decision, *, subject: str, file: str | None = None) -> None:
        """Print what was decided, each violation with its place and what to do."""
        if self.as_json or self.quiet:
            return
        verdict = Text("allowed" if decision.allow else "denied", "bold green")
        if not decision.allow:
            verdict.stylize("bold red")
        revision = decision.policy.revision if decision.policy else "no policy answered"
        self.console.print(verdict, Text(subject, "bold"), Text(f"by {revision[:26]}", "dim"))
        for violation in decision.violations:
            style = "yellow" if violation.severity == "warn" else "red"
            place = f"{file}:{violation.line}" if file and violation.line else violation.path
            self.console.print(
                Text(f"  {violation.severity:5}", style),
                Text(violation.code, style),
                Text(place, "cyan"),
            )
            self.console.print(f"        {violation.message}", markup=False)
            self.console.print(Text(f"        → {violation.remediation}", "dim"))

    def error(self, error: DataSpineError) -> None:
        """Print an error: what, where, what to do next; on stderr, and as JSON when asked."""
        if self.as_json:
            self.document({"error": error.document()})
            return
        self.err.print(Text("error ", "bold red"), Text(error.code, "red"), end=" ")
        self.err.print(str(error), markup=False)
        if error.remedy:
            self.err.print(Text(f"  → {error.remedy}", "dim"))

    def facts(self, values: Mapping[str, object]) -> None:
        """Print names and values, one a line."""
        if self.as_json or self.quiet:
            return
        width = max(len(name) for name in values)
        for name, value in values.items():
            self.console.print(Text(f"  {name:{width}}  ", "dim"), Text(_words(value)), sep="")


def _words(value: object) -> str:
    """Return a value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or "none"
    return "none" if value is None else str(value)
