"""What changed between two schemas: where, from what to what, and whom it breaks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dataspine.core.errors import InputError
from dataspine.core.lru import Lru
from dataspine.registry._change import BACKWARD, FORWARD, Change, Fault
from dataspine.registry.avro import Avro
from dataspine.registry.avro_compatibility import avro_changes
from dataspine.registry.protobuf import Protobuf
from dataspine.registry.protobuf_compatibility import protobuf_changes
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
    old: ParsedSchema, new: ParsedSchema, *, logical: bool = False
) -> tuple[Difference, ...]:
    """Return what changed, first what decides how data are read, then the words about fields.

    The order follows the new schema and is the same each time. ``logical`` is as in ``compare``.
    """
    found = [*changes(old, new, logical=logical), *_words(old, new)]
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
    old: ParsedSchema,
    new: ParsedSchema,
    *,
    directions: Sequence[str] = _BOTH,
    logical: bool = False,
) -> tuple[Change, ...]:
    """Return the changes that decide how data are read, with the faults in the directions.

    A pair that was compared lately comes from a cache.
    """
    if old.type == new.type and old.structure == new.structure:
        return ()
    key = (_fingerprint(old), _fingerprint(new), tuple(directions), logical)
    known = _known.get(key)
    if known is None:
        try:
            known = _changes(old, new, directions, logical=logical)
        except RecursionError:
            raise InputError(
                "the types are linked too deep to be compared",
                remedy="Use fewer types inside types.",
                code="registry.invalid_schema",
            ) from None
        _known.put(key, known)
    return known


_Key = tuple[bytes, bytes, tuple[str, ...], bool]
_known: Lru[_Key, tuple[Change, ...]] = Lru(CACHE_ENTRIES)


def _changes(
    old: ParsedSchema, new: ParsedSchema, directions: Sequence[str], *, logical: bool
) -> tuple[Change, ...]:
    if isinstance(old.model, Avro) and isinstance(new.model, Avro):
        return avro_changes(old.model, new.model, directions=directions, logical=logical)
    if isinstance(old.model, Protobuf) and isinstance(new.model, Protobuf):
        return protobuf_changes(old.model, new.model)
    fault = Fault(
        f"the schema type changed from {old.type} to {new.type}", "use another subject for it"
    )
    return (Change("changed", "schema type", "", None, old.type, new.type, fault, fault),)


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
