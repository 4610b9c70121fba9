"""What a sink file says of itself: whose it is, and how the rows in it are masked.

A file outlives the route that filled it, and any route may name it. So what nobody can see in its
rows stands beside them, written in the transaction that writes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dataspine.core.canonical import canonical
from dataspine.core.errors import ConflictError

__all__ = [
    "CREATE",
    "SinkOwner",
    "SinkTable",
    "claim",
    "has_masks",
    "record_masks",
    "require_masks",
]

CREATE = "CREATE TABLE IF NOT EXISTS _spine_record (name VARCHAR PRIMARY KEY, value VARCHAR)"
_OWNER = "owner"
_MASKS = "masks:"


@dataclass(frozen=True, slots=True)
class SinkTable:
    """A table as it stands at the sink."""

    name: str
    columns: tuple[str, ...]
    has_rows: bool


Execute = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class SinkOwner:
    """The one route whose rows a sink file holds, and where that lies."""

    workspace: str
    route: str
    region: str


def claim(run: Execute, owner: SinkOwner, *, where: str) -> None:
    """Make the file this route's, or raise ``ConflictError`` when it is another's."""
    recorded = _read(run, _OWNER)
    if recorded is None:
        # Written by a version that recorded positions alone.
        others = run("SELECT DISTINCT route FROM _spine WHERE route <> ?", [owner.route])
        if others:
            raise _foreign(f"the sink file is that of the route {others[0][0]!r}", where)
        _write(run, _OWNER, asdict(owner))
        return
    if recorded == asdict(owner):
        return
    if recorded["workspace"] != owner.workspace:
        problem = f"the sink file is that of the route {recorded['route']!r} of another workspace"
    elif recorded["route"] != owner.route:
        problem = f"the sink file is that of the route {recorded['route']!r}"
    else:
        problem = f"the sink file lies in {recorded['region']}, and the route says {owner.region}"
    raise _foreign(problem, where)


def require_masks(
    run: Execute,
    table: SinkTable,
    masks: Mapping[str, str],
    before: Mapping[str, str] | None,
    *,
    where: str,
) -> None:
    """Raise ``ConflictError`` when rows of a table are masked otherwise than ``masks`` says.

    ``before`` is what they are masked by when the file does not say; None when nobody knows.
    """
    recorded = _read(run, f"{_MASKS}{table.name}")
    known = before if recorded is None else recorded
    if known == masks or not table.has_rows:
        return
    if known is None:
        problem = f"nobody knows how the rows of {table.name} at the sink are masked"
    else:
        changed = [c for c in table.columns if known.get(c) != masks.get(c)]
        if not changed:
            return
        words = ", ".join(f"{c} {_change(known.get(c), masks.get(c))}" for c in changed)
        problem = f"rows of {table.name} at the sink are masked otherwise: {words}"
    raise ConflictError(
        problem,
        where=where,
        remedy=f"Destroy the route, remove the table {table.name} at the sink, then apply it.",
        code="cdc.at_rest_differs",
    )


def has_masks(run: Execute, table: str, masks: Mapping[str, str]) -> bool:
    """Say whether the file says that the rows of a table are masked by just these."""
    return _read(run, f"{_MASKS}{table}") == masks


def record_masks(run: Execute, table: str, masks: Mapping[str, str]) -> None:
    """Write how the rows of a table are masked."""
    _write(run, f"{_MASKS}{table}", masks)


def _change(before: str | None, after: str | None) -> str:
    old, new = ((each or "nothing").partition(":")[0] for each in (before, after))
    return f"by {old}, not {new}" if old != new else f"by {old} with another key or purpose"


def _foreign(problem: str, where: str) -> ConflictError:
    return ConflictError(
        problem,
        where=where,
        remedy="Give the sink a file of its own, or remove this one if nobody needs it.",
        code="cdc.sink_foreign",
    )


def _read(run: Execute, name: str) -> dict[str, Any] | None:
    rows = run("SELECT value FROM _spine_record WHERE name = ?", [name])
    return dict(json.loads(rows[0][0])) if rows else None


def _write(run: Execute, name: str, value: Mapping[str, Any]) -> None:
    text = canonical(value).decode()
    run("INSERT OR REPLACE INTO _spine_record VALUES (?, ?)", [name, text])
