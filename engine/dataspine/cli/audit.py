"""``spine audit``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.text import Text

from dataspine.adapters.record import recorded
from dataspine.cli import completion
from dataspine.cli.context import options
from dataspine.cli.remote import DECISION
from dataspine.decisions.decision import Decision
from dataspine.decisions.journal import Search

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

MAX_PAGE = 500
RECORDED = DECISION | {"name", "actor", "acted", "class_count", "codes"}


@app.command(epilog="Example: spine audit decisions --deny --code pii.untagged_field")
def decisions(
    point: Annotated[
        str | None,
        typer.Option(help="The enforcement point that asked.", autocompletion=completion.points),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The subject, route or thing.")] = None,
    code: Annotated[
        str | None, typer.Option(help="A code that denied.", autocompletion=completion.codes)
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A revision, or its beginning.")] = None,
    allow: Annotated[
        bool | None, typer.Option("--allow/--deny", help="Only what was allowed, or denied.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339; inside.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339; outside.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_PAGE, help="The most to show.")] = 50,
) -> None:
    """List decisions of the journal, the newest first."""
    chosen = options()
    told = {
        "point": point,
        "name": name,
        "code": code,
        "revision": revision,
        "since": since,
        "until": until,
    }
    search = Search.of(told, allow=allow, where="--")
    query = {**told, "allow": None if allow is None else str(allow).lower(), "limit": limit}
    found: list[dict[str, Any]] = chosen.answer(
        lambda service: service.get("v1", "decisions", query=query, has=RECORDED),
        lambda session: [e.document() for e in session.journal.list(search, limit=limit)],
    )
    chosen.output.document(found)
    rows: list[tuple[object, ...]] = [
        (
            each["evaluated_at"][:19] + "Z",
            each["point"],
            each["name"],
            "allowed" if each["allow"] else "denied",
            ", ".join(each["codes"]),
            each["actor"],
            each["decision_id"],
        )
        for each in found
    ]
    columns = ("at", "point", "name", "answer", "codes", "actor", "decision")
    chosen.output.table(columns, rows, none="no such decision was made")


@app.command(epilog="Example: spine audit show 0d5e…")
def show(
    decision: Annotated[str, typer.Argument(metavar="ID", help="A decision's id.")],
) -> None:
    """Show a decision as the journal has it, and what OPA logged about it."""
    chosen = options()
    found: dict[str, Any] = chosen.answer(
        lambda service: service.get("v1", "decisions", decision, has=RECORDED | {"logged"}),
        lambda session: recorded(session, decision),
    )
    chosen.output.document(found)
    chosen.output.decision(Decision.of(found), subject=found["name"] or found["point"])
    policy, logged = found["policy"] or {}, found["logged"] or {}
    chosen.output.facts(
        {
            "decision": found["decision_id"],
            "point": found["point"],
            "at": found["evaluated_at"],
            "actor": found["actor"] + ("" if found.get("verified") else " (not verified)"),
            "acted on": "yes" if found["acted"] else "no",
            "stands for": f"{found['class_count']} rows" if found["class_count"] > 1 else "itself",
            "revision": policy.get("revision", "no policy answered"),
            "sequence": policy.get("sequence", ""),
            "input": found["input_digest"],
            "logged": logged.get("timestamp", "not by OPA, or not yet"),
        }
    )
    if "input" in logged:
        chosen.output.say(Text(json.dumps(logged["input"], indent=2, ensure_ascii=False)))
