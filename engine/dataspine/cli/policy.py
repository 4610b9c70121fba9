"""``spine policy``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dataspine.adapters.rules_reference import rules_reference
from dataspine.cli.context import Json, options
from dataspine.decisions.program import find_opa

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Look at the rules.")


@app.callback()
def policy() -> None:
    """Look at the rules."""


@app.command(epilog="Example: spine policy docs policies")
def docs(
    policies: Annotated[Path, typer.Argument(help="The folder of rules.")] = Path("policies"),
    as_json: Json = False,
) -> None:
    """Print the reference of rules as Markdown, from their METADATA."""
    chosen = options(as_json, None)
    page = rules_reference(find_opa(chosen.opa).path, policies)
    chosen.output.document({"markdown": page})
    if not as_json:
        sys.stdout.write(page)
