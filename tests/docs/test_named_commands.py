"""A command that a message or a page names can be run."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from typer.core import TyperGroup

from dataspine.cli.main import command

ROOT = Path(__file__).parents[2]
FOLDERS = ("adapters", "bundles", "engine", "schema", "streaming", "web")
NAMED = re.compile(r"`spine ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)*)")


def _texts() -> Iterator[tuple[str, str]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def _is_there(words: list[str]) -> bool:
    at: object = command()
    for word in words:
        if not isinstance(at, TyperGroup):
            return True  # an argument
        if word not in at.commands:
            return False
        at = at.commands[word]
    return True


def test_every_named_command_is_there() -> None:
    named = [(place, name) for place, text in _texts() for name in NAMED.findall(text)]
    assert len(named) > 50
    assert [(place, name) for place, name in named if not _is_there(name.split())] == []
