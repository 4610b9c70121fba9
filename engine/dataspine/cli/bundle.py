"""``spine bundle``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from dataspine.adapters import bundle_promote, bundle_publish
from dataspine.adapters.bundle_diff import difference, named_content
from dataspine.adapters.bundle_keys import signer
from dataspine.adapters.bundle_origin import origin_of, run_tests
from dataspine.adapters.bundle_verify import verified
from dataspine.adapters.given_bundle import read_archive
from dataspine.adapters.policy import content_of, dev_key
from dataspine.bundles import Bundle, Publication, pack, sign, unpack
from dataspine.bundles.folder import write_folder
from dataspine.cli import bundle_keys, completion
from dataspine.cli.context import exit_with, options
from dataspine.cli.difference import show_difference
from dataspine.cli.impact import progress, show
from dataspine.cli.output import Output
from dataspine.core.errors import InputError, of_system, placed
from dataspine.core.files import read_bytes

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)
app.add_typer(bundle_keys.app, name="keys", help="List the keys that count here, or make one.")

MAX_REPORT = 32 * 1_048_576

Proposed = Annotated[
    str, typer.Argument(metavar="REV", help="A published revision or digest, or a bundle file.")
]
Target = Annotated[
    str,
    typer.Option(
        "--to", metavar="CHANNEL", help="canary or stable.", autocompletion=completion.channels
    ),
]
File = Annotated[Path, typer.Argument(help="A bundle.")]
CHANNEL = frozenset({"channel", "active", "previous"})

Channel = Annotated[
    str,
    typer.Option(
        "--channel",
        "-c",
        help="candidate, canary or stable.",
        autocompletion=completion.channels,
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="SPINE_KEY",
        metavar="REFERENCE",
        help="file:PATH, env:NAME, or the id of a key in your own configuration.",
    ),
]
Trusted = Annotated[
    list[str] | None,
    typer.Option("--trust", metavar="KEY", help="A public key that counts instead; repeatable."),
]
Reports = Annotated[
    list[Path] | None,
    typer.Option("--tests", metavar="FILE", help="A JSON report of `opa test`; repeatable."),
]


@app.command(epilog="Example: spine bundle build -o policy.tar.gz")
def build(
    to: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")] = Path(
        "bundle.tar.gz"
    ),
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Leave it unsigned: equal sources, equal bytes.")
    ] = False,
) -> None:
    """Build the workspace's bundle, signed with this clone's key, sequence 0."""
    chosen = options()
    with chosen.session() as session:
        content = content_of(session.workspace, opa=session.opa_path)
        if unsigned:
            data = pack(content)
        else:
            data = sign(content, dev_key(session.workspace), sequence=0, channel="dev")
    _write(to, data)
    document = {
        "file": str(to),
        "revision": content.revision,
        "digest": content.digest,
        "signed": not unsigned,
        "bytes": len(data),
    }
    chosen.output.document(document)
    chosen.output.facts(document)


@app.command("sign", epilog="Example: spine bundle sign policy.tar.gz --key file:release.pem")
def sign_(
    file: File,
    key: KeyOption = None,
    sequence: Annotated[
        int | None, typer.Option(min=1, help="The reserved sequence; else one is reserved here.")
    ] = None,
    channel: Channel = "stable",
    to: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write, else the same.")
    ] = None,
    reports: Reports = None,
) -> None:
    """Sign a bundle's content for a channel, where the key is; nothing is published."""
    chosen = options()
    with chosen.session() as session, placed(str(file)):
        content = unpack(read_archive(str(file))).checked(session.opa_path)
        origin = origin_of(session.workspace, content, author=session.actor, reports=_read(reports))
        held = signer(session.workspace, channel, key)
        if sequence is None:
            sequence = bundle_publish.reserve(session, channel, content.digest)
        data = sign(content, held, sequence=sequence, channel=channel, origin=origin)
    _write(to or file, data)
    document = {
        "file": str(to or file),
        "revision": content.revision,
        "digest": content.digest,
        "channel": channel,
        "sequence": sequence,
        "key_id": held.id,
    }
    chosen.output.document(document)
    chosen.output.facts(document)


@app.command("verify", epilog="Example: spine bundle verify policy.tar.gz")
def verify_(
    file: File,
    channel: Annotated[
        str | None,
        typer.Option(
            "--channel",
            "-c",
            help="The channel it must be for.",
            autocompletion=completion.channels,
        ),
    ] = None,
    trust: Trusted = None,
) -> None:
    """Check a bundle: signature, files, roots, digest, built-ins, and that none is newer."""
    chosen = options()
    with chosen.session() as session, placed(str(file)):
        bundle = verified(session, read_archive(str(file)), channel=channel, keys=trust or ())
    document = _facts(bundle)
    chosen.output.document(document)
    chosen.output.facts(document)


@app.command("unpack", epilog="Example: spine bundle unpack --verify policy")
def unpack_(
    folder: Annotated[
        Path, typer.Option("--verify", metavar="DIR", help="Verify, then write to this folder.")
    ],
    file: Annotated[
        Path | None, typer.Argument(help="A bundle; what decides here if left out.")
    ] = None,
    trust: Trusted = None,
) -> None:
    """Write a verified bundle as a folder for conftest and OPA, with its `.revision`."""
    chosen = options()
    with chosen.session() as session:
        if file is not None:
            data = read_archive(str(file))
        else:
            active = session.active
            data = session.bundles.bytes_of(active.channel, active.sequence)
        with placed(str(file or "bundle")):
            bundle = verified(session, data, keys=trust or ())
    write_folder(bundle, folder)
    document = {"folder": str(folder), **_facts(bundle)}
    chosen.output.document(document)
    chosen.output.facts(document)


@app.command(epilog="Example: spine bundle diff stable .")
def diff(
    before: Annotated[
        str, typer.Argument(help="A channel, a file, a workspace's folder, or a digest.")
    ],
    after: Annotated[str, typer.Argument(help="Another one.")],
) -> None:
    """Show what differs between two bundles: files, and in data each value."""
    chosen = options()
    with chosen.session() as session:
        found = difference(named_content(session, before), named_content(session, after))
    chosen.output.document(found.document())
    show_difference(chosen.output, found)


@app.command(epilog="Example: spine bundle publish --channel stable --key file:release.pem")
def publish(
    file: Annotated[
        Path | None, typer.Argument(help="A bundle; the workspace's own if left out.")
    ] = None,
    channel: Channel = "stable",
    key: KeyOption = None,
    reports: Reports = None,
    run: Annotated[
        bool, typer.Option("--run-tests", help="Run the workspace's rule tests, and record them.")
    ] = False,
) -> None:
    """Reserve a sequence, sign where the key is, and make the bundle what a channel serves."""
    chosen = options()
    with chosen.session() as session:
        data = read_archive(str(file)) if file is not None else None
        with placed(str(file or channel)):
            found = _read(reports)
            if run:
                found += run_tests(session.workspace, session.opa_path, archive=data)
            published = bundle_publish.publish(session, channel, data=data, key=key, reports=found)
    chosen.output.document(published.document())
    _say_active(chosen.output, published.publication, changed=published.changed)


@app.command(epilog="Example: spine bundle promote 7c9f4ae1 --to stable --key file:release.pem")
def promote(
    proposed: Proposed,
    channel: Target,
    key: KeyOption = None,
) -> None:
    """Replay decisions on a bundle; when policy allows it, sign it and let a channel serve it.

    What decides here now judges, never the bundle itself. Exits with 1 when it is denied.
    """
    chosen = options()
    with chosen.session() as session:
        candidate = bundle_promote.candidate(session, proposed)
        with progress(chosen.output) as told:
            found = bundle_promote.promote(session, candidate, channel, key=key, told=told)
    chosen.output.document(found.document())
    if found.impact is not None:
        show(chosen.output, found.impact)
    for each in found.approvals:
        why = f": {each.reason}" if each.reason else ""
        chosen.output.say(Text(f"approved by {each.actor} at {each.approved_at}{why}"))
    if found.decision is not None:
        chosen.output.decision(found.decision, subject=f"{found.revision[:26]} to {channel}")
    if found.publication is not None:
        _say_active(chosen.output, found.publication, changed=found.changed)
    if found.decision is not None:
        exit_with(found.decision)


@app.command(epilog="Example: spine bundle approve 7c9f4ae1 --to stable --reason 'as agreed'")
def approve(
    proposed: Proposed,
    channel: Target,
    reason: Annotated[str | None, typer.Option(help="Why; it is kept with the approval.")] = None,
) -> None:
    """Approve that a channel goes from what it serves now to a bundle; the rules say who counts."""
    chosen = options()
    with chosen.session() as session:
        candidate = bundle_promote.candidate(session, proposed)
        approval = bundle_promote.approve(session, candidate, channel, reason=reason)
    chosen.output.document(approval.document())
    chosen.output.say(
        Text(f"{channel}: {candidate.opened.bundle.revision[:26]} approved by {approval.actor}")
    )


@app.command(epilog="Example: spine bundle rollback --channel stable --to 3 --reason 'denies all'")
def rollback(
    to: Annotated[str, typer.Option(help="A sequence, or the start of a digest.")],
    reason: Annotated[str, typer.Option(help="Why; it is signed with the order.")],
    channel: Channel = "stable",
    key: KeyOption = None,
) -> None:
    """Publish an earlier content again under a new sequence; no policy is asked."""
    chosen = options()
    with chosen.session() as session:
        published = bundle_publish.rollback(session, channel, to=to, reason=reason, key=key)
    chosen.output.document(published.document())
    made = published.publication
    chosen.output.say(Text.assemble(f"{channel}: back to ", (made.revision, "bold")))
    chosen.output.facts(_published(made))


@app.command(epilog="Example: spine bundle status")
def status() -> None:
    """Show what each channel serves, since when, by whom, and what it served before."""
    chosen = options()
    found: list[dict[str, Any]] = chosen.answer(
        lambda service: service.get("v1", "channels", has=CHANNEL),
        lambda session: [each.document() for each in bundle_publish.channels(session)],
    )
    chosen.output.document(found)
    columns = ("channel", "revision", "sequence", "published", "by", "previous")
    chosen.output.table(columns, [_row(each) for each in found])


def _row(channel: Mapping[str, Any]) -> tuple[object, ...]:
    now, before = channel["active"], channel["previous"]
    if now is None:
        return (channel["channel"], "nothing yet", "", "", "", "")
    was = f"{before['sequence']} {before['revision'][:26]}" if before else ""
    since = (now["sequence"], now["published_at"], now["actor"])
    return (channel["channel"], now["revision"][:26], *since, was)


def _facts(bundle: Bundle) -> dict[str, object]:
    return {
        "revision": bundle.revision,
        "digest": bundle.digest,
        "channel": bundle.channel,
        "sequence": bundle.sequence,
        "key_id": bundle.key_id,
        "files": len(bundle.files),
    }


def _say_active(output: Output, made: Publication, *, changed: bool) -> None:
    how = "is active" if changed else "was active already"
    output.say(Text.assemble(f"{made.channel}: revision ", (made.revision, "bold"), f" {how}"))
    output.facts(_published(made))


def _published(made: Publication) -> dict[str, object]:
    return {
        "sequence": made.sequence,
        "digest": made.digest,
        "signed with": made.key_id or "unknown",
        "published": f"{made.published_at} by {made.actor}",
    }


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise of_system(error) or InputError(
            error.strerror or "cannot be written", where=str(path), remedy="Name another file."
        ) from None


def _read(reports: list[Path] | None) -> list[bytes]:
    return [read_bytes(path, MAX_REPORT) for path in reports or ()]
