"""``spine bundle keys``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from dataspine.adapters.bundle_keys import known_keys
from dataspine.adapters.bundle_publish import CHANNELS
from dataspine.bundles import SigningKey, generate_key
from dataspine.bundles.keys import ALGORITHMS
from dataspine.cli.context import options
from dataspine.core.errors import InputError

__all__ = ["app"]

app = typer.Typer(invoke_without_command=True)


@app.callback(epilog="Example: spine bundle keys")
def keys(context: typer.Context) -> None:
    """List the keys that count here and the ones that you hold."""
    if context.invoked_subcommand is not None:
        return
    chosen = options()
    found = list(known_keys(chosen.workspace()))
    chosen.output.document([each.document() for each in found])
    rows: list[tuple[object, ...]] = [
        (
            each.id,
            each.algorithm,
            ", ".join(each.channels) or "not trusted",
            (each.fingerprint or "unknown")[:16],
            each.origin,
        )
        for each in found
    ]
    chosen.output.table(("id", "algorithm", "channels", "fingerprint", "from"), rows)


@app.command("new", epilog="Example: spine bundle keys new release.pem --algorithm RS256")
def new(
    file: Annotated[Path, typer.Argument(help="The file of the private key, mode 0600.")],
    algorithm: Annotated[str, typer.Option(help=" or ".join(ALGORITHMS))] = ALGORITHMS[0],
    name: Annotated[
        str | None, typer.Option("--id", help="The key's id; the file's name if left out.")
    ] = None,
    channel: Annotated[
        list[str] | None, typer.Option("--channel", "-c", help="What it may sign for; repeatable.")
    ] = None,
) -> None:
    """Make a key pair, and print the `trust` entry to paste into spine.yaml."""
    output = options().output
    named = tuple(channel or CHANNELS)
    unknown = [each for each in named if each not in CHANNELS]
    if unknown:
        raise InputError(
            f"{unknown[0][:80]!r} is no channel that a key signs for",
            where="--channel",
            remedy=f"Use {', '.join(CHANNELS)}.",
        )
    generate_key(file, algorithm)
    made = SigningKey.load(file, id=name or file.stem).trusted(channels=named)
    entry = {
        "id": made.id,
        "algorithm": made.algorithm,
        "key": made.pem,
        "channels": list(made.channels),
    }
    output.document({"file": str(file), "fingerprint": made.fingerprint, "trust": entry})
    output.say(f"{file} is the private key: keep it out of the workspace's repository.")
    output.say("Paste this into spine.yaml:\n")
    pem = "\n".join(f"      {line}" for line in made.pem.splitlines())
    output.say(
        Text(
            f"trust:\n  - id: {json.dumps(made.id)}\n    algorithm: {made.algorithm}\n"
            f"    channels: [{', '.join(made.channels)}]\n    key: |\n{pem}"
        )
    )
