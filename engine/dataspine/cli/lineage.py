"""``spine lineage``."""

from __future__ import annotations

from typing import Annotated

import typer

from dataspine.cli.context import Json, WorkspaceOption, options

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.command(epilog="Example: spine lineage status")
def status(workspace: WorkspaceOption = None, as_json: Json = False) -> None:
    """Count the events that are delivered, pending and dead."""
    chosen = options(as_json, workspace)
    with chosen.session() as session:
        counts = session.outbox.counts()
    chosen.output.document(counts)
    chosen.output.facts(dict(counts))


@app.command(epilog="Example: spine lineage graph dataset:spine://shop:shop.customers")
def graph(
    node: Annotated[str, typer.Argument(metavar="NODE", help="dataset:NAMESPACE:NAME or job:…")],
    depth: Annotated[int, typer.Option(min=1, max=50)] = 3,
    workspace: WorkspaceOption = None,
    as_json: Json = False,
) -> None:
    """Show what a dataset or job came from and goes to."""
    chosen = options(as_json, workspace)
    with chosen.session() as session:
        found = session.lineage.graph(node, depth=depth)
    chosen.output.document(found)
    rows: list[tuple[object, ...]] = [(e["source"], "→", e["target"]) for e in found["edges"]]
    chosen.output.table(("from", "", "to"), rows)
