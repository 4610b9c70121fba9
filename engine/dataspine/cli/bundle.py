"""``spine bundle``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dataspine.adapters.policy import content_of, dev_key, trust_of
from dataspine.bundles import sign, verify
from dataspine.cli.context import Json, WorkspaceOption, options
from dataspine.core.errors import InputError

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

MAX_BYTES = 64 * 1_048_576


@app.command(epilog="Example: spine bundle build -o policy.tar.gz")
def build(
    to: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")] = Path(
        "bundle.tar.gz"
    ),
    workspace: WorkspaceOption = None,
    as_json: Json = False,
) -> None:
    """Build and sign the workspace's bundle with this clone's key, sequence 0."""
    chosen = options(as_json, workspace)
    with chosen.session() as session:
        opened = session.workspace
        content = content_of(opened, opa=session.opa_path)
        data = sign(content, dev_key(opened), sequence=0, channel="dev")
    to.write_bytes(data)
    document = {"file": str(to), "revision": content.revision, "bytes": len(data)}
    chosen.output.document(document)
    chosen.output.facts(document)


@app.command("verify", epilog="Example: spine bundle verify policy.tar.gz")
def verify_(
    file: Annotated[Path, typer.Argument(help="A bundle.")],
    workspace: WorkspaceOption = None,
    as_json: Json = False,
) -> None:
    """Check a bundle's signature and every file in it."""
    chosen = options(as_json, workspace)
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError("the file is too large", where=str(file), code="input.too_large")
        data = file.read_bytes()
    except OSError as error:
        raise InputError(
            error.strerror or "unreadable", where=str(file), remedy="Check the path."
        ) from None
    bundle = verify(data, trust_of(chosen.workspace()))
    document = {
        "revision": bundle.revision,
        "channel": bundle.channel,
        "sequence": bundle.sequence,
        "files": len(bundle.files),
    }
    chosen.output.document(document)
    chosen.output.facts(document)


@app.command(epilog="Example: spine bundle status")
def status(workspace: WorkspaceOption = None, as_json: Json = False) -> None:
    """Show what each channel serves."""
    chosen = options(as_json, workspace)
    with chosen.session() as session:
        rows = [
            (channel, active.revision, active.sequence)
            for channel in ("dev", "stable")
            if (active := session.bundles.active(channel)) is not None
        ]
    chosen.output.document([{"channel": c, "revision": r, "sequence": s} for c, r, s in rows])
    table: list[tuple[object, ...]] = [tuple(row) for row in rows]
    chosen.output.table(("channel", "revision", "sequence"), table)
