"""``spine opa``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dataspine.cli.context import Options, options
from dataspine.core.errors import DataSpineError, InputError
from dataspine.decisions.program import find_opa, install_opa

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.command(epilog="Example: spine opa install")
def install() -> None:
    """Install the pinned OPA into the user's cache: built with Go, else downloaded."""
    output = options().output
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=output.err,
        transient=True,
        disable=output.as_json or not output.err.is_terminal,
    ) as progress:
        task = progress.add_task("Installing OPA (20-60 s with Go) …", total=None)
        program = install_opa(progress=lambda text: progress.update(task, description=text))
    document = {"path": str(program.path), "version": program.version, "sha256": program.sha256}
    output.document(document)
    output.facts(document)


@app.command(epilog="Example: spine opa status")
def status() -> None:
    """Show which OPA decides here, and which revision decides in each sidecar."""
    chosen = options()
    program = find_opa(chosen.opa)
    document: dict[str, Any] = {
        "path": str(program.path),
        "version": program.version,
        "sha256": program.sha256,
        "origin": program.origin,
    }
    fleet = _fleet(chosen)
    chosen.output.document({**document, **fleet})
    chosen.output.facts(document)
    if fleet["instances"]:
        columns = ("instance", "labels", "channel", "revision", "sequence", "age", "state")
        chosen.output.table(columns, [_line(each) for each in fleet["instances"]])
    for hold in fleet["holds"]:
        if hold["released_at"] is None:
            names = ", ".join(each["instance"] for each in hold["failures"])
            chosen.output.say(
                f"held: channel {hold['channel']}, sequence {hold['sequence']}, refused by {names}"
            )
            chosen.output.say(
                f"  → spine opa release {hold['channel']} {hold['sequence']} --reason …"
            )


@app.command(epilog="Example: spine opa config --label app=shop --ring canary -o sidecar")
def config(
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label; give it again for more.")
    ] = None,
    ring: Annotated[str | None, typer.Option(help="The ring; it chooses the channel.")] = None,
    channel: Annotated[str | None, typer.Option(help="The channel, without a ring.")] = None,
    url: Annotated[
        str, typer.Option(help="Where `spine serve` listens.")
    ] = "http://127.0.0.1:8600",
    instance: Annotated[str, typer.Option(help="The sidecar's name in the fleet.")] = "sidecar",
    token: Annotated[
        bool, typer.Option(help="Issue a token of its own: without it nothing it says counts.")
    ] = True,
    to: Annotated[
        Path | None, typer.Option("-o", "--output", help="A new folder for its files.")
    ] = None,
) -> None:
    """Print the file and the command line of a stock OPA beside an application.

    With -o the files are written, with a token for the application and one for the sidecar.
    """
    from dataspine.adapters.sidecar import plan, write_files

    chosen = options()
    with chosen.session() as session:
        sidecar = plan(
            session,
            url=url,
            instance=instance,
            labels=_labels(label or []),
            channel=channel,
            ring=ring,
            authenticated=token,
            folder=to,
        )
        files = [] if to is None else write_files(session, sidecar, to)
        command = sidecar.command()
    document: dict[str, Any] = {
        "file": sidecar.configuration(),
        "command": command,
        "folder": None if to is None else str(to),
        "files": files,
    }
    chosen.output.document(document)
    if to is None:
        chosen.output.say("opa.json:")
        chosen.output.say(json.dumps(document["file"], indent=2))
        chosen.output.note("With -o DIR the files are written, with their tokens.")
    else:
        chosen.output.facts({"folder": str(to), "files": ", ".join(files)})
        chosen.output.say(f"cd {shlex.quote(str(to))}")
    chosen.output.say(shlex.join(command))


@app.command(epilog="Example: spine opa token shop-7d4f")
def token(
    instance: Annotated[str, typer.Argument(help="The sidecar's name in the fleet.")],
    file: Annotated[
        Path | None, typer.Option("--token-file", help="Write it there, mode 0600.")
    ] = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="End its token instead.")] = False,
) -> None:
    """Issue a sidecar's token, which ends the one before; only its hash is kept."""
    from dataspine.adapters.sidecar import issue_token, revoke_token, write_secret

    chosen = options()
    with chosen.session() as session:
        if revoke:
            revoke_token(session, instance)
            chosen.output.document({"instance": instance, "revoked": True})
            chosen.output.say(f"{instance} has no token any more")
            return
        secret = issue_token(session, instance)
    if file is not None:
        write_secret(file, secret)
    shown = secret if file is None else str(file)
    chosen.output.document({"instance": instance, "token" if file is None else "file": shown})
    chosen.output.say(shown)


@app.command(epilog='Example: spine opa release stable 41 --reason "disk was full"')
def release(
    channel: Annotated[str, typer.Argument(help="The channel.")],
    sequence: Annotated[int, typer.Argument(help="The sequence that is held.")],
    reason: Annotated[str, typer.Option(help="Why it may be offered again.")],
) -> None:
    """Offer a bundle again to the sidecars that it was held from."""
    from dataspine.adapters import sidecar

    chosen = options()
    with chosen.deciding() as session:
        sidecar.release(session, channel, sequence, reason=reason)
    chosen.output.document({"channel": channel, "sequence": sequence, "released": True})
    chosen.output.say(f"sequence {sequence} of {channel} is offered again")


@app.command(epilog="Example: spine opa discovery --key release.pem --key-id release-1")
def discovery(
    key: Annotated[Path | None, typer.Option(help="The private key; else this clone's.")] = None,
    key_id: Annotated[str, typer.Option(help="Its id under trust in spine.yaml.")] = "",
) -> None:
    """Sign and publish which channel each ring follows, and whose signatures count there."""
    from dataspine.adapters.policy import dev_key
    from dataspine.adapters.sidecar import publish_discovery
    from dataspine.bundles import SigningKey

    chosen = options()
    if (key is None) != (not key_id):
        raise InputError("a key has an id", where="--key-id", remedy="Name both.")
    with chosen.session() as session:
        signer = dev_key(session.workspace) if key is None else SigningKey.load(key, id=key_id)
        digest = publish_discovery(session, signer)
    chosen.output.document({"digest": digest})
    chosen.output.facts({"digest": digest})


def _fleet(chosen: Options) -> dict[str, Any]:
    try:
        with chosen.session() as session:
            return {"instances": session.fleet.instances(), "holds": session.fleet.holds.every()}
    except DataSpineError:
        if chosen.folder is not None:
            raise
        return {"instances": [], "holds": []}  # which OPA is here is asked outside, too


def _line(row: dict[str, Any]) -> tuple[object, ...]:
    labels = " ".join(f"{name}={value}" for name, value in row["labels"].items())
    state = row["alarm"] or (f"refused {row['failed_etag']}" if row["failed_etag"] else "")
    if row["failed_etag"] and row["error"]:
        state = f"{state}: {row['error']}"
    return (
        row["name"] if row["authenticated"] else f"{row['name']} (unauthenticated)",
        labels,
        row["channel"] or "-",
        (row["revision"] or "-")[:26],
        "-" if row["sequence"] is None else row["sequence"],
        f"{row['age_seconds']} s",
        state or ("stale" if row["stale"] else "ok"),
    )


def _labels(pairs: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in pairs:
        name, found, value = pair.partition("=")
        if not found or not name:
            raise InputError(f"{pair!r} is no label", where="--label", remedy="Write KEY=VALUE.")
        labels[name] = value
    return labels
