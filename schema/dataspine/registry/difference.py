"""What changed between two schemas: where, from what to what, and whom it breaks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dataspine.core.errors import InputError
from dataspine.core.lru import Lru
from dataspine.registry._change import BACKWARD, FORWARD, Change, Fault
from dataspine.registry._comparison import MAX_EFFORT, changes_of, compared, effort, question
from dataspine.registry._limits import UNLIMITED, Limits
from dataspine.registry._workers import too_costly
from dataspine.registry.schema import ParsedSchema

__all__ = ["Difference", "changes", "differences"]

CACHE_ENTRIES = 512
_BOTH = (BACKWARD, FORWARD)
_WORDS = ("doc", "classifications", "retention")


@dataclass(frozen=True, slots=True)
class Difference:
    """One change.

    ``kind`` is ``added``, ``removed`` or ``changed``. ``what`` is the part that changed: ``field``,
    ``type``, ``name``, ``default``, ``symbols``, ``oneof``, ``message``, ``doc`` and so on.
    ``path`` is written as a field's path and empty for the whole schema. ``line`` stands in the new
    schema, of what was removed in the old one; None is another file. ``before`` and ``after`` are
    for people. ``backward`` and ``forward`` say why it breaks new readers of old data, and old
    readers of new data; None is that it does not.
    """

    kind: str
    what: str
    path: str
    line: int | None
    before: str | None
    after: str | None
    backward: str | None = None
    forward: str | None = None


def differences(
    old: ParsedSchema, new: ParsedSchema, *, logical: bool = False, limits: Limits = UNLIMITED
) -> tuple[Difference, ...]:
    """Return what changed, first what decides how data are read, then the words about fields.

    The order follows the new schema and is the same each time. ``logical`` and ``limits`` are
    as in ``compare``.
    """
    (structural,) = changes([old], new, logical=logical, limits=limits)
    found = [*structural, *_words(old, new)]
    if not found and old.digest != new.digest:
        # Options, properties and comments outside of fields have no place of their own.
        found.append(Change("changed", "annotations", ""))
    return tuple(
        Difference(
            change.kind,
            change.what,
            change.path,
            change.line,
            change.before,
            change.after,
            change.backward.problem if change.backward is not None else None,
            change.forward.problem if change.forward is not None else None,
        )
        for change in found
    )


def changes(
    olds: Sequence[ParsedSchema],
    new: ParsedSchema,
    *,
    directions: Sequence[str] = _BOTH,
    logical: bool = False,
    limits: Limits = UNLIMITED,
) -> list[tuple[Change, ...]]:
    """Return, for each old schema, the changes that decide how data are read, with their faults.

    A pair that was compared lately comes from a cache. What is much work is done by a process that
    can be stopped; ``InputError`` when it takes more than the limits allow.
    """
    found: list[tuple[Change, ...]] = []
    costly: list[int] = []
    left = MAX_EFFORT if limits.workers is not None else None
    for index, old in enumerate(olds):
        known = _known_changes(old, new, directions, logical=logical)
        if known is None and left is not None:
            left -= effort(old, new, directions=directions, limit=left)
        if known is None and (left is None or left >= 0):
            known = _compared(old, new, directions, logical=logical)
        if known is None:
            costly.append(index)
        found.append(known or ())
    if costly:
        others = [olds[index] for index in costly]
        answers = _by_workers(others, new, directions, logical=logical, limits=limits)
        for index, known in zip(costly, answers, strict=True):
            found[index] = known
    return found


_Key = tuple[bytes, bytes, tuple[str, ...], bool]
_known: Lru[_Key, tuple[Change, ...]] = Lru(CACHE_ENTRIES)


def _known_changes(
    old: ParsedSchema, new: ParsedSchema, directions: Sequence[str], *, logical: bool
) -> tuple[Change, ...] | None:
    """Return the changes that need no comparison."""
    if old.type != new.type:
        fault = Fault(
            f"the schema type changed from {old.type} to {new.type}", "use another subject for it"
        )
        return (Change("changed", "schema type", "", None, old.type, new.type, fault, fault),)
    if old.structure == new.structure:
        return ()
    return _known.get((_fingerprint(old), _fingerprint(new), tuple(directions), logical))


def _compared(
    old: ParsedSchema, new: ParsedSchema, directions: Sequence[str], *, logical: bool
) -> tuple[Change, ...]:
    try:
        found = compared(old.model, new.model, directions, logical=logical)
    except RecursionError:
        raise InputError(
            "the types are linked too deep to be compared",
            remedy="Use fewer types inside types.",
            code="registry.invalid_schema",
        ) from None
    _known.put((_fingerprint(old), _fingerprint(new), tuple(directions), logical), found)
    return found


def _by_workers(
    olds: Sequence[ParsedSchema],
    new: ParsedSchema,
    directions: Sequence[str],
    *,
    logical: bool,
    limits: Limits,
) -> list[tuple[Change, ...]]:
    if limits.workers is None:
        return []
    sent = question(olds, new, directions, logical=logical)
    bodies = limits.workers.compare(sent, len(olds), seconds=limits.seconds_left())
    answered = [changes_of(body) for body in bodies]
    for old, found in zip(olds, answered, strict=False):
        _known.put((_fingerprint(old), _fingerprint(new), tuple(directions), logical), found)
    if len(answered) < len(olds):
        raise too_costly()
    return answered


def _fingerprint(schema: ParsedSchema) -> bytes:
    """Return what names a schema with its lines and all it refers to; a digest does not."""
    summary = hashlib.sha256(schema.type.encode())
    summary.update(schema.text.encode("utf-8", "surrogatepass"))
    summary.update(b"\0")
    summary.update(schema.structure)
    return summary.digest()


def _words(old: ParsedSchema, new: ParsedSchema) -> Iterator[Change]:
    before = {field.path: field for field in old.fields}
    for field in new.fields:
        known = before.get(field.path)
        if known is None:
            continue
        for what in _WORDS:
            was, now = _text(getattr(known, what)), _text(getattr(field, what))
            if was != now:
                yield Change("changed", what, field.path, field.line, was, now)


def _text(value: str | tuple[str, ...] | None) -> str | None:
    return ", ".join(value) if isinstance(value, tuple) else value or None
