"""``spine lineage``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dataspine.cli.context import options
from dataspine.cli.remote import Remote
from dataspine.core.errors import NotFoundError
from dataspine.lineage.graph import distances
from dataspine.web.advertisement import advertised

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)
dlq = typer.Typer(no_args_is_help=True)
app.add_typer(dlq, name="dlq", help="Look at events that receivers refused, and send them again.")

BUDGET = 200
# As far and as much as a service shows at once.
FAR = 50
MANY = 2000
GRAPH = frozenset({"root", "nodes", "edges", "hidden", "cut"})
SHOWN = ("id", "kind", "namespace", "name")

Node = Annotated[str, typer.Argument(metavar="NODE", help="dataset:NAMESPACE:NAME or job:…")]


@app.command(epilog="Example: spine lineage status")
def status() -> None:
    """Count the events that are delivered, pending and dead."""
    chosen = options()
    counts = chosen.answer(
        lambda service: service.get("v1", "summary", has=frozenset({"lineage"}))["lineage"],
        lambda session: session.outbox.counts(),
    )
    chosen.output.document(counts)
    chosen.output.facts({name: each for name, each in counts.items() if name != "receivers"})
    rows: list[tuple[object, ...]] = [
        (name, each["pending"], each["dead"]) for name, each in counts["receivers"].items()
    ]
    if rows:
        chosen.output.table(("receiver", "pending", "dead"), rows)


@app.command(epilog="Example: spine lineage graph dataset:spine://shop:shop.customers")
def graph(
    node: Node, depth: Annotated[int, typer.Option(min=1, max=50, help="Edges to follow.")] = 3
) -> None:
    """Show what a dataset or job came from and goes to."""
    chosen = options()

    def remote(service: Remote) -> dict[str, Any]:
        query = {"node": node, "depth": depth, "budget": BUDGET}
        answer = service.get("lineage", "graph", query=query, has=GRAPH)
        return {key: value for key, value in answer.items() if key != "delivery"}

    found = chosen.answer(
        remote, lambda session: session.lineage.graph(node, depth=depth, budget=BUDGET)
    )
    chosen.output.document(found)
    rows: list[tuple[object, ...]] = [(e["source"], "→", e["target"]) for e in found["edges"]]
    chosen.output.table(("from", "", "to"), rows, none="nothing leads to it or from it")
    if found["cut"]:
        chosen.output.note("there are more edges than are shown")


@app.command(epilog="Example: spine lineage impact dataset:spine://shop:shop.customers")
def impact(node: Node) -> None:
    """List what a dataset or job reaches, with its distance in edges."""
    chosen = options()
    query = {"node": node, "depth": FAR, "direction": "downstream", "budget": MANY}
    found: dict[str, Any] = chosen.answer(
        lambda service: service.get("lineage", "graph", query=query, has=GRAPH),
        lambda session: session.lineage.graph(node, depth=FAR, direction="downstream", budget=MANY),
    )
    edges = [(edge["source"], edge["target"]) for edge in found["edges"]]
    far = distances(found["root"], edges)
    reached = sorted(
        (each for each in found["nodes"] if each["id"] in far),
        key=lambda e: (far[e["id"]], e["id"]),
    )
    cut = found["cut"] or any(each["hidden"]["downstream"] for each in found["nodes"])
    document = {
        "root": found["root"],
        "complete": not cut,
        "nodes": [
            {**{key: each[key] for key in SHOWN}, "distance": far[each["id"]]} for each in reached
        ],
    }
    chosen.output.document(document)
    rows: list[tuple[object, ...]] = [
        (far[each["id"]], each["kind"], each["namespace"], each["name"]) for each in reached
    ]
    chosen.output.table(("distance", "kind", "namespace", "name"), rows)
    if cut:
        chosen.output.note(
            f"too many nodes or edges, or more than {FAR} in a row: not all is shown"
        )


@dlq.command("list", epilog="Example: spine lineage dlq list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most to show.")] = 100,
) -> None:
    """List events that a receiver refused for good, the newest first."""
    chosen = options()
    with chosen.session() as session:
        found = session.outbox.dead(limit=limit)
    chosen.output.document(found)
    rows: list[tuple[object, ...]] = [
        (each["seq"], each["receiver"], each["reason"], each["at"], each["id"]) for each in found
    ]
    columns = ("event", "receiver", "reason", "at", "id")
    chosen.output.table(columns, rows, none="no receiver refused an event")


@dlq.command(epilog="Example: spine lineage dlq replay --receiver marquez")
def replay(
    receiver: Annotated[str | None, typer.Option(help="Only this receiver's.")] = None,
) -> None:
    """Let dead events be sent once more; the file of dead letters keeps its lines."""
    from dataspine.adapters import access

    chosen = options()
    with chosen.session() as session:
        names = [each.name for each in session.workspace.settings.receivers]
        if receiver is not None and receiver not in names:
            raise NotFoundError(
                f"no receiver is called {receiver!r}",
                where="--receiver",
                remedy=f"Known: {', '.join(names) or 'none'}. See lineage in spine.yaml.",
                code="lineage.unknown_receiver",
            )
        access.require_unless_local(session, access.LINEAGE, access.EVERYTHING)
        with session.database.begin() as connection:
            again = session.outbox.retry_dead(connection, receiver=receiver)
        running = advertised(session.workspace.state) is not None
    chosen.output.document({"again": again})
    chosen.output.say(f"{again} dead events are pending again")
    if again and not running:
        chosen.output.note("`spine serve` sends them")
