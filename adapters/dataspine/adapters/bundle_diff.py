"""What differs between two bundles, file by file, and in data value by value."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dataspine.adapters.bundle_publish import CHANNELS
from dataspine.adapters.given_bundle import read_archive
from dataspine.adapters.policy import DEV, content_of
from dataspine.adapters.session import Session
from dataspine.bundles import Content, unpack
from dataspine.core.document import below
from dataspine.core.errors import InputError, NotFoundError, placed
from dataspine.core.workspace import SETTINGS, Workspace

__all__ = ["Change", "Difference", "difference", "named_content"]

_DATA = "data.json"
_SHORTEST = 6
_LONGEST_VALUE = 80


@dataclass(frozen=True, slots=True)
class Change:
    """One value of a data file; ``document`` is ``matrix``, ``config`` or ``exceptions``."""

    document: str
    pointer: str
    kind: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None

    @property
    def words(self) -> str:
        """The change as a person reads it."""
        place = f"{self.document} {self.pointer or '(all of it)'}"
        if self.kind == "changed":
            return f"{place}: {_shown(self.before)} → {_shown(self.after)}"
        return f"{place} {self.kind}: {_shown(self.after if self.kind == 'added' else self.before)}"

    def json(self) -> dict[str, Any]:
        """Return the JSON object; ``before`` and ``after`` where there is one."""
        values = {"before": self.before, "after": self.after}
        if self.kind != "changed":
            del values["before" if self.kind == "added" else "after"]
        return {
            "document": self.document,
            "pointer": self.pointer,
            "kind": self.kind,
            **values,
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """Two revisions and what differs; ``changed`` maps a rule's file to (added, removed) lines."""

    before: str
    after: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, tuple[int, int]]
    data: tuple[Change, ...]

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "from": self.before,
            "to": self.after,
            "same": self.before == self.after,
            "files": {
                "added": list(self.added),
                "removed": list(self.removed),
                "changed": [
                    {"name": name, "lines_added": more, "lines_removed": less}
                    for name, (more, less) in self.changed.items()
                ],
            },
            "data": [each.json() for each in self.data],
        }


def named_content(session: Session, named: str) -> Content:
    """Return a content by a channel, a file, a workspace's folder, a digest or a revision."""
    path = Path(named)
    if named in (*CHANNELS, DEV):
        active = session.bundles.active(named)
        if active is None:
            raise NotFoundError(
                "the channel has no bundle", where=named, remedy="See `spine bundle status`."
            )
        return session.bundles.content(active.digest)
    if path.is_file():
        with placed(named):
            return unpack(read_archive(named))
    if (path / SETTINGS).is_file():
        return content_of(Workspace.open(path))
    return session.bundles.content(_digest(session, named))


def difference(before: Content, after: Content) -> Difference:
    """Compare two contents."""
    old, new = before.files, after.files
    differing = [name for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
    return Difference(
        before=before.revision,
        after=after.revision,
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed={
            name: _lines(old[name], new[name]) for name in differing if not name.endswith(_DATA)
        },
        data=tuple(
            change
            for name in differing
            if name.endswith(_DATA)
            for change in _changes(
                _document(name), "", json.loads(old[name]), json.loads(new[name])
            )
        ),
    )


def _digest(session: Session, named: str) -> str:
    start = named.rpartition("sha256")[2].lstrip(":.")
    found = {
        each.digest
        for each in session.bundles.publications(limit=1_000)
        if len(start) >= _SHORTEST and each.digest.removeprefix("sha256:").startswith(start)
    }
    if len(found) == 1:
        return found.pop()
    if found:
        raise InputError(f"{named[:80]!r} fits several bundles", remedy="Name more of it.")
    raise NotFoundError(
        f"{named[:80]!r} is no bundle",
        remedy="Name a channel, a file, a workspace's folder, or the start of a digest.",
        code="bundle.unknown",
    )


def _lines(old: bytes, new: bytes) -> tuple[int, int]:
    before, after = (raw.decode("utf-8", "replace").splitlines() for raw in (old, new))
    changed = [line[0] for line in difflib.ndiff(before, after)]
    return changed.count("+"), changed.count("-")


def _document(name: str) -> str:
    return name.removeprefix("dataspine/").removesuffix(f"/{_DATA}")


def _changes(document: str, pointer: str, old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            place = below(pointer, key)
            if key not in old:
                yield Change(document, place, "added", after=new[key])
            elif key not in new:
                yield Change(document, place, "removed", before=old[key])
            else:
                yield from _changes(document, place, old[key], new[key])
    elif isinstance(old, list) and isinstance(new, list):
        yield from _list_changes(document, pointer, old, new)
    elif old != new or type(old) is not type(new):
        yield Change(document, pointer, "changed", before=old, after=new)


def _list_changes(document: str, pointer: str, old: list[Any], new: list[Any]) -> Iterator[Change]:
    # An item is the same wherever it stands: one inserted in front changes no other.
    before, after = ([json.dumps(e, sort_keys=True) for e in items] for items in (old, new))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        if kind == "equal":
            continue
        paired = min(old_to - old_from, new_to - new_from)
        for step in range(paired):
            place = f"{pointer}/{new_from + step}"
            yield from _changes(document, place, old[old_from + step], new[new_from + step])
        for index in range(old_from + paired, old_to):
            yield Change(document, f"{pointer}/{index}", "removed", before=old[index])
        for index in range(new_from + paired, new_to):
            yield Change(document, f"{pointer}/{index}", "added", after=new[index])


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
