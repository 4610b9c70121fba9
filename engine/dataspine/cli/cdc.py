"""``spine cdc``."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from dataspine.adapters import (
    dead_letter_purge,
    dead_letter_replay,
    route_deploy,
    routes,
    row_replicate,
)
from dataspine.adapters.route_deploy import Plan
from dataspine.cdc.state import RouteStore
from dataspine.cli import completion
from dataspine.cli.context import DENIED, Options, options
from dataspine.cli.judging import without_previous
from dataspine.cli.report import Format, FormatOption, nothing_compared, prepare, print_decision
from dataspine.core.clock import parse_rfc3339
from dataspine.core.errors import InputError
from dataspine.decisions.policy_age import seconds_of

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)
dlq = typer.Typer(no_args_is_help=True)
app.add_typer(dlq, name="dlq", help="Look at parked rows; replay, discard or purge them.")

RouteFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[ROUTE.yaml]",
        help="The workspace's only one if left out.",
        autocompletion=completion.routes,
    ),
]


@app.command(epilog="Example: spine cdc plan streaming/cdc/data-spine.yaml")
def plan(
    route: RouteFile = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Say whether a route may be deployed; change nothing."""
    _decided(options(), route, apply=False, form=form)


@app.command(epilog="Example: spine cdc apply streaming/cdc/data-spine.yaml")
def apply(route: RouteFile = None) -> None:
    """Deploy a route when policy allows it."""
    _decided(options(), route, apply=True)


@app.command(epilog="Example: spine cdc run")
def run(route: RouteFile = None) -> None:
    """Run a deployed route until Ctrl-C: snapshot first, then live changes."""
    chosen = options()
    stop = threading.Event()
    received: list[int] = []

    def end(number: int, _frame: object) -> None:
        received.append(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    notes: list[str] = []

    def told(status: dict[str, Any]) -> None:
        if not notes:
            _print_asking(chosen, status["asks_per_class"])
        note = " ".join(filter(None, (status["state"], status["problem"], _advice(status))))
        if notes[-1:] != [note]:
            notes.append(note)
            chosen.output.note(note)

    with chosen.deciding() as session:
        path = _path(chosen, route)
        name = row_replicate.run(session, path, stop, told=told)
        outcomes = RouteStore(session.database).outcomes(name)
    chosen.output.document({"outcomes": outcomes})
    _print_outcomes(chosen, outcomes)
    if signal.SIGINT in received[:1]:
        raise KeyboardInterrupt


@app.command(epilog="Example: spine cdc status")
def status() -> None:
    """Show every route's state, outcomes and lag."""
    chosen = options()
    with chosen.session() as session:
        found = routes.views(session)
    chosen.output.document([view.document() for view in found])
    for view in found:
        _print_view(chosen, view)
    if not found:
        chosen.output.say("no route is deployed; see `spine cdc apply`")


@app.command(epilog="Example: spine cdc destroy streaming/cdc/data-spine.yaml")
def destroy(
    route: RouteFile = None,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Do not ask the source, which is gone; say what is left."),
    ] = False,
) -> None:
    """Drop a route's slot and publication, and forget the route.

    Sinks and dead letters keep their rows; `spine cdc dlq purge --parked` erases the latter.
    """
    chosen = options()
    if forget:
        _forget(chosen, route)
        return
    with chosen.session() as session:
        gone = route_deploy.destroy(session, _path(chosen, route))
    chosen.output.document({"route": gone, "destroyed": True})
    chosen.output.say(f"{gone}: slot and publication are gone")


def _forget(chosen: Options, route: Path | None) -> None:
    with chosen.session() as session:
        gone = route_deploy.forget(session, _path(chosen, route))
    chosen.output.document(gone.document())
    chosen.output.say(f"{gone.route}: forgotten; no source was asked")
    for source, slot in gone.slots.items():
        chosen.output.say(f"if the source {source} is still there, it keeps its log for {slot}:")
        for statement in gone.document()["left"][source]:
            chosen.output.say(f"  {statement};")
    if gone.parked:
        chosen.output.note(f"{gone.parked:,} parked rows stay where they are, and so do the sinks")
        chosen.output.note("`spine cdc dlq purge --parked --older-than 1s` erases parked rows")


@dlq.command("list", epilog="Example: spine cdc dlq list")
def list_(
    route: RouteFile = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    after: Annotated[int, typer.Option(min=0, help="Continue after this id.")] = 0,
    sink: Annotated[str | None, typer.Option(help="Of one sink.")] = None,
    table: Annotated[str | None, typer.Option(help="Of one table.")] = None,
    code: Annotated[str | None, typer.Option(help="Parked for this reason.")] = None,
) -> None:
    """List parked rows, oldest first, without their contents."""
    chosen = options()
    with (
        chosen.session() as session,
        dead_letter_replay.dead_letters(session, _path(chosen, route)) as store,
    ):
        search = routes.LetterSearch(sink, table, code, limit, after)
        page = routes.letter_page(store, search)
    chosen.output.document(page.document())
    rows: list[tuple[object, ...]] = [
        (x.id, x.sink, x.table, x.home, ", ".join(x.codes), x.decision_id) for x in page.letters
    ]
    columns = ("id", "sink", "table", "home", "codes", "decision")
    chosen.output.table(columns, rows, none="no such row is parked")
    if page.counts:
        chosen.output.facts(dict(page.counts))
    if page.after is not None:
        chosen.output.note(f"there may be more: --after {page.after}")


@dlq.command(epilog="Example: spine cdc dlq show 7")
def show(
    letter: Annotated[int, typer.Argument(help="A parked row's id.")],
    route: RouteFile = None,
    payload: Annotated[
        bool, typer.Option("--payload", help="Show the row itself, personal data included.")
    ] = False,
) -> None:
    """Show where a parked row came from and why it was parked; its contents only on request.

    What is not parked any more has no contents: they were erased.
    """
    chosen = options()
    with chosen.deciding() if payload else chosen.session() as session:
        found = dead_letter_replay.show(session, _path(chosen, route), letter, payload=payload)
    document = found.document()
    if payload:
        document["payload"] = json.loads(found.payload or "null")
    chosen.output.document(document)
    chosen.output.facts(
        {**document, "codes": ", ".join(found.codes)}
        | ({"payload": found.payload or "erased"} if payload else {})
    )


@dlq.command(epilog="Example: spine cdc dlq replay --dry-run")
def replay(
    route: RouteFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
) -> None:
    """Put parked rows through the current gate, if you may; newer rows are never overwritten."""
    chosen = options()
    with chosen.deciding() as session:
        path = _path(chosen, route)
        made = dead_letter_replay.replay(session, path, dry_run=dry_run)
    chosen.output.document(made.document())
    if not made.decision.allow:
        chosen.output.decision(made.decision, subject=made.route, file=str(route or path))
        raise typer.Exit(3 if made.decision.policy is None else DENIED)
    chosen.output.facts(made.report.document())


@dlq.command(epilog="Example: spine cdc dlq discard 7")
def discard(
    letter: Annotated[int, typer.Argument(help="A parked row's id.")],
    route: RouteFile = None,
) -> None:
    """Give a parked row up for good, and erase its contents."""
    chosen = options()
    with chosen.deciding() as session:
        dead_letter_replay.discard(session, _path(chosen, route), letter)
    chosen.output.document({"id": letter, "discarded": True})
    chosen.output.say(f"dead letter {letter} is discarded")


@dlq.command(epilog="Example: spine cdc dlq purge --older-than 90d --dry-run")
def purge(
    route: RouteFile = None,
    before: Annotated[
        str | None, typer.Option(metavar="DATE", help="Older than a day or a time.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Older than this: 12h, 90d.")
    ] = None,
    parked: Annotated[
        bool, typer.Option("--parked", help="Rows that are still parked too.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove old rows that were given up, replayed or superseded, and tombstones, for good."""
    chosen = options()
    with chosen.deciding() as session:
        made = dead_letter_purge.purge(
            session,
            _path(chosen, route),
            _date(before, older_than, session.clock()),
            parked=parked,
            dry_run=dry_run,
        )
    chosen.output.document(made.document())
    chosen.output.facts({**made.purged.letters, "tombstones": made.purged.tombstones})


def _date(before: str | None, older_than: str | None, now: datetime) -> datetime:
    if (before is None) is (older_than is None):
        raise InputError(
            "name one of --before and --older-than",
            where="--before",
            remedy="Write --before 2026-11-23, or --older-than 90d.",
        )
    if before is not None:
        day = re.fullmatch(r"\d{4}-\d\d-\d\d", before)
        return parse_rfc3339(f"{before}T00:00:00Z" if day else before, where="--before")
    if older_than is None or not re.fullmatch(r"[1-9]\d{0,4}[smhd]", older_than):
        raise InputError(
            f"{older_than!r} is not an age", where="--older-than", remedy="Write it like 90d."
        )
    return now - timedelta(seconds=seconds_of(older_than) or 0)


def _decided(
    chosen: Options, route: Path | None, *, apply: bool, form: Format = Format.TEXT
) -> None:
    prepare(form, chosen.output)
    path = _path(chosen, route)
    with chosen.deciding() as session:
        decide = route_deploy.apply if apply else route_deploy.plan
        made: Plan = decide(session, path)
        subjects = {table["subject"] for table in made.facts["tables"] if table["subject"]}
        unjudged = without_previous(s for s in subjects if session.registry.latest(s) is None)
    chosen.output.document({**made.document(), **unjudged})
    unknown = unjudged.get("no_previous_version", [])
    if unknown:
        chosen.output.say(nothing_compared(unknown))
    chosen.output.decision(made.decision, subject=made.route.name, file=str(route or path))
    _print_asking(chosen, made.asks_per_class)
    file = str(route or path)
    print_decision(form, made.decision, subject=made.route.name, file=file, unjudged=unknown)
    if not made.decision.allow:
        raise typer.Exit(3 if made.decision.policy is None else DENIED)


def _path(chosen: Options, route: Path | None) -> Path:
    if route is not None:
        return route
    workspace = chosen.workspace()
    named = workspace.settings.routes
    if len(named) != 1:
        raise InputError(
            f"the workspace names {len(named)} routes", where="ROUTE.yaml", remedy="Name the file."
        )
    return workspace.root / named[0]


def _print_asking(chosen: Options, codes: Sequence[str]) -> None:
    if codes:
        named = ", ".join(codes)
        chosen.output.note(f"OPA is asked for each class of rows: no filter holds {named}")


def _print_view(chosen: Options, view: routes.RouteView) -> None:
    found = view.document()
    state = f"{found['state']} since {found['since']}"
    chosen.output.say(Text.assemble((found["name"], "bold"), f"  {state}"))
    if found["problem"]:
        chosen.output.say(Text(f"  {found['problem']}"))
    if advice := _advice(found):
        chosen.output.say(Text(f"  {advice}"))
    _print_asking(chosen, found["asks_per_class"])
    chosen.output.facts(_measures(found))
    _print_outcomes(chosen, found["outcomes"])


def _advice(status: Mapping[str, Any]) -> str:
    """Say where a problem is, since when, and what to do about it."""
    since = f"since {status['failing_since']}" if status.get("failing_since") else ""
    place = ", ".join(filter(None, (status.get("where"), since)))
    return " ".join(filter(None, (f"({place})" if place else "", status.get("remedy"))))


def _measures(found: Mapping[str, Any]) -> dict[str, object]:
    measures: dict[str, object] = {}
    for sink, lag in found["lag"].items():
        text = f"p50 {lag['p50']:.2f} s, p95 {lag['p95']:.2f} s"
        if found["running"] and found["state"] != "streaming":
            text = f"at least {lag['p95']:.2f} s"  # nothing arrives until it streams
        measures[f"lag {sink}"] = text + (" (clocks differ)" if lag["skewed"] else "")
    for source, size in found["slot_lag_bytes"].items():
        measures[f"log kept {source}"] = f"{size:,} bytes"
    for sink, parked in (found["parked"] or {}).items():
        if parked["rows"]:
            oldest = f"the oldest for {parked['oldest_age']:,.0f} s"
            measures[f"parked {sink}"] = f"{parked['rows']:,} rows, {oldest}"
    return measures


def _print_outcomes(chosen: Options, outcomes: Mapping[str, Mapping[str, int]]) -> None:
    words = sorted({word for counts in outcomes.values() for word in counts})
    rows: list[tuple[object, ...]] = [
        (sink, *(f"{counts.get(word, 0):,}" for word in words)) for sink, counts in outcomes.items()
    ]
    if rows:
        chosen.output.table(("sink", *words), rows)
