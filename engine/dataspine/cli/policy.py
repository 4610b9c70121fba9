"""``spine policy``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from dataspine.adapters.finding import Finding
from dataspine.adapters.given_bundle import GivenBundle
from dataspine.adapters.mutant_verdicts import Verdicts
from dataspine.adapters.opened_bundle import active_of, candidate_of
from dataspine.adapters.policy_change import PolicyChange, policy_change
from dataspine.adapters.policy_check import ALL, FAST, LINT, TESTS, Part, Result, run_parts
from dataspine.adapters.policy_impact import Period, impact
from dataspine.adapters.policy_mutants import Mutant, mutants, survivors, try_mutants
from dataspine.adapters.rule_library import Library, custom_library, product_library
from dataspine.adapters.rules_reference import differing, rules_pages, write_pages
from dataspine.adapters.tools.opa import Opa
from dataspine.cli.context import DENIED, Options, options
from dataspine.cli.difference import show_difference
from dataspine.cli.impact import progress, show
from dataspine.cli.judging import given_bundle
from dataspine.cli.report import Format, FormatOption, prepare, print_report
from dataspine.core.clock import parse_rfc3339
from dataspine.core.errors import NotFoundError
from dataspine.decisions.program import find_opa

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Check rules, test them, document them.")

Policies = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FOLDER]",
        help="A `policies/` folder of the product; the workspace's own rules if left out.",
    ),
]


@app.callback()
def policy() -> None:
    """Check rules, test them, document them."""


@app.command(epilog="Example: spine policy check")
def check(
    folder: Policies = None,
    fast: Annotated[bool, typer.Option("--fast", help="Only what takes a few seconds.")] = False,
    mutate: Annotated[
        bool, typer.Option("--mutants", help="Also change each line and see if a test notices.")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """Check everything that must hold for rules before they may enter a bundle."""
    chosen = options()
    _checked(chosen, folder, FAST if fast else ALL, form, mutate=mutate)


@app.command(epilog="Example: spine policy lint")
def lint(
    folder: Policies = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Check how rules are written: format, compiler, schemas, regal, METADATA."""
    chosen = options()
    _checked(chosen, folder, LINT, form)


@app.command("test", epilog="Example: spine policy test")
def run_tests(
    folder: Policies = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Run the rules' tests: every line reached, every rule denies, every entry point refuses."""
    chosen = options()
    _checked(chosen, folder, TESTS, form)


@app.command(epilog="Example: spine policy docs --to docs/reference")
def docs(
    folder: Policies = None,
    to: Annotated[Path, typer.Option("--to", help="The folder of the pages.")] = Path(
        "docs/reference"
    ),
    check_only: Annotated[
        bool, typer.Option("--check", help="Only compare, and fail on a difference.")
    ] = False,
) -> None:
    """Write the reference: a page for each rule, their index, and the matrix of controls."""
    chosen = options()
    pages = rules_pages(_library(chosen, folder))
    changed = differing(pages, to) if check_only else write_pages(pages, to)
    chosen.output.document({"pages": len(pages), "changed": changed})
    for name in changed:
        chosen.output.say(f"{'differs' if check_only else 'written'}: {to / name}")
    chosen.output.say(f"{len(pages)} pages, {len(changed)} changed")
    if check_only and changed:
        raise typer.Exit(DENIED)


def _library(chosen: Options, folder: Path | None) -> Library:
    opa = Opa(find_opa(chosen.opa).path)
    if folder is not None:
        return product_library(folder, opa)
    try:
        opened = chosen.workspace()
    except NotFoundError:
        opened = None
    # A checkout of the product is a workspace too, whose rules are all its own.
    root = opened.root if opened else Path.cwd()
    if (root / "policies/.manifest").is_file():
        return product_library(root / "policies", opa)
    return custom_library(opened or chosen.workspace(), opa)


def _checked(
    chosen: Options,
    folder: Path | None,
    parts: tuple[Part, ...],
    form: Format,
    *,
    mutate: bool = False,
) -> None:
    prepare(form, chosen.output)
    given = given_bundle(chosen.opa, decides=False)
    library = _library(chosen, folder)
    output = chosen.output
    results: list[Result] = []

    def told(result: Result) -> None:
        results.append(result)
        mark = ("✗ ", "red") if result.findings else ("✓ ", "green")
        note = f"skipped: {result.skipped}" if result.skipped else result.part.says
        if result.skipped:
            mark = ("- ", "yellow")
        seconds = (f"  {result.seconds:.1f} s", "dim")
        output.say(Text.assemble(mark, (f"{result.part.name:13}", "bold"), note, seconds))

    with _progress(chosen) as progress:
        task = progress.add_task("", total=len(parts))

        def begins(part: Part) -> None:
            progress.update(task, description=part.says, completed=len(results))

        findings = run_parts(library, parts, told, begins)
    counts: dict[str, int] | None = None
    if mutate and not findings:
        findings, counts = _mutated(chosen, library)
    failed = any(finding.fails for finding in findings)
    change = None if given is None or failed else _change(chosen, given)
    chosen.output.document(
        {
            "ok": not failed,
            "rules": sorted(library.rules),
            "parts": [
                {"name": r.part.name, "findings": len(r.findings), "skipped": r.skipped}
                for r in results
            ],
            **({"mutants": counts} if counts is not None else {}),
            **({"change": change.document()} if change is not None else {}),
            "findings": [finding.document() for finding in findings],
        }
    )
    print_report(form, findings, subject=library.shown("."))
    _say(chosen, library, findings)
    if change is not None:
        _show_change(chosen, change)
    if failed:
        raise typer.Exit(DENIED)


def _change(chosen: Options, given: GivenBundle) -> PolicyChange:
    with chosen.session() as session, progress(chosen.output) as told:
        return policy_change(session, given, told=told)


def _show_change(chosen: Options, change: PolicyChange) -> None:
    chosen.output.say(Text("beside the given bundle", "bold"))
    show_difference(chosen.output, change.difference)
    if change.impact is None:
        chosen.output.say(
            Text(
                "nothing was decided in this workspace: run `spine policy impact` where decisions "
                "are recorded",
                "dim",
            )
        )
    else:
        show(chosen.output, change.impact)


def _say(chosen: Options, library: Library, findings: tuple[Finding, ...]) -> None:
    for finding in findings:
        style = "red" if finding.fails else "yellow"
        chosen.output.say(
            Text.assemble(
                (finding.code, style), " ", (finding.place, "cyan"), f" {finding.message}"
            )
        )
        chosen.output.say(Text(f"    → {finding.remediation}", "dim"))
    if not findings:
        chosen.output.say(Text(f"{len(library.rules)} rules, nothing to object to", "green"))


def _mutated(chosen: Options, library: Library) -> tuple[tuple[Finding, ...], dict[str, int]]:
    changes: tuple[Mutant, ...] = mutants(library)
    with (
        _progress(chosen) as progress,
        Verdicts.of_folder(library.root, library.opa.path) as verdicts,
    ):
        task = progress.add_task("changing each line", total=len(changes))
        outcomes = try_mutants(library, changes, verdicts, lambda _: progress.advance(task))
    rows: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        rows.setdefault(outcome.mutant.file, Counter())[outcome.fate] += 1
    whole = sum(rows.values(), Counter[str]())
    chosen.output.table(
        ("file", "noticed", "survived"),
        [
            (library.shown(name), each["killed"], each["survived"])
            for name, each in sorted(rows.items())
        ],
    )
    counts = {
        "noticed": whole["killed"],
        "survived": whole["survived"],
        "invalid": whole["invalid"],
    }
    return tuple(survivors(library, outcomes)), counts


def _progress(chosen: Options) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=chosen.output.err,
        transient=True,
        disable=chosen.output.as_json or not chosen.output.err.is_terminal,
    )


@app.command("impact", epilog="Example: spine policy impact --candidate .")
def impact_(
    candidate: Annotated[
        str,
        typer.Option(
            help="A published revision or digest, a bundle file, or . for the workspace's sources."
        ),
    ] = ".",
    base: Annotated[
        str | None,
        typer.Option(metavar="CHANNEL", help="Compare with what this channel serves."),
    ] = None,
    since: Annotated[str | None, typer.Option(help="Recorded at or after, RFC 3339.")] = None,
    until: Annotated[str | None, typer.Option(help="Recorded before, RFC 3339.")] = None,
    examples: Annotated[int, typer.Option(min=0, max=1000, help="How many of each kind.")] = 5,
) -> None:
    """Show which decisions a candidate bundle would change. Exits with 1 on deny to allow."""
    chosen = options()
    period = Period(*(parse_rfc3339(end) if end else None for end in (since, until)))
    with chosen.session() as session:
        pair = candidate_of(session, candidate), active_of(session, base or session.channel)
        with progress(chosen.output) as told:
            found = impact(session, *pair, period, examples=examples, told=told)
    chosen.output.document(found.document())
    show(chosen.output, found)
    if found.counts["deny_to_allow"]:
        raise typer.Exit(DENIED)
