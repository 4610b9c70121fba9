"""How two Avro schemas differ in what they say, whoever reads which data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from avro.schema import (
    ArraySchema,
    EnumSchema,
    Field,
    FixedSchema,
    MapSchema,
    NamedSchema,
    RecordSchema,
    Schema,
    UnionSchema,
)

from dataspine.registry import field as facts
from dataspine.registry._avro_name import PRIMITIVES
from dataspine.registry._change import Change
from dataspine.registry.avro import LOGICAL, Avro

__all__ = ["Lines", "logical_of", "near", "structure_changes", "text"]


class Lines:
    """The lines of a schema's fields by their paths."""

    def __init__(self, fields: Iterable[facts.Field]) -> None:
        self._lines: dict[str, int | None] = {}
        for field in fields:
            self._lines.setdefault(field.path, field.line)

    def at(self, path: str) -> int | None:
        """Return the line; None is the whole schema, or another file."""
        return self._lines.get(path)


def text(schema: Schema) -> str:
    """Return a type in a few words: ``record Order``, ``null | long (timestamp-millis)``."""
    if isinstance(schema, UnionSchema):
        return " | ".join(text(branch) for branch in schema.schemas)
    name = f" {schema.name}" if isinstance(schema, NamedSchema) else ""
    size = f"({schema.size})" if isinstance(schema, FixedSchema) else ""
    logical = logical_of(schema)
    return f"{schema.type}{name}{size}" + (f" ({logical})" if logical else "")


def logical_of(schema: Schema) -> str | None:
    """Return the logical type with its parameters: ``decimal(9, 2)``."""
    found = schema.props.get(LOGICAL)
    return found if isinstance(found, str) else None


def near(schema: Schema, other: Schema) -> Schema | None:
    """Return the type, or the branch, that ``other`` was meant for, though it does not fit.

    It has the same name, or is the same kind of type; two primitives are only what they are.
    """
    branches = schema.schemas if isinstance(schema, UnionSchema) else [schema]
    alike = [b for b in branches if b.type == other.type and b.type not in PRIMITIVES]
    same = [b for b in alike if isinstance(b, NamedSchema) and b.name == _name(other)]
    return next(iter((*same, *alike)), None)


def structure_changes(old: Avro, new: Avro) -> Iterator[Change]:
    """Yield the changes in the order of the new schema; a type that is used twice once."""
    walk = _Walk(Lines(old.fields), Lines(new.fields))
    todo: list[Change | _Pair] = [_Pair(old.model, new.model, "")]
    while todo:
        item = todo.pop()
        if isinstance(item, Change):
            yield item
        else:
            todo += reversed(list(walk.step(item)))


class _Pair(NamedTuple):
    was: Schema
    now: Schema
    path: str
    is_branch: bool = False


class _Walk:
    """One pass over both schemas; a named type that is used twice is looked at once."""

    def __init__(self, before: Lines, after: Lines) -> None:
        self._before, self._after = before, after
        self._seen: set[tuple[int, int]] = set()

    def step(self, pair: _Pair) -> Iterator[Change | _Pair]:
        """Yield the changes of two types themselves, and the types inside to look at."""
        was, now, path, is_branch = pair
        # A union's own text has named its branches.
        if text(was) != text(now) and not is_branch:
            yield Change("changed", "type", path, self._after.at(path), text(was), text(now))
        if isinstance(now, UnionSchema) or isinstance(was, UnionSchema):
            for branch in now.schemas if isinstance(now, UnionSchema) else [now]:
                meant = near(was, branch)
                if meant is not None:
                    yield _Pair(meant, branch, path, is_branch=True)
        elif isinstance(was, ArraySchema) and isinstance(now, ArraySchema):
            yield _Pair(was.items, now.items, f"{path}[]")
        elif isinstance(was, MapSchema) and isinstance(now, MapSchema):
            yield _Pair(was.values, now.values, f"{path}{{}}")
        elif isinstance(was, NamedSchema) and isinstance(now, NamedSchema):
            yield from self._named(was, now, path)

    def _named(self, was: NamedSchema, now: NamedSchema, path: str) -> Iterator[Change | _Pair]:
        if (id(was), id(now)) in self._seen:
            return
        self._seen.add((id(was), id(now)))
        line = self._after.at(path)
        for what in ("namespace", "aliases"):
            first, second = was.props.get(what), now.props.get(what)
            if first != second:
                yield Change("changed", what, path, line, _text(first), _text(second))
        if isinstance(was, EnumSchema) and isinstance(now, EnumSchema):
            yield from _enum(was, now, path, line)
        elif isinstance(was, RecordSchema) and isinstance(now, RecordSchema):
            yield from self._record(was, now, path)

    def _record(self, was: RecordSchema, now: RecordSchema, path: str) -> Iterator[Change | _Pair]:
        kept: dict[str, None] = {}
        for field in now.fields:
            place, found = _join(path, field.name), _before(field, was)
            line = self._after.at(place)
            if found is None:
                yield Change("added", "field", place, line, None, text(field.type))
                continue
            kept[found.name] = None
            yield from _field(found, field, place, line)
            yield _Pair(found.type, field.type, place)
        for field in was.fields:
            if field.name not in kept:
                place = _join(path, field.name)
                line = self._before.at(place)
                yield Change("removed", "field", place, line, text(field.type))
        order = [field.name for field in was.fields if field.name in kept]
        if order != list(kept):
            line = self._after.at(path)
            yield Change("changed", "order", path, line, ", ".join(order), ", ".join(kept))


def _field(was: Field, now: Field, path: str, line: int | None) -> Iterator[Change]:
    for what, first, second in (
        ("name", was.name, now.name),
        ("default", _default(was), _default(now)),
        ("aliases", was.props.get("aliases"), now.props.get("aliases")),
        ("sort order", was.props.get("order"), now.props.get("order")),
    ):
        if first != second:
            yield Change("changed", what, path, line, _text(first), _text(second))


def _enum(was: EnumSchema, now: EnumSchema, path: str, line: int | None) -> Iterator[Change]:
    first, second = ", ".join(was.symbols), ", ".join(now.symbols)
    if sorted(was.symbols) != sorted(now.symbols):
        yield Change("changed", "symbols", path, line, first, second)
    elif first != second:
        yield Change("changed", "order", path, line, first, second)
    defaults = was.props.get("default"), now.props.get("default")
    if defaults[0] != defaults[1]:
        yield Change("changed", "default", path, line, _text(defaults[0]), _text(defaults[1]))


def _before(field: Field, record: RecordSchema) -> Field | None:
    """Return the field that this one was: of the same name, or of one of its aliases."""
    aliases = field.props.get("aliases")
    names = [field.name, *(aliases if isinstance(aliases, list) else ())]
    return next((record.fields_dict[name] for name in names if name in record.fields_dict), None)


def _default(field: Field) -> str | None:
    return json.dumps(field.default, sort_keys=True) if field.has_default else None


def _text(value: object) -> str | None:
    if isinstance(value, list):
        return ", ".join(value)
    return None if value is None else str(value)


def _name(schema: Schema) -> str | None:
    return schema.name if isinstance(schema, NamedSchema) else None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
