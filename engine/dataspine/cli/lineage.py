"""``spine lineage``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dataspine.cli.context import options
from dataspine.cli.remote import Remote

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

BUDGET = 200

Node = Annotated[str, typer.Argument(metavar="NODE", help="dataset:NAMESPACE:NAME or job:…")]


@app.command(epilog="Example: spine lineage status")
def status() -> None:
    """Count the events that are delivered, pending and dead."""
    chosen = options()
    counts = chosen.answer(
        lambda service: service.get("v1", "summary")["lineage"],
        lambda session: dict(session.outbox.counts()),
    )
    chosen.output.document(counts)
    chosen.output.facts(counts)


@app.command(epilog="Example: spine lineage graph dataset:spine://shop:shop.customers")
def graph(
    node: Node, depth: Annotated[int, typer.Option(min=1, max=50, help="Edges to follow.")] = 3
) -> None:
    """Show what a dataset or job came from and goes to."""
    chosen = options()

    def remote(service: Remote) -> dict[str, Any]:
        query = {"node": node, "depth": depth, "budget": BUDGET}
        answer = service.get("lineage", "graph", query=query)
        return {key: value for key, value in answer.items() if key != "delivery"}

    found = chosen.answer(
        remote, lambda session: session.lineage.graph(node, depth=depth, budget=BUDGET)
    )
    chosen.output.document(found)
    rows: list[tuple[object, ...]] = [(e["source"], "→", e["target"]) for e in found["edges"]]
    chosen.output.table(("from", "", "to"), rows)
