"""`spine access`: who may do what, and the tokens by which the service knows them."""

from __future__ import annotations

from typing import Annotated

import typer
import yaml

from dataspine.cli.context import exit_with, options
from dataspine.core.identity import Principal
from dataspine.core.token import digest_of, new_token

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

WIDTH = 10_000  # an entry stays on its line

Roles = Annotated[
    list[str] | None, typer.Option("--role", help="A role that the token names; repeat it.")
]


@app.command(epilog="Example: spine access token ada --role engineer")
def token(
    name: Annotated[str, typer.Argument(help="Who will call with it.")],
    roles: Roles = None,
) -> None:
    """Make a token, shown once, and print its entry for spine.yaml, which holds its digest."""
    output = options().output
    secret = new_token()
    entry = {"name": name, "roles": roles or [], "digest": digest_of(secret)}
    output.document({"token": secret, "entry": entry})
    output.say(secret)
    output.note("Keep it: nobody can show it again. Put its entry into spine.yaml:")
    shown = yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=WIDTH)
    output.note(f"auth:\n  tokens:\n    - {shown.strip()}")


@app.command(epilog="Example: spine access check publish shop.customers --as ada --role engineer")
def check(
    permission: Annotated[
        str, typer.Argument(help="Such as publish, deploy, promote, replay, erase.")
    ],
    resource: Annotated[str, typer.Argument(help="A subject, a route, or channel:NAME.")],
    name: Annotated[str | None, typer.Option("--as", help="Who acts; else you.")] = None,
    roles: Roles = None,
) -> None:
    """Say whether somebody may do something, and by which rule not. Changes nothing."""
    from dataspine.adapters import access

    chosen = options()
    with chosen.deciding() as session:
        principal = session.principal if name is None else Principal(name, tuple(roles or ()))
        decision = access.ask(session, principal, permission, resource)
    chosen.output.document(decision.document())
    chosen.output.decision(decision, subject=f"{principal.name}: {permission} {resource}")
    exit_with(decision)
