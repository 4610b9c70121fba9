"""``spine evidence``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dataspine.adapters.evidence import build_pack, verify_pack
from dataspine.cli.context import options
from dataspine.core.clock import parse_rfc3339, rfc3339

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.command(epilog="Example: spine evidence build -o pack")
def build(
    start: Annotated[str | None, typer.Option("--from", help="RFC 3339; inside.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="RFC 3339; outside. Now.")] = None,
    to: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")] = Path("evidence"),
) -> None:
    """Build a signed pack of decisions, lineage and bundles of a period."""
    chosen = options()
    with chosen.session() as session, chosen.output.busy("building and verifying"):
        since = parse_rfc3339(start, where="--from") if start else datetime(2020, 1, 1, tzinfo=UTC)
        until = parse_rfc3339(end, where="--to") if end else session.clock()
        pack = build_pack(session, to, since=since, until=until)
        report = verify_pack(session.workspace, pack)
    document = {"path": str(pack), **report.document()}
    chosen.output.document(document)
    chosen.output.facts(document)
    chosen.output.note(f"period: {rfc3339(since)} to {rfc3339(until)}")


@app.command(epilog="Example: spine evidence verify pack")
def verify(
    pack: Annotated[Path, typer.Argument(help="A pack's folder.")],
) -> None:
    """Check a pack, offline; what was changed is named."""
    chosen = options()
    report = verify_pack(chosen.workspace(), pack)
    chosen.output.document(report.document())
    chosen.output.facts(report.document())
