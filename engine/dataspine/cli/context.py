"""What every command shares: the options of all commands, who answers, the exit code."""

from __future__ import annotations

import contextlib
import copy
import functools
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from dataspine.adapters.policy import is_current
from dataspine.adapters.session import Session
from dataspine.cli.judging import given_bundle, names_bundle
from dataspine.cli.output import Output
from dataspine.cli.remote import Remote
from dataspine.core.errors import InputError, UnavailableError
from dataspine.core.identity import refuse_actor_variable
from dataspine.core.workspace import Workspace
from dataspine.decisions.decision import Decision
from dataspine.web.advertisement import advertised

__all__ = [
    "DENIED",
    "Options",
    "exit_with",
    "located",
    "options",
    "with_options_of_all",
]

DENIED = 1
PANEL = "Options of all commands"

Answer = TypeVar("Answer")

# What was given for the command that runs; click's context is not at hand everywhere.
_given: ContextVar[dict[str, Any] | None] = ContextVar("given", default=None)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of all commands, as one command was called.

    ``server`` is the service that was named, ``demanded`` when on the command line.
    """

    output: Output
    folder: Path | None
    opa: Path | None
    server: str | None = None
    demanded: bool = False
    local: bool = False

    def workspace(self) -> Workspace:
        """Open the named workspace, or the nearest one upwards."""
        if self.demanded:
            raise InputError(
                "this command works on a workspace, not through a service",
                where="--server",
                remedy="Leave --server out.",
                code="input.local_only",
            )
        if self.folder is not None:
            return Workspace.open(self.folder)
        return Workspace.find(Path.cwd())

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """Open a session on the workspace, closed at the end of the command."""
        with Session(self.workspace(), opa=self.opa) as session:
            yield session

    @contextlib.contextmanager
    def deciding(self) -> Iterator[Session]:
        """Open a session that will decide; a rebuilt bundle is told, and a given one."""
        given = given_bundle(self.opa)
        with Session(self.workspace(), opa=self.opa, given=given) as session:
            active = session.active
            if given is not None:
                self.output.note(f"judged by revision {active.revision}, which was given")
            if active.rebuilt:
                self.output.note(f"policy changed: revision {active.revision[:26]} is active")
            yield session

    def answer(
        self,
        remote: Callable[[Remote], Answer],
        local: Callable[[Session], Answer],
        *,
        decides: bool = False,
    ) -> Answer:
        """Return what the service answers; without one, what the workspace does.

        A service that was named must answer. One that the workspace advertises is passed over when
        it cannot be reached, and for a decision while the workspace's policy is newer than any
        bundle that it was given. Once a question was sent, nothing is asked a second time.
        """
        with self.output.busy("deciding" if decides else "looking"):
            with self._service(decides=decides) as service:
                if service is not None:
                    return remote(service)
            with self.deciding() if decides else self.session() as session:
                return local(session)

    @contextlib.contextmanager
    def _service(self, *, decides: bool) -> Iterator[Remote | None]:
        url = self._address(decides=decides)
        if url is None:
            yield None
            return
        with contextlib.closing(Remote(url, token=os.environ.get("SPINE_TOKEN"))) as service:
            reached = True
            try:
                service.connect()
            except UnavailableError:
                if self.server is not None:
                    raise
                reached = False
            yield service if reached else None

    def _address(self, *, decides: bool) -> str | None:
        if decides and names_bundle():
            if self.demanded:
                raise InputError(
                    "a service judges by its own bundle, not by a given one",
                    where="--bundle",
                    remedy="Leave --server or --bundle out.",
                    code="input.usage",
                )
            return None
        if self.local or self.server is not None:
            return self.server
        workspace = self.workspace()
        url = advertised(workspace.state)
        if url is None or not decides:
            return url
        with Session(workspace, opa=self.opa) as session:
            return url if is_current(workspace, session.bundles) else None


def options() -> Options:
    """Return the options of the command that runs."""
    refuse_actor_variable()
    given = _given.get() or {}
    local, demanded = bool(given.get("local")), bool(given.get("demanded"))
    if local and demanded:
        raise InputError(
            "--local and --server exclude each other",
            where="--server",
            remedy="Leave one of them out.",
            code="input.usage",
        )
    opa = os.environ.get("SPINE_OPA")
    return Options(
        Output(as_json=bool(given.get("as_json")), quiet=bool(given.get("quiet"))),
        given.get("workspace"),
        Path(opa) if opa else None,
        server=None if local else given.get("server"),
        demanded=demanded,
        local=local,
    )


def exit_with(decision: Decision) -> None:
    """End the command as its decision says: on when allowed, 1 denied, 3 when nobody answered."""
    if not decision.allow:
        raise typer.Exit(3 if decision.policy is None else DENIED)


@contextlib.contextmanager
def located(file: Path) -> Iterator[None]:
    """Name the file in an error that only knows the line: a parser reads text, not files."""
    try:
        yield
    except InputError as error:
        place, _, line = error.where.partition(" ")
        if place != "line":
            raise
        raise InputError(
            error.problem, where=f"{file}:{line}", remedy=error.remedy, code=error.code
        ) from None


def with_options_of_all(command: TyperGroup | TyperCommand, *, root: bool = True) -> None:
    """Give a command and all below it the options of all commands.

    They may stand before or after the command's own arguments, and before its name.
    """
    for option in map(copy.copy, _options_of_all()):
        # A group shows its commands; the options are shown where they are mostly written.
        option.hidden = not root and isinstance(command, TyperGroup)
        command.params.append(option)
    if isinstance(command, TyperGroup):
        for each in command.commands.values():
            if isinstance(each, TyperGroup | TyperCommand):
                with_options_of_all(each, root=False)


def _keep(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    _given.set(ctx.meta)
    source = ctx.get_parameter_source(str(param.name))
    written = source is not None and source.name == "COMMANDLINE"
    # What is written before the command's name wins over the environment, which is read with each.
    if written or (value is not None and param.name not in ctx.meta):
        ctx.meta[str(param.name)] = value
    if written and param.name == "server":
        ctx.meta["demanded"] = True
    return value


_shared = functools.partial(typer.Option, rich_help_panel=PANEL, expose_value=False, callback=_keep)


def _signature(
    workspace: Annotated[
        Path | None,
        _shared(
            "--workspace",
            "-w",
            metavar="DIR",
            envvar="SPINE_WORKSPACE",
            help="The workspace's folder; else the nearest one upwards.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        _shared(
            "--server",
            metavar="URL",
            envvar="SPINE_SERVER",
            help="Ask this service; SPINE_TOKEN holds its token.",
        ),
    ] = None,
    local: Annotated[
        bool, _shared("--local", help="Work on the workspace, also while `spine serve` runs.")
    ] = False,
    as_json: Annotated[bool, _shared("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, _shared("--quiet", "-q", help="Print errors alone.")] = False,
    debug: Annotated[bool, _shared("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Declare the options of all commands; typer makes them of a signature only."""


@functools.cache
def _options_of_all() -> list[TyperOption]:
    carrier = typer.Typer(add_completion=False)
    carrier.command()(_signature)
    return [option for option in get_command(carrier).params if isinstance(option, TyperOption)]
