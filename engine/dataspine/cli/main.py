"""The ``spine`` command."""

from __future__ import annotations

import contextvars
import functools
import json
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.text import Text
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from dataspine.adapters.access import DeniedError
from dataspine.cli import (
    access,
    audit,
    bundle,
    cdc,
    completion,
    evidence,
    lineage,
    opa,
    policy,
    schema,
)
from dataspine.cli.context import exit_with, located, options, with_options_of_all
from dataspine.cli.judging import given_bundle, with_options_of_judging
from dataspine.cli.output import Output
from dataspine.cli.remote import DECISION
from dataspine.cli.report import Format, FormatOption, prepare, print_decision
from dataspine.cli.streams import Unwritable, guarded_streams
from dataspine.core.errors import DataSpineError, InputError, NotFoundError, of_system

__all__ = ["app", "command", "main"]

app = typer.Typer(
    name="spine",
    help="Governed data movement, with policy as code.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(schema.app, name="schema", help="Publish and look up schemas.")
app.add_typer(bundle.app, name="bundle", help="Build, verify and publish policy bundles.")
app.add_typer(evidence.app, name="evidence", help="Build and verify evidence packs.")
app.add_typer(policy.app, name="policy", help="Look at the rules.")
app.add_typer(opa.app, name="opa", help="Install OPA and look at it.")
app.add_typer(cdc.app, name="cdc", help="Plan, deploy and run CDC routes.")
app.add_typer(lineage.app, name="lineage", help="Follow where data came from and went.")
app.add_typer(audit.app, name="audit", help="Look at what was decided, and by which rules.")
app.add_typer(access.app, name="access", help="Look at who may do what; make tokens.")

INTERRUPTED = 130
MAX_BYTES = 1_048_576

Point = Annotated[
    str, typer.Argument(help="The enforcement point.", autocompletion=completion.points)
]


@app.command(epilog="Example: spine init shop")
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    name: Annotated[str | None, typer.Option(help="The workspace's name.")] = None,
    database: Annotated[
        str | None,
        typer.Option(metavar="REF", help="Where a PostgreSQL's address is: env:NAME, file:PATH."),
    ] = None,
) -> None:
    """Scaffold a workspace: its files, this clone's own signing key, its database."""
    from dataspine.adapters.init import init as scaffold

    output = options().output
    made: list[str] = []
    workspace = scaffold(folder, name=name, database=database, told=made.append)
    output.document({"workspace": str(workspace.root), "name": workspace.name, "made": made})
    output.say(Text.assemble("workspace ", (workspace.name, "bold"), f" in {folder}"))
    for entry in made:
        output.say(Text(f"  {entry}", "dim"))
    output.say(f"Next: cd {folder} && spine schema publish shop.customers schema/customers.avsc")


@app.command(epilog="Example: spine serve --port 8600")
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8600,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="A host name that callers may use, besides the address."),
    ] = None,
) -> None:
    """Serve the registry, decisions, bundles, lineage and the console."""
    from dataspine.web.server import serve as run

    _log_to_stderr()
    # From the start to the last log: whoever ends it ends it in order.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    chosen = options()
    chosen.workspace().database.migrate()
    with chosen.session() as session:

        def ready(address: str) -> None:
            chosen.output.document({"url": address, "revision": session.revision})
            chosen.output.say(Text.assemble("serving ", (address, "bold cyan"), " (Ctrl-C ends)"))
            sys.stdout.flush()

        run(session, host=host, port=port, ready=ready, names=names or ())


@app.command(epilog="Example: spine doctor")
def doctor() -> None:
    """Say what is there, what is missing, and how to get it."""
    from dataspine.adapters.doctor import examine

    chosen = options()
    try:
        opened = chosen.workspace()
    except DataSpineError:
        opened = None
    checks = list(examine(opened, chosen.opa))
    chosen.output.document(
        [{"name": c.name, "ok": c.ok, "found": c.found, "remedy": c.remedy} for c in checks]
    )
    for check in checks:
        mark = ("✓ ", "green") if check.ok else ("✗ ", "red" if check.needed else "yellow")
        chosen.output.say(Text.assemble(mark, (f"{check.name:10}", "bold"), check.found))
        if not check.ok:
            chosen.output.say(Text(f"             → {check.remedy}", "dim"))
    if any(check.needed and not check.ok for check in checks):
        raise typer.Exit(3)


@app.command("input", epilog="Example: spine input schema.publish schema/customers.avsc")
def input_(
    point: Point,
    file: Annotated[Path, typer.Argument(help="A schema or a route file.")],
) -> None:
    """Print the DecisionInput of a file, for conftest, tests and `spine decide`."""
    from dataspine.adapters.question import question_of

    chosen = options()
    given = given_bundle(chosen.opa, decides=False)
    if given is not None:
        chosen.output.note(f"to be judged by revision {given.bundle.revision}")
    with chosen.session() as session, located(file):
        question = question_of(session, point, file)
    indent = None if chosen.output.as_json else 2
    sys.stdout.write(json.dumps(question.document(), indent=indent) + "\n")


@app.command(
    epilog="Example: spine input schema.publish schema/customers.avsc"
    " | spine decide schema.publish --input -"
)
def decide(
    point: Point,
    input_file: Annotated[str, typer.Option("--input", help="A DecisionInput, - for stdin.")],
    form: FormatOption = Format.TEXT,
) -> None:
    """Ask for a decision on a whole DecisionInput; `at` becomes now."""
    from dataspine.adapters.asking import ask
    from dataspine.adapters.question import read_text
    from dataspine.core.canonical import parse_json
    from dataspine.decisions.decision import Decision, DecisionInput

    chosen = options()
    prepare(form, chosen.output)
    where = "stdin" if input_file == "-" else input_file
    # One byte over the limit is enough to refuse it.
    text: str | bytes
    text = sys.stdin.buffer.read(MAX_BYTES + 1) if where == "stdin" else read_text(Path(where))
    asked = DecisionInput.parse(parse_json(text, where=where, max_bytes=MAX_BYTES), where=where)
    if asked.point != point:
        raise InputError(
            f"it asks {asked.point}, not {point}",
            where=where,
            remedy="Name the point that it asks.",
        )
    document = chosen.answer(
        lambda service: service.post("v1", "decisions", point, body=asked.document(), has=DECISION),
        lambda session: ask(session, asked).document(),
        decides=True,
    )
    chosen.output.document(document)
    decision = Decision.of(document)
    chosen.output.decision(decision, subject=str(asked.facts.get("name", point)))
    print_decision(form, decision, subject=str(asked.facts.get("name", point)))
    exit_with(decision)


@app.command(epilog="Example: spine explain pii.untagged_field")
def explain(
    code: Annotated[
        str, typer.Argument(help="A violation's code.", autocompletion=completion.codes)
    ],
) -> None:
    """Say what a code means, how serious it is here, and what to do."""
    from dataspine.adapters.explanation import explain as explanation

    chosen = options()
    try:
        workspace = chosen.workspace()
    except NotFoundError:
        workspace = None  # outside of a workspace: the product's own rules
    found = explanation(code, workspace)
    chosen.output.document(found.document())
    style = "yellow" if found.severity == "warn" else "red"
    chosen.output.say(Text.assemble((code, style), f"  {found.title}"))
    chosen.output.say(Text(f"  {found.why}"))
    chosen.output.facts(
        {
            "severity": found.severity if workspace is None else f"{found.severity} here",
            "says": found.message,
            "do": found.remediation,
            "controls": ", ".join(found.controls) or "none",
            "rule of": found.source,
        }
    )


@app.command(epilog="Example: spine upgrade")
def upgrade() -> None:
    """Bring the workspace's database to this program's version."""
    chosen = options()
    opened = chosen.workspace()
    opened.database.migrate()
    chosen.output.document({"workspace": str(opened.root), "ok": True})
    chosen.output.say(f"{opened.name} is up to date")


@app.command(epilog="Example: spine demo --json")
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running.")] = False,
    shop: Annotated[
        bool, typer.Option("--shop", help="Only run the story's PostgreSQL, for the tutorial.")
    ] = False,
) -> None:
    """Run the whole story on a real PostgreSQL, end to end, in under a minute."""
    output = options().output
    if shop:
        from dataspine.cli.shop import keep as keep_shop

        keep_shop(output)
        return
    from dataspine.cli.demo import run

    if not run(output, keep=keep)["ok"]:
        raise typer.Exit(4)


def _log_to_stderr() -> None:
    class Lines(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            line = {
                "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.getMessage(),
            }
            if record.exc_info:
                line["trace"] = self.formatException(record.exc_info)
            return json.dumps(line, ensure_ascii=False)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logging.basicConfig(level=os.environ.get("SPINE_LOG", "WARNING").upper(), handlers=[handler])


@functools.cache
def command() -> TyperGroup:
    """Return the whole command line, every command with the options of all commands."""
    root = cast("TyperGroup", get_command(app))
    with_options_of_judging(root)
    with_options_of_all(root)
    return root


def main() -> None:
    """Run a command and exit as documented: 0, 1 denied, 2 input, 3 unavailable, 4 integrity."""
    with guarded_streams():
        try:
            code = _ended(sys.argv[1:])
            sys.stdout.flush()
        except Unwritable as lost:
            code = lost.exit_code
            error = lost.told()
            if error is not None:
                Output().error(error)
    sys.exit(code)


def _ended(arguments: list[str]) -> int:
    """Run a command to its end and return its exit code; what went wrong is told."""
    try:
        # In a context of its own: what a command was given does not reach the next one.
        own = contextvars.copy_context()
        code = own.run(command().main, arguments, prog_name="spine", standalone_mode=False)
    except typer.Exit as stop:
        code = stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        if isinstance(error, UnicodeEncodeError):
            error = _unreadable_argument(arguments) or error
        code = _told(error, Output(as_json="--json" in arguments))
    return code if isinstance(code, int) else 0


def _unreadable_argument(arguments: list[str]) -> InputError | None:
    """Return the error of the first argument that is no text; Python keeps its bytes aside."""
    for each in arguments:
        try:
            each.encode()
        except UnicodeEncodeError:
            shown = each.encode(errors="backslashreplace").decode()
            return InputError("it is no UTF-8", where=shown[:200], remedy="Write it in UTF-8.")
    return None


def _told(error: Exception, output: Output) -> int:
    """Print an error of any kind as one of ours, and return its exit code."""
    if isinstance(error, OSError):
        error = of_system(error) or error
    if isinstance(error, TyperException):
        if not error.format_message():  # the help was shown, as nothing was asked
            return InputError.exit_code
        error = InputError(error.format_message(), remedy="See --help.", code="input.usage")
    if not isinstance(error, DataSpineError):
        error = DataSpineError(
            f"{type(error).__name__}: {error}",
            remedy="Run it again with --debug, and report it.",
            code="spine.internal",
        )
    if isinstance(error, DeniedError):  # an answer, as any denial
        output.document(error.decision.document())
        output.decision(error.decision, subject=error.where)
    else:
        output.error(error)
    return error.exit_code
