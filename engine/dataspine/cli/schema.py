"""``spine schema``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from dataspine.adapters import schema_impact, schema_publish, schema_transfer
from dataspine.adapters.question import read_text, schema_type
from dataspine.adapters.schema_diff import difference
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.adapters.tools.git import origin_of
from dataspine.cli import completion
from dataspine.cli.context import DENIED, Options, exit_with, located, options
from dataspine.cli.judging import without_previous
from dataspine.cli.remote import VERSION, Remote
from dataspine.cli.report import Format, FormatOption, nothing_compared, prepare, print_decision
from dataspine.core.errors import InputError
from dataspine.decisions.decision import Decision
from dataspine.registry import Contract, Difference, next_version

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

PAGE = 1000
ANSWER = frozenset({"allow", "subject", "compatibility", "version", "published", "created"})

Subject = Annotated[
    str,
    typer.Argument(
        help="The subject, for example shop.customers.", autocompletion=completion.subjects
    ),
]
File = Annotated[Path, typer.Argument(help="An .avsc or .proto file.")]
Meta = Annotated[
    list[str] | None, typer.Option("--meta", metavar="KEY=VALUE", help="Metadata; repeatable.")
]
Owner = Annotated[str | None, typer.Option(metavar="TEAM", help="The team that owns the subject.")]
Claim = Annotated[
    str | None, typer.Option(metavar="X.Y.Z", help="The version that you claim; checked by policy.")
]
Reference = Annotated[
    list[str] | None,
    typer.Option(
        "--reference", metavar="NAME=SUBJECT:N", help="A schema that it refers to; repeatable."
    ),
]


@app.command(epilog="Example: spine schema publish shop.customers schema/customers.avsc")
def publish(
    subject: Subject,
    file: File,
    owner: Owner = None,
    meta: Meta = None,
    version: Claim = None,
    reference: Reference = None,
) -> None:
    """Publish a schema when policy allows it."""
    chosen = options()
    proposal = _proposal(subject, file, owner, meta, version, reference)
    with located(file):
        document = chosen.answer(
            lambda service: service.post(
                "schemas", subject, "versions", body=_body(proposal), has=ANSWER
            ),
            lambda session: schema_publish.publish(session, proposal).document(),
            decides=True,
        )
    decision = _print(chosen, document, file)
    stored = document["published"]
    if stored is not None:
        known = "" if document["created"] else " (known already)"
        chosen.output.say(Text.assemble((f"{subject} {stored['semver']}", "bold"), known))
        chosen.output.facts({"owner": stored["owner"] or "none"})
    if decision is not None:
        exit_with(decision)


@app.command(epilog="Example: spine schema validate shop.customers schema/customers.avsc")
def validate(
    subject: Subject,
    file: File,
    owner: Owner = None,
    meta: Meta = None,
    version: Claim = None,
    reference: Reference = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Say what publishing would answer, and change nothing."""
    chosen = options()
    prepare(form, chosen.output)
    proposal = _proposal(subject, file, owner, meta, version, reference)

    def remote(service: Remote) -> tuple[dict[str, Any], str]:
        body = _body(proposal)
        return service.post("schemas", subject, "validate", body=body, has=ANSWER), service.timing

    def local(session: Session) -> tuple[dict[str, Any], str]:
        outcome = schema_publish.validate(session, proposal)
        return outcome.document(), outcome.timing.header()

    with located(file):
        document, timing = chosen.answer(remote, local, decides=True)
    decision = _print(chosen, document, file)
    chosen.output.facts({"would become": document["version"]["next"], "timing": timing})
    if decision is not None:
        unjudged = _unjudged(document).get("no_previous_version", [])
        print_decision(form, decision, subject=subject, file=str(file), unjudged=unjudged)
        exit_with(decision)


@app.command(epilog="Example: spine schema subjects")
def subjects() -> None:
    """List the subjects."""
    chosen = options()

    def remote(service: Remote) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = service.get("schemas", query={"limit": PAGE, "offset": len(found)}, has=VERSION)
            found += page
            if len(page) < PAGE:
                return found

    def local(session: Session) -> list[dict[str, Any]]:
        registry = session.registry
        return [registry.version(name, "latest").document() for name in registry.subjects()]

    latest = chosen.answer(remote, local)
    chosen.output.document(latest)
    rows: list[tuple[object, ...]] = [
        (each["subject"], each["semver"], each["schemaType"], each["owner"] or "")
        for each in latest
    ]
    none = "no schema is published; see `spine schema publish`"
    chosen.output.table(("subject", "version", "type", "owner"), rows, none=none)


@app.command(epilog="Example: spine schema latest shop.customers")
def latest(subject: Subject) -> None:
    """Show the newest version of a subject."""
    chosen = options()
    version = chosen.answer(
        lambda service: service.get("schemas", subject, "versions", "latest", has=VERSION),
        lambda session: session.registry.version(subject, "latest").document(),
    )
    chosen.output.document(version)
    chosen.output.facts(
        {"version": version["semver"], "owner": version["owner"] or "", "id": version["id"]}
    )
    chosen.output.say(Text(version["schema"]))


@app.command(epilog="Example: spine schema versions shop.customers")
def versions(subject: Subject) -> None:
    """List the versions of a subject."""
    chosen = options()

    def remote(service: Remote) -> list[dict[str, Any]]:
        numbers = service.get("schemas", subject, "versions")
        return [
            service.get("schemas", subject, "versions", number, has=VERSION) for number in numbers
        ]

    found = chosen.answer(
        remote, lambda session: [each.document() for each in session.registry.versions(subject)]
    )
    chosen.output.document(found)
    rows: list[tuple[object, ...]] = [
        (
            each["version"],
            each["semver"],
            each["id"],
            each["published_at"],
            each["provenance"].get("actor", ""),
        )
        for each in found
    ]
    chosen.output.table(("number", "version", "id", "published", "by"), rows)


@app.command(epilog="Example: spine schema diff shop.customers schema/customers.avsc")
def diff(
    subject: Subject,
    first: Annotated[
        str | None, typer.Argument(metavar="FROM", help="A version; else the one before.")
    ] = None,
    second: Annotated[
        str | None, typer.Argument(metavar="TO|FILE", help="A version or a file; else the newest.")
    ] = None,
) -> None:
    """Show what changed between two versions, or a version and a file, and which bump that is."""
    chosen = options()
    with chosen.session() as session, located(Path(second or first or "")):
        found = difference(session, subject, first, second)
    document = found.document()
    chosen.output.document(document)
    to = document["to"].get("file") or document["to"]["semver"]
    chosen.output.say(
        Text.assemble(
            (f"{subject} {found.old.semver} → {to}", "bold"), f"  {found.comparison.bump}"
        )
    )
    for each in found.changes:
        chosen.output.say(_change(each, to if "file" in document["to"] else None))
    for message in found.comparison.messages:
        chosen.output.say(Text(f"  breaks    {message}", "red"))
    if document["next"] is not None:
        chosen.output.facts({"would become": document["next"], "level": found.comparison.level})


@app.command(epilog="Example: spine schema impact --level FULL_TRANSITIVE")
def impact(
    level: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", help="A compatibility level; without one, the active rules."),
    ] = None,
) -> None:
    """Tell which stored subjects would fail another level, or the rules that are active now."""
    chosen = options()
    with chosen.session() as session, chosen.output.progress("judging") as told:
        failures = (
            schema_impact.of_rules(session, told)
            if level is None
            else schema_impact.of_level(session, level, told)
        )
        count = len(session.registry.subjects())
    chosen.output.document([each.document() for each in failures])
    rows: list[tuple[object, ...]] = [
        (f"{f.version.subject} {f.version.semver}", ", ".join(f.codes), "\n".join(f.messages))
        for f in failures
    ]
    chosen.output.table(
        ("version", "codes", "why"), rows, none=f"None of {count} subjects would fail."
    )
    if failures:
        raise typer.Exit(DENIED)


@app.command(epilog="Example: spine schema export registry.jsonl")
def export(
    file: Annotated[Path, typer.Argument(help="The file to write.", dir_okay=False)],
) -> None:
    """Write the whole registry into one file; the same registry gives the same bytes."""
    chosen = options()
    with chosen.session() as session, chosen.output.busy("exporting"):
        count = schema_transfer.export(session, file)
    chosen.output.document({"file": str(file), "versions": count})
    chosen.output.facts({"file": file, "versions": count})


@app.command("import", epilog="Example: spine schema import registry.jsonl")
def import_(file: Annotated[Path, typer.Argument(help="A file of `spine schema export`.")]) -> None:
    """Publish the versions of an exported registry, with their ids, where policy allows it."""
    chosen = options()
    with chosen.session() as session, chosen.output.progress("importing") as told:
        counts = schema_transfer.import_file(session, file, told=told)
    chosen.output.document(counts.document())
    chosen.output.facts({"imported": counts.imported, "known already": counts.known})
    for subject, number, codes in counts.denied:
        chosen.output.say(Text(f"denied {subject} version {number}: {', '.join(codes)}", "red"))
    if counts.denied:
        raise typer.Exit(DENIED)


def _change(change: Difference, file: str | None) -> Text:
    style = {"added": "green", "removed": "red"}.get(change.kind, "yellow")
    line = Text(f"  {change.kind:8}  ", style)
    line.append(change.path or "schema", "bold")
    if change.what != "field":
        line.append(f" {change.what}")
    if change.before is not None and change.after is not None:
        line.append(f": {change.before} → {change.after}")
    elif change.kind != "removed" and change.after is not None:
        line.append(f": {change.after}")
    if file is not None and change.line is not None and change.kind != "removed":
        line.append(f" {file}:{change.line}", "cyan")
    return line


def _proposal(
    subject: str,
    file: Path,
    owner: str | None,
    meta: list[str] | None,
    version: str | None,
    reference: list[str] | None,
) -> Proposal:
    if version is not None:
        next_version(version, "none")  # refuses what is no version
    metadata = dict(_pair(text, "--meta", "Write team=shop.") for text in meta or ())
    if owner is not None:
        metadata["owner"] = owner
    return Proposal(
        subject,
        read_text(file),
        schema_type(file),
        references=[_reference(text) for text in reference or ()],
        contract=Contract(metadata),
        claimed=version,
        provenance=origin_of(file),
    )


def _body(proposal: Proposal) -> dict[str, Any]:
    """Return the proposal as it travels to a service."""
    return {
        "schema": proposal.text,
        "schemaType": proposal.type,
        "references": list(proposal.references),
        **proposal.contract.document(),
        "version": proposal.claimed,
        "provenance": dict(proposal.provenance),
    }


def _reference(text: str) -> dict[str, Any]:
    remedy = "Write money.proto=shop.money:1."
    name, target = _pair(text, "--reference", remedy)
    subject, _, number = target.rpartition(":")
    if not subject or not number.isascii() or not number.isdigit() or len(number) > 9:
        raise InputError(f"{text!r} is no NAME=SUBJECT:N", where="--reference", remedy=remedy)
    return {"name": name, "subject": subject, "version": int(number)}


def _pair(text: str, option: str, remedy: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"{text!r} is no KEY=VALUE", where=option, remedy=remedy)
    return key, value


def _unjudged(document: dict[str, Any]) -> dict[str, list[str]]:
    return without_previous([document["subject"]] if document["version"]["current"] is None else [])


def _print(chosen: Options, document: dict[str, Any], file: Path) -> Decision | None:
    """Print the answer; return its decision, which a schema known already has not."""
    unjudged = _unjudged(document)
    chosen.output.document({**document, **unjudged})
    if "decision_id" not in document:
        return None
    decision = Decision.of(document)
    for subjects in filter(None, unjudged.values()):
        chosen.output.say(nothing_compared(subjects))
    chosen.output.decision(decision, subject=document["subject"], file=str(file))
    return decision
