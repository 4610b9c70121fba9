"""One comparison of two schemas: how much work it is at most, and how it travels to a worker."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from avro.schema import (
    ArraySchema,
    EnumSchema,
    Field,
    MapSchema,
    NamedSchema,
    PrimitiveSchema,
    RecordSchema,
    Schema,
    UnionSchema,
)
from google.protobuf import descriptor_pb2

from dataspine.core.errors import InputError
from dataspine.registry._change import Change, Fault
from dataspine.registry.avro import Avro, parse_avro
from dataspine.registry.avro_compatibility import avro_changes
from dataspine.registry.protobuf import Protobuf
from dataspine.registry.protobuf_compatibility import protobuf_changes
from dataspine.registry.schema import ParsedSchema

__all__ = [
    "MAX_EFFORT",
    "answers",
    "changes_of",
    "compared",
    "effort",
    "question",
    "require_narrow",
]

# What is compared in this process: at most some 150 ms of it. A field is about four steps.
MAX_EFFORT = 10_000
MAX_BRANCHES = 200
# A step of Protobuf is so many bytes of the compiled files, which are looked through once.
_BYTES = 16


def require_narrow(schema: ParsedSchema) -> None:
    """Raise ``InputError`` for a union with more branches than anybody compares."""
    widest = schema.model.widest if isinstance(schema.model, Avro) else 0
    if widest > MAX_BRANCHES:
        raise InputError(
            f"a union of {widest} branches is over the limit of {MAX_BRANCHES}",
            remedy="Group the branches in records, or split the schema into several subjects.",
            code="registry.invalid_schema",
        )


def effort(old: ParsedSchema, new: ParsedSchema, *, directions: Sequence[str], limit: int) -> int:
    """Return how many steps a comparison takes at most; over the limit, any number over it."""
    before, after = old.model, new.model
    if isinstance(before, Avro) and isinstance(after, Avro):
        return _pairs(before.model, after.model, limit) * max(1, len(directions))
    if isinstance(before, Protobuf) and isinstance(after, Protobuf):
        return (len(old.structure) + len(new.structure)) // _BYTES
    return 0


def compared(
    old: Avro | Protobuf | None,
    new: Avro | Protobuf | None,
    directions: Sequence[str],
    *,
    logical: bool,
) -> tuple[Change, ...]:
    """Return the changes between two schemas of one type."""
    if isinstance(old, Avro) and isinstance(new, Avro):
        return avro_changes(old, new, directions=directions, logical=logical)
    if isinstance(old, Protobuf) and isinstance(new, Protobuf):
        return protobuf_changes(old, new)
    raise TypeError("two schemas of one type are compared")


def question(
    olds: Sequence[ParsedSchema],
    new: ParsedSchema,
    directions: Sequence[str],
    *,
    logical: bool,
) -> bytes:
    """Return what a worker is sent to compare schemas, all of one type, with a new one."""
    document = {
        "new": _sent(new),
        "old": [_sent(old) for old in olds],
        "directions": list(directions),
        "logical": logical,
    }
    return json.dumps(document).encode()


def answers(data: bytes) -> Iterator[bytes]:
    """Yield what a worker answers, one comparison after the other."""
    request = json.loads(data)
    new = _received(request["new"])
    for sent in request["old"]:
        found = compared(_received(sent), new, request["directions"], logical=request["logical"])
        yield json.dumps([dataclasses.astuple(change) for change in found]).encode()


def changes_of(body: bytes) -> tuple[Change, ...]:
    """Return the changes that a worker found."""
    return tuple(
        Change(*values, *(None if fault is None else Fault(*fault) for fault in faults))
        for *values, backward, forward in json.loads(body)
        for faults in [(backward, forward)]
    )


def _sent(schema: ParsedSchema) -> dict[str, Any]:
    model = schema.model
    if not isinstance(model, Protobuf):
        return {"text": schema.text, "dependencies": schema.dependencies}
    files = [base64.b64encode(file.SerializeToString()).decode() for file in model.files]
    return {"files": files, "lines": [[*path, line] for path, line in model.lines.items()]}


def _received(sent: Mapping[str, Any]) -> Avro | Protobuf:
    if "text" in sent:
        return parse_avro(sent["text"], [(name, text) for name, text in sent["dependencies"]])
    files = tuple(
        descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(file))
        for file in sent["files"]
    )
    lines = {tuple(path): line for *path, line in sent["lines"]}
    # Only files and lines are compared.
    return Protobuf("", "", False, b"", (), files, lines)


def _pairs(old: Schema, new: Schema, limit: int) -> int:
    """Count the pairs of types, with their members, that a comparison may look at."""
    todo: list[tuple[Schema, Schema]] = [(old, new)]
    seen: set[tuple[int, int]] = set()
    steps = 0
    while todo and steps <= limit:
        was, now = todo.pop()
        if isinstance(was, RecordSchema) and isinstance(now, RecordSchema):
            if (id(was), id(now)) in seen:
                continue
            seen.add((id(was), id(now)))
        steps += _size(was) * _size(now) if _is_union(was, now) else _size(was) + _size(now)
        if steps <= limit:
            todo += _inside(was, now)
    return steps


def _is_union(was: Schema, now: Schema) -> bool:
    return isinstance(was, UnionSchema) or isinstance(now, UnionSchema)


def _size(schema: Schema) -> int:
    """Return how many members a type has, and names that it may go by."""
    if isinstance(schema, UnionSchema):
        return len(schema.schemas)
    size = 1
    if isinstance(schema, NamedSchema):
        size += len(_aliases(schema))
    if isinstance(schema, RecordSchema):
        size += sum(1 + len(_aliases(field)) for field in schema.fields)
    elif isinstance(schema, EnumSchema):
        size += len(schema.symbols)
    return size


def _inside(was: Schema, now: Schema) -> list[tuple[Schema, Schema]]:
    """Return the pairs of types inside of two types, but for primitives: these are counted."""
    if _is_union(was, now):
        first = [branch for branch in _branches(was) if not isinstance(branch, PrimitiveSchema)]
        others = [branch for branch in _branches(now) if not isinstance(branch, PrimitiveSchema)]
        return [(one, other) for one in first for other in others]
    if isinstance(was, ArraySchema) and isinstance(now, ArraySchema):
        return [(was.items, now.items)]
    if isinstance(was, MapSchema) and isinstance(now, MapSchema):
        return [(was.values, now.values)]
    if isinstance(was, RecordSchema) and isinstance(now, RecordSchema):
        return [*_fields(was, now), *((two, one) for one, two in _fields(now, was, aliases=True))]
    return []


def _fields(
    was: RecordSchema, now: RecordSchema, *, aliases: bool = False
) -> Iterator[tuple[Schema, Schema]]:
    """Yield the types of fields that may be one: of one name, or of an ``aliases`` alone."""
    known = was.fields_dict
    for field in now.fields:
        if isinstance(field.type, PrimitiveSchema):
            continue
        names = _aliases(field)
        for name in names if aliases else (field.name, *names):
            if name in known:
                yield known[name].type, field.type


def _aliases(part: NamedSchema | Field) -> Sequence[str]:
    found = part.props.get("aliases")
    return found if isinstance(found, list) else ()


def _branches(schema: Schema) -> list[Schema]:
    return list(schema.schemas) if isinstance(schema, UnionSchema) else [schema]
