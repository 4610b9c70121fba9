"""What changed between two versions: whether new readers read old data, and the version's bump."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import avro.schema
from avro.compatibility import (
    ReaderWriterCompatibilityChecker,
    SchemaCompatibilityResult,
    SchemaCompatibilityType,
)
from google.protobuf import descriptor_pb2

from dataspine.core.errors import InputError
from dataspine.registry.avro import Avro
from dataspine.registry.protobuf import BUILT_IN, Protobuf
from dataspine.registry.schema import ParsedSchema

__all__ = ["LEVELS", "Comparison", "compare", "next_version", "require_level"]

LEVEL = "BACKWARD"
LEVELS = (
    "NONE",
    *(f"{way}{whole}" for way in ("BACKWARD", "FORWARD", "FULL") for whole in ("", "_TRANSITIVE")),
)
FIRST_VERSION = "1.0.0"

_SEMVER = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")
_Kind = descriptor_pb2.FieldDescriptorProto

# Kinds whose bytes read as each other.
_WIRE = {
    _Kind.TYPE_INT32: "varint",
    _Kind.TYPE_INT64: "varint",
    _Kind.TYPE_UINT32: "varint",
    _Kind.TYPE_UINT64: "varint",
    _Kind.TYPE_BOOL: "varint",
    _Kind.TYPE_ENUM: "varint",
    _Kind.TYPE_SINT32: "zigzag",
    _Kind.TYPE_SINT64: "zigzag",
    _Kind.TYPE_STRING: "length",
    _Kind.TYPE_BYTES: "length",
    _Kind.TYPE_FIXED32: "fixed32",
    _Kind.TYPE_SFIXED32: "fixed32",
    _Kind.TYPE_FIXED64: "fixed64",
    _Kind.TYPE_SFIXED64: "fixed64",
    _Kind.TYPE_FLOAT: "float",
    _Kind.TYPE_DOUBLE: "double",
    _Kind.TYPE_MESSAGE: "message",
    _Kind.TYPE_GROUP: "group",
}
# Repeated and single values of these read as each other: the last one wins, or they merge.
_MERGED = {_Kind.TYPE_STRING, _Kind.TYPE_BYTES, _Kind.TYPE_MESSAGE}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether a reader of the new schema reads all data of the old one, and what that means.

    ``bump`` is ``major`` when it does not, ``minor`` when the structure changed, ``patch`` when
    only words and tags did, ``none`` when nothing did.
    """

    level: str
    compatible: bool
    messages: tuple[str, ...]
    bump: str


def compare(
    previous: Sequence[ParsedSchema] | ParsedSchema | None,
    new: ParsedSchema,
    *,
    level: str = LEVEL,
) -> Comparison:
    """Compare a version with those before it, oldest first; none is no version before.

    Transitive levels look at all of them, others at the last. Raises ``InputError`` for an unknown
    level.
    """
    require_level(level)
    before = list(previous) if isinstance(previous, Sequence) else [previous] if previous else []
    if not before:
        return Comparison(level, True, (), "none")
    last = before[-1]
    if last.type == new.type and last.digest == new.digest:
        return Comparison(level, True, (), "none")
    looked_at = before if level.endswith("_TRANSITIVE") else before[-1:]
    direction = level.removesuffix("_TRANSITIVE")
    messages: list[str] = []
    for old in looked_at:
        if direction in {"BACKWARD", "FULL"}:
            messages += _breaks(new, old)
        if direction in {"FORWARD", "FULL"}:
            messages += _breaks(old, new)
    if messages:
        return Comparison(level, False, tuple(dict.fromkeys(messages)), "major")
    same = last.type == new.type and last.structure == new.structure
    return Comparison(level, True, (), "patch" if same else "minor")


def require_level(level: str) -> None:
    """Raise ``InputError`` unless it is one of ``LEVELS``."""
    if level not in LEVELS:
        raise InputError(
            f"{level[:40]!r} is no compatibility level",
            remedy=f"Use one of {', '.join(LEVELS)}.",
            code="registry.invalid_level",
        )


def _breaks(reader: ParsedSchema, writer: ParsedSchema) -> tuple[str, ...]:
    """Return what of the writer's data the reader cannot read."""
    if reader.type == writer.type and reader.structure == writer.structure:
        return ()  # what has the same structure reads the same data
    if isinstance(reader.model, Avro) and isinstance(writer.model, Avro):
        return _avro(reader.model.model, writer.model.model)
    if isinstance(reader.model, Protobuf) and isinstance(writer.model, Protobuf):
        return tuple(_Files(writer.model, reader.model).breaks())
    return (f"the schema type changed from {writer.type} to {reader.type}",)


def next_version(current: str | None, bump: str) -> str:
    """Return the semantic version that follows; the first one is 1.0.0."""
    if current is None:
        return FIRST_VERSION
    match = _SEMVER.fullmatch(current)
    if match is None:
        raise InputError(
            f"{current!r} is no version", remedy="Write it like 1.2.0.", code="registry.version"
        )
    major, minor, patch = (int(part) for part in match.groups())
    return {
        "major": f"{major + 1}.0.0",
        "minor": f"{major}.{minor + 1}.0",
        "patch": f"{major}.{minor}.{patch + 1}",
        "none": current,
    }[bump]


def _avro(reader: avro.schema.Schema, writer: avro.schema.Schema) -> tuple[str, ...]:
    found = _check(reader, writer)
    if found.compatibility is not SchemaCompatibilityType.incompatible:
        return ()
    kinds = ", ".join(sorted({kind.value for kind in found.incompatibilities}))
    places = ", ".join(sorted(found.locations))
    words = "; ".join(sorted(found.messages))
    whole = (f"{places}: {words} ({kinds})",)
    if isinstance(reader, avro.schema.RecordSchema) and isinstance(
        writer, avro.schema.RecordSchema
    ):
        return tuple(_avro_fields(reader, writer)) or whole
    return whole


def _check(reader: avro.schema.Schema, writer: avro.schema.Schema) -> SchemaCompatibilityResult:
    # The package's class has no annotations.
    checker: ReaderWriterCompatibilityChecker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    return checker.get_compatibility(reader, writer)


def _avro_fields(
    reader: avro.schema.RecordSchema, writer: avro.schema.RecordSchema
) -> Iterator[str]:
    # The checker's answer for a whole record mixes its fields; asked per field, each gets a place.
    for field in reader.fields:
        names = (field.name, *(field.props.get("aliases") or ()))
        before = next((w for n in names for w in writer.fields if w.name == n), None)
        if before is None:
            if not field.has_default:
                yield f"{field.name}: added without a default (reader_field_missing_default_value)"
            continue
        found = _check(field.type, before.type)
        if found.compatibility is SchemaCompatibilityType.incompatible:
            kinds = ", ".join(sorted({kind.value for kind in found.incompatibilities}))
            yield f"{field.name}: {'; '.join(sorted(found.messages))} ({kinds})"


class _Files:
    """Two compiled Protobuf schemas."""

    def __init__(self, old: Protobuf, new: Protobuf) -> None:
        self._old, self._new = old, new
        self._old_package = f".{old.files[-1].package}."
        self._new_package = f".{new.files[-1].package}."

    def breaks(self) -> Iterator[str]:
        """Yield what a reader of the new schema cannot read."""
        main = _messages((self._old.files[-1],))
        before = _messages(self._old.files)
        after = {self._moved(name): m for name, m in _messages(self._new.files).items()}
        for name, message in before.items():
            if message.options.map_entry:
                continue
            if name not in after:
                if name in main:
                    yield f"{self._short(name)}: the message was removed"
            else:
                yield from self._message(self._short(name), message, after[name])

    def _moved(self, name: str) -> str:
        """Return a new name as it would be called in the old package, as a package may change."""
        if name.startswith(self._new_package):
            return self._old_package + name[len(self._new_package) :]
        return name

    def _short(self, name: str) -> str:
        return name.removeprefix(self._old_package).lstrip(".")

    def _message(
        self,
        name: str,
        old: descriptor_pb2.DescriptorProto,
        new: descriptor_pb2.DescriptorProto,
    ) -> Iterator[str]:
        before = {field.number: field for field in old.field}
        after = {field.number: field for field in new.field}
        for number, field in before.items():
            if number in after:
                yield from self._field(name, field, after[number])
            elif field.label == _Kind.LABEL_REQUIRED:
                yield f"{name}.{field.name}: the required field {number} was removed"
            elif _group(old, field) is not None:
                yield f"{name}.{field.name}: field {number} was removed from its oneof"
        for number, field in after.items():
            if number not in before and field.label == _Kind.LABEL_REQUIRED:
                yield f"{name}.{field.name}: the required field {number} was added"
        yield from _oneofs(name, old, new)

    def _field(self, name: str, old: _Kind, new: _Kind) -> Iterator[str]:
        place = f"{name}.{new.name}"
        if _WIRE[old.type] != _WIRE[new.type]:
            yield f"{place}: field {old.number} changed from {_kind(old)} to {_kind(new)}"
            return
        renamed = old.type_name != self._moved(new.type_name)
        if old.type == new.type and renamed and not self._are_maps(old, new):
            yield (
                f"{place}: field {old.number} changed from {self._short(old.type_name)} to "
                f"{self._short(self._moved(new.type_name))}"
            )
        elif self._are_maps(old, new):
            yield from self._maps(place, old, new)
        repeated = [field.label == _Kind.LABEL_REPEATED for field in (old, new)]
        if repeated[0] != repeated[1] and old.type not in _MERGED:
            yield f"{place}: field {old.number} changed between one and many numbers"
        required = [field.label == _Kind.LABEL_REQUIRED for field in (old, new)]
        if required[1] and not required[0]:
            yield f"{place}: field {old.number} became required"

    def _maps(self, place: str, old: _Kind, new: _Kind) -> Iterator[str]:
        before, after = _messages(self._old.files), _messages(self._new.files)
        pairs = zip(before[old.type_name].field, after[new.type_name].field, strict=True)
        for old_part, new_part in pairs:
            yield from self._field(place, old_part, new_part)

    def _are_maps(self, old: _Kind, new: _Kind) -> bool:
        before = _messages(self._old.files).get(old.type_name)
        after = _messages(self._new.files).get(new.type_name)
        return (
            before is not None
            and after is not None
            and before.options.map_entry
            and after.options.map_entry
        )


def _oneofs(
    name: str, old: descriptor_pb2.DescriptorProto, new: descriptor_pb2.DescriptorProto
) -> Iterator[str]:
    """Yield fields that would now erase each other."""
    before = {field.number: _group(old, field) for field in old.field}
    for oneof in new.oneof_decl:
        moved = [
            field
            for field in new.field
            if _group(new, field) == oneof.name
            and field.number in before
            and before[field.number] is None
        ]
        joined = any(
            _group(new, field) == oneof.name and before.get(field.number) is not None
            for field in new.field
        )
        if len(moved) > 1 or (moved and joined):
            fields = ", ".join(field.name for field in moved)
            yield f"{name}.{oneof.name}: fields moved into the oneof: {fields}"


def _group(message: descriptor_pb2.DescriptorProto, field: _Kind) -> str | None:
    """Return the name of a field's oneof; ``optional`` is none."""
    if not field.HasField("oneof_index") or field.proto3_optional:
        return None
    return message.oneof_decl[field.oneof_index].name


def _messages(
    files: tuple[descriptor_pb2.FileDescriptorProto, ...],
) -> dict[str, descriptor_pb2.DescriptorProto]:
    found: dict[str, descriptor_pb2.DescriptorProto] = {}

    def learn(messages: object, prefix: str) -> None:
        for message in messages if isinstance(messages, list) else []:
            name = f"{prefix}.{message.name}"
            found[name] = message
            learn(list(message.nested_type), name)

    for file in files:
        if not file.name.startswith(BUILT_IN):
            learn(list(file.message_type), f".{file.package}" if file.package else "")
    return found


def _kind(field: _Kind) -> str:
    return _Kind.Type.Name(field.type).removeprefix("TYPE_").lower()
