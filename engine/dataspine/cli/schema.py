"""``spine schema``."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from dataspine.adapters import schema_publish
from dataspine.adapters.question import read_text, schema_type
from dataspine.adapters.schema_publish import Outcome, Proposal
from dataspine.cli.context import DENIED, Json, Options, WorkspaceOption, options
from dataspine.core.errors import InputError

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

Subject = Annotated[str, typer.Argument(help="The subject, for example shop.customers.")]
File = Annotated[Path, typer.Argument(help="An .avsc or .proto file.")]
Meta = Annotated[
    list[str] | None, typer.Option("--meta", metavar="KEY=VALUE", help="Metadata; repeatable.")
]
Owner = Annotated[str | None, typer.Option(help="The team that owns the subject.")]


@app.command(epilog="Example: spine schema publish shop.customers schema/customers.avsc")
def publish(
    subject: Subject,
    file: File,
    owner: Owner = None,
    meta: Meta = None,
    version: Annotated[str | None, typer.Option(help="The version that you claim.")] = None,
    workspace: WorkspaceOption = None,
    as_json: Json = False,
) -> None:
    """Publish a schema when policy allows it."""
    chosen = options(as_json, workspace)
    proposal = _proposal(subject, file, owner, meta, version)
    with chosen.deciding() as session, _located(file):
        outcome = schema_publish.publish(session, proposal)
    _print(chosen, outcome, file)
    if outcome.version is not None:
        known = "" if outcome.created else " (known already)"
        chosen.output.say(
            Text.assemble((f"{subject} {outcome.version.semver}", "bold"), f"{known}")
        )
        chosen.output.facts({"owner": outcome.version.owner or "none"})
    _exit(outcome)


@app.command(epilog="Example: spine schema validate shop.customers schema/customers.avsc")
def validate(
    subject: Subject,
    file: File,
    owner: Owner = None,
    meta: Meta = None,
    workspace: WorkspaceOption = None,
    as_json: Json = False,
) -> None:
    """Say what publishing would answer, and change nothing."""
    chosen = options(as_json, workspace)
    with chosen.deciding() as session, _located(file):
        outcome = schema_publish.validate(session, _proposal(subject, file, owner, meta, None))
    _print(chosen, outcome, file)
    chosen.output.facts({"would become": outcome.proposed, "timing": outcome.timing.header()})
    _exit(outcome)


@app.command(epilog="Example: spine schema subjects")
def subjects(workspace: WorkspaceOption = None, as_json: Json = False) -> None:
    """List the subjects."""
    chosen = options(as_json, workspace)
    with chosen.session() as session:
        registry = session.registry
        latest = [registry.version(name, "latest") for name in registry.subjects()]
    chosen.output.document([version.document() for version in latest])
    rows: list[tuple[object, ...]] = [(v.subject, v.semver, v.type, v.owner or "") for v in latest]
    chosen.output.table(("subject", "version", "type", "owner"), rows)


@app.command(epilog="Example: spine schema latest shop.customers")
def latest(subject: Subject, workspace: WorkspaceOption = None, as_json: Json = False) -> None:
    """Show the newest version of a subject."""
    chosen = options(as_json, workspace)
    with chosen.session() as session:
        version = session.registry.version(subject, "latest")
    chosen.output.document(version.document())
    chosen.output.facts({"version": version.semver, "owner": version.owner or "", "id": version.id})
    chosen.output.say(Text(version.text))


@app.command(epilog="Example: spine schema versions shop.customers")
def versions(subject: Subject, workspace: WorkspaceOption = None, as_json: Json = False) -> None:
    """List the versions of a subject."""
    chosen = options(as_json, workspace)
    with chosen.session() as session:
        found = session.registry.versions(subject)
    chosen.output.document([version.document() for version in found])
    rows: list[tuple[object, ...]] = [
        (v.number, v.semver, v.id, v.published_at, v.provenance.get("actor", "")) for v in found
    ]
    chosen.output.table(("number", "version", "id", "published", "by"), rows)


def _proposal(
    subject: str, file: Path, owner: str | None, meta: list[str] | None, version: str | None
) -> Proposal:
    metadata: dict[str, str] = {}
    for pair in meta or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InputError(f"{pair!r} is no KEY=VALUE", where="--meta", remedy="Write team=shop.")
        metadata[key] = value
    if owner is not None:
        metadata["owner"] = owner
    return Proposal(
        subject,
        read_text(file),
        schema_type(file),
        metadata=metadata,
        claimed=version,
        provenance=_provenance(file),
    )


@contextlib.contextmanager
def _located(file: Path) -> Iterator[None]:
    # The parser knows the line of a text; only here its file is known.
    try:
        yield
    except InputError as error:
        place, _, line = error.where.partition(" ")
        if place != "line":
            raise
        raise InputError(
            error.problem, where=f"{file}:{line}", remedy=error.remedy, code=error.code
        ) from None


def _provenance(file: Path) -> dict[str, str]:
    # Where the text came from, when it lies in a git repository; never part of identity.
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - git is the user's own
            cwd=file.resolve().parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
        return {"git_commit": commit.stdout.strip()}
    return {}


def _print(chosen: Options, outcome: Outcome, file: Path) -> None:
    chosen.output.document(outcome.document())
    if outcome.decision is not None:
        chosen.output.decision(outcome.decision, subject=outcome.subject, file=str(file))


def _exit(outcome: Outcome) -> None:
    if outcome.decision is not None and not outcome.decision.allow:
        raise typer.Exit(3 if outcome.decision.policy is None else DENIED)
