"""``cli.md``: every command, from the declarations that the shell and ``--help`` read."""

from collections.abc import Iterator

from docs.generate.text import table
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from dataspine.cli.main import command

__all__ = ["page"]

PANEL = "Options of all commands"
INTRODUCTION = """\
# Command line

Generated from the program by `make docs`.

With `--json`, stdout holds one JSON document and nothing else; an error is
`{"error": {"code", "problem", "where", "remedy", "retry"}}`. See [errors](errors.md).

| exit code | means |
|---|---|
| 0 | done, or allowed |
| 1 | denied by policy |
| 2 | wrong usage or input |
| 3 | something needed is unavailable; a retry may help |
| 4 | a signature, checkpoint or digest does not match |
| 70 | a fault of the program |
| 130 | interrupted by Ctrl-C |
| 141 | who read the output went away, as `head` does |

A running `spine serve` advertises itself in `.spine/serve.json`. Commands that look things up,
decide or publish schemas ask it, unless `--local` is given; the answer is the same either way.
`--server` names another one; commands that work on a workspace alone refuse it.
"""


def page() -> str:
    """Return the page."""
    root = command()
    lines = [INTRODUCTION, f"## {PANEL}", ""]
    lines += table(("option", "meaning"), _options(root, shared=True))
    for name, each in _commands(root, "spine"):
        lines += _section(name, each)
    return "\n".join(lines).rstrip() + "\n"


def _commands(group: TyperGroup, path: str) -> Iterator[tuple[str, TyperCommand]]:
    for name, each in sorted(group.commands.items()):
        if isinstance(each, TyperGroup):
            yield from _commands(each, f"{path} {name}")
        elif isinstance(each, TyperCommand) and not each.hidden:
            yield f"{path} {name}", each


def _section(name: str, each: TyperCommand) -> Iterator[str]:
    yield from (f"## `{name}`", "", (each.help or "").strip(), "")
    yield from table(("argument", "meaning"), _arguments(each))
    yield from table(("option", "meaning"), _options(each, shared=False))
    if each.epilog:
        yield from ("```sh", each.epilog.removeprefix("Example: "), "```", "")


def _arguments(each: TyperCommand) -> Iterator[tuple[str, str]]:
    for parameter in each.params:
        if isinstance(parameter, TyperArgument):
            name = (parameter.metavar or str(parameter.name).upper()).strip("[]")
            yield f"`{name if parameter.required else f'[{name}]'}`", parameter.help or ""


def _options(each: TyperCommand | TyperGroup, *, shared: bool) -> Iterator[tuple[str, str]]:
    for parameter in each.params:
        if not isinstance(parameter, TyperOption) or parameter.hidden:
            continue
        if (parameter.rich_help_panel == PANEL) is shared:
            yield _names(parameter), _meaning(parameter)


def _names(option: TyperOption) -> str:
    names = [f"`{name}`" for name in (*option.opts, *option.secondary_opts)]
    value = "" if option.is_flag else f" `{option.metavar or option.bare_type().upper()}`"
    return ", ".join(names) + value


def _meaning(option: TyperOption) -> str:
    parts = [option.help or ""]
    if option.required:
        parts.append("Required.")
    elif option.default not in (None, False):
        parts.append(f"Default: `{option.default}`.")
    if option.min is not None or option.max is not None:
        parts.append(f"{option.min} to {option.max}.")
    if option.envvar:
        parts.append(f"Environment: `{option.envvar}`.")
    return " ".join(part for part in parts if part)
