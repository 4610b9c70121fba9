"""Whose rules judge files: the workspace's, or in CI a bundle from outside the change."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from dataspine.adapters.given_bundle import GivenBundle
from dataspine.adapters.own_state import in_ci
from dataspine.core.errors import InputError
from dataspine.decisions.program import find_opa

__all__ = [
    "COMMANDS",
    "given_bundle",
    "names_bundle",
    "with_options_of_judging",
    "without_previous",
]

PANEL = "Whose rules"
COMMANDS = (
    ("decide",),
    ("input",),
    ("schema", "validate"),
    ("schema", "publish"),
    ("cdc", "plan"),
    ("policy", "check"),
)


# What the running command was given; None while a command runs that judges no files.
_given: ContextVar[dict[str, Any] | None] = ContextVar("judge", default=None)


def given_bundle(
    opa: Path | None, *, decides: bool = True, environment: Mapping[str, str] = os.environ
) -> GivenBundle | None:
    """Return the verified bundle that the running command was given, None for the workspace's own.

    With ``CI=true`` a command that judges files refuses the workspace's own bundle: a change
    could weaken the rules that it is judged by.
    """
    given = _given.get()
    if given is None:
        return None
    bundle, trust = given.get("bundle"), tuple(given.get("trust") or ())
    if bundle is not None:
        return GivenBundle.load(bundle, trust, opa=find_opa(opa).path)
    if trust:
        raise InputError(
            "a key without a bundle",
            where="--trust",
            remedy="Name the bundle that it signed with --bundle.",
            code="input.usage",
        )
    if decides and in_ci(environment) and not given.get("allow_dev_bundle"):
        raise InputError(
            "in CI a change is not judged by rules that it could have changed itself",
            where="CI",
            remedy="Give the released bundle and its key: --bundle FILE|URL --trust KEY.",
            code="input.own_bundle",
        )
    return None


def names_bundle() -> bool:
    """Tell whether the running command was given a bundle."""
    return bool((_given.get() or {}).get("bundle"))


def without_previous(subjects: Iterable[str]) -> dict[str, list[str]]:
    """Return what a report of a given bundle says of subjects without a known version.

    A checkout has the rules that production has, and not its registry.
    """
    return {"no_previous_version": sorted(set(subjects))} if names_bundle() else {}


def with_options_of_judging(root: TyperGroup) -> None:
    """Give every command that judges files its options."""
    for path in COMMANDS:
        found: object = root
        for name in path:
            found = found.commands.get(name) if isinstance(found, TyperGroup) else None
        if isinstance(found, TyperCommand):
            found.params.extend(_options())


def _keep(param: typer.CallbackParam, value: Any) -> Any:
    _given.set({**(_given.get() or {}), str(param.name): value})
    return value


def _signature(
    bundle: Annotated[
        str | None,
        typer.Option(
            "--bundle",
            metavar="FILE|URL",
            help="Judge by this bundle instead of the workspace's.",
            rich_help_panel=PANEL,
            expose_value=False,
            callback=_keep,
        ),
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            "--trust",
            metavar="KEY",
            help="The public key that signed it: a PEM file or env:NAME; repeatable.",
            rich_help_panel=PANEL,
            expose_value=False,
            callback=_keep,
        ),
    ] = None,
    allow_dev_bundle: Annotated[
        bool,
        typer.Option(
            "--allow-dev-bundle",
            help="In CI, judge by the workspace's own bundle; for tests alone.",
            rich_help_panel=PANEL,
            expose_value=False,
            callback=_keep,
        ),
    ] = False,
) -> None:
    """Declare the options; typer makes them of a signature only."""


def _options() -> list[TyperOption]:
    carrier = typer.Typer(add_completion=False)
    carrier.command()(_signature)
    return [option for option in get_command(carrier).params if isinstance(option, TyperOption)]
