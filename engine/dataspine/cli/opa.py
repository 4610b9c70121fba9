"""``spine opa``."""

from __future__ import annotations

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dataspine.cli.context import Json, options
from dataspine.decisions.program import find_opa, install_opa

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.command(epilog="Example: spine opa install")
def install(as_json: Json = False) -> None:
    """Install the pinned OPA into the user's cache: built with Go, else downloaded."""
    output = options(as_json, None).output
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=output.err,
        transient=True,
        disable=as_json or not output.err.is_terminal,
    ) as progress:
        task = progress.add_task("Installing OPA (20-60 s with Go) …", total=None)
        program = install_opa(progress=lambda text: progress.update(task, description=text))
    document = {"path": str(program.path), "version": program.version, "sha256": program.sha256}
    output.document(document)
    output.facts(document)


@app.command(epilog="Example: spine opa status")
def status(as_json: Json = False) -> None:
    """Show which OPA decides here."""
    chosen = options(as_json, None)
    program = find_opa(chosen.opa)
    document = {
        "path": str(program.path),
        "version": program.version,
        "sha256": program.sha256,
        "origin": program.origin,
    }
    chosen.output.document(document)
    chosen.output.facts(document)
