"""Scaffold a workspace: its files, this clone's own key, its database, its first bundle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from dataspine.adapters.own_state import own_key, own_pem, require_own_state
from dataspine.bundles import generate_key
from dataspine.core.errors import ConflictError, InputError
from dataspine.core.secret import require_reference
from dataspine.core.workspace import SETTINGS, Workspace

__all__ = ["init"]

_DATABASE = """
# Where the state is kept: the address is a secret, so this says where it is.
database:
  url: {}
"""


def init(
    folder: Path,
    *,
    name: str | None = None,
    database: str | None = None,
    told: Callable[[str], None],
) -> Workspace:
    """Make a folder a workspace and return it; ``database`` refers to a PostgreSQL's address.

    A folder that is a workspace already keeps its files: only what ``.spine/`` lacks (key,
    database) is made, which is what a fresh clone of a workspace needs.
    """
    named = name or folder.resolve().name
    if not (folder / SETTINGS).exists():
        if folder.exists() and any(folder.iterdir()):
            raise ConflictError(
                "the folder is not empty",
                where=str(folder),
                remedy="Name a new folder.",
                code="input.not_empty",
            )
        _check_name(named)
        if database is not None:
            require_reference(database, where="--database")
        templates = files("dataspine.cli").joinpath("templates")
        for file in _copy(templates, folder, {"{name}": named}):
            told(file.relative_to(folder).as_posix())
        if database is not None:
            with (folder / SETTINGS).open("a", encoding="utf-8") as settings:
                settings.write(_DATABASE.format(json.dumps(database)))
    workspace = Workspace.open(folder)
    _make_state(workspace, told)
    return workspace


def _check_name(name: str) -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    if not name or not set(name) <= allowed or not name[0].isalnum() or len(name) > 63:
        raise InputError(
            f"{name!r} cannot name a workspace",
            where="--name",
            remedy="Use lower-case letters, digits, dots, dashes; start with a letter or digit.",
        )


def _make_state(workspace: Workspace, told: Callable[[str], None]) -> None:
    require_own_state(workspace.state)
    workspace.state.mkdir(mode=0o700, exist_ok=True)
    key = workspace.state / "keys" / "dev.pem"
    if key.exists():
        own_pem(workspace.state, key.name)
    else:
        key.parent.mkdir(mode=0o700, exist_ok=True)
        generate_key(key)
        told(".spine/keys/dev.pem")
    mask = workspace.state / "keys" / "mask.key"
    is_new = not mask.exists()
    own_key(workspace.state, mask.name)
    if is_new:
        told(".spine/keys/mask.key")
    workspace.database.migrate()


def _copy(source: Traversable, target: Path, words: dict[str, str]) -> Iterator[Path]:
    target.mkdir(parents=True, exist_ok=True)
    for entry in sorted(source.iterdir(), key=lambda e: e.name):
        path = target / (".gitignore" if entry.name == "gitignore" else entry.name)
        if entry.is_dir():
            yield from _copy(entry, path, words)
            continue
        text = entry.read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        path.write_text(text, encoding="utf-8")
        yield path
