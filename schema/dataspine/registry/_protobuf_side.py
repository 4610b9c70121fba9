"""A Protobuf schema as linked descriptors, with names, texts and lines to compare it by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
)

from dataspine.core.errors import InputError
from dataspine.registry.protobuf import Protobuf

__all__ = ["MAP", "MERGED", "Side", "category", "entry", "name", "nested"]

_Type = descriptor_pb2.FieldDescriptorProto.Type

# Types whose bytes read as each other (Protocol Buffers language guide, "Updating a message type").
_WIRE = {
    FieldDescriptor.TYPE_INT32: "varint",
    FieldDescriptor.TYPE_INT64: "varint",
    FieldDescriptor.TYPE_UINT32: "varint",
    FieldDescriptor.TYPE_UINT64: "varint",
    FieldDescriptor.TYPE_BOOL: "varint",
    FieldDescriptor.TYPE_ENUM: "varint",
    FieldDescriptor.TYPE_SINT32: "zigzag",
    FieldDescriptor.TYPE_SINT64: "zigzag",
    FieldDescriptor.TYPE_STRING: "text",
    FieldDescriptor.TYPE_BYTES: "text",
    FieldDescriptor.TYPE_FIXED32: "fixed32",
    FieldDescriptor.TYPE_SFIXED32: "fixed32",
    FieldDescriptor.TYPE_FIXED64: "fixed64",
    FieldDescriptor.TYPE_SFIXED64: "fixed64",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_MESSAGE: "message",
    FieldDescriptor.TYPE_GROUP: "group",
}
MAP = "map"
# One and many of these read as each other: the last one wins, or they are merged.
MERGED = frozenset({"text", "message", "group"})


class Side:
    """One of two schemas; the descriptors know what labels, syntaxes and features come to.

    ``messages`` and ``enums`` are those of the main file, in its order, by their name without the
    package.
    """

    def __init__(self, schema: Protobuf) -> None:
        self._pool = _pool(schema.files)
        self.proto = schema.files[-1]
        self._lines = _lines(self.proto, schema.lines)
        # protoc puts each optional field into a oneof of its own, which is no choice.
        self._optional = {name for file in schema.files for name in _optional(file)}
        self._groups = {name for file in schema.files for name in _groups(file)}
        self._editions = {file.name for file in schema.files if file.syntax == "editions"}
        file = self._pool.FindFileByName(self.proto.name)
        messages = list(_messages(file, self.proto))
        self.messages = {name(message): message for message in messages if not is_hidden(message)}
        enums = [file.enum_types_by_name[enum.name] for enum in self.proto.enum_type]
        enums += [enum for message in messages for enum in message.enum_types]
        self.enums = {name(enum): enum for enum in enums}

    def line(self, full_name: str) -> int | None:
        """Return where a part stands; None when that is another file."""
        return self._lines.get(full_name)

    def fields(self, message: Descriptor) -> dict[int, FieldDescriptor]:
        """Return the fields by number that a break is looked for in."""
        return {f.number: f for f in message.fields if f.full_name not in self._groups}

    def others(self, message: Descriptor) -> dict[int, FieldDescriptor]:
        """Return the groups and the extensions by number, which Confluent does not compare."""
        groups = [field for field in message.fields if field.full_name in self._groups]
        return {f.number: f for f in (*groups, *self._pool.FindAllExtensions(message))}

    def text(self, field: FieldDescriptor) -> str:
        """Return the type with its label: ``repeated string``, ``map<string, message Line>``."""
        pair = entry(field)
        if pair is not None:
            return f"map<{self._type(pair[0])}, {self._type(pair[1])}>"
        label = "required " if field.is_required else "repeated " if field.is_repeated else ""
        return label + self._type(field)

    def oneofs(self, message: Descriptor) -> dict[str, list[int]]:
        """Return the numbers in each oneof; what ``optional`` makes of a field is none."""
        found: dict[str, list[int]] = {}
        for number, field in self.fields(message).items():
            oneof = self.oneof(field)
            if oneof is not None:
                found.setdefault(oneof, []).append(number)
        return found

    def oneof(self, field: FieldDescriptor) -> str | None:
        """Return the name of a field's oneof."""
        oneof = field.containing_oneof
        return None if oneof is None or field.full_name in self._optional else oneof.name

    def label(self, field: FieldDescriptor) -> str | None:
        """Return the label that the text writes, or would write were it no edition."""
        if field.is_repeated or field.is_required:
            return "repeated" if field.is_repeated else "required"
        message = field.containing_type
        is_edition = message is not None and message.file.name in self._editions
        is_explicit = is_edition and self.presence(field) == "explicit"
        return "optional" if is_explicit or field.full_name in self._optional else None

    def presence(self, field: FieldDescriptor) -> str | None:
        """Return whether an unset number or text differs from an empty one; None has no choice."""
        fixed = field.message_type is not None or field.is_repeated or field.is_required
        if fixed or self.oneof(field) is not None:
            return None
        return "explicit" if field.has_presence else "implicit"

    def _type(self, field: FieldDescriptor) -> str:
        kind = _Type.Name(_Type.ValueType(field.type)).removeprefix("TYPE_").lower()
        named = field.message_type or field.enum_type
        return kind if named is None else f"{kind} {name(named)}"


def name(part: Descriptor | EnumDescriptor) -> str:
    """Return a type's name without the package of its file."""
    return part.full_name.removeprefix(f"{part.file.package}.")


def nested(message: Descriptor) -> dict[str, Descriptor]:
    """Return the messages written inside of a message, by their names without the package."""
    return {name(inner): inner for inner in message.nested_types if not is_hidden(inner)}


def _pool(files: Sequence[descriptor_pb2.FileDescriptorProto]) -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except TypeError as error:
            # protoc and the runtime are two packages, and may disagree on what is new in Protobuf.
            raise InputError(
                f"the schema cannot be compared: {error}",
                remedy="Use an older syntax or edition.",
                code="registry.invalid_schema",
            ) from None
    return pool


def category(field: FieldDescriptor) -> str:
    """Return the group of types that a field's bytes read as; a map is a kind of its own."""
    return _WIRE[field.type] if entry(field) is None else MAP


def entry(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor] | None:
    """Return a map's key and value; None is no map."""
    message = field.message_type
    if message is None or not message.GetOptions().map_entry:
        return None
    key, value = message.fields
    return key, value


def is_hidden(message: Descriptor) -> bool:
    """Return whether a message is only the inside of a field: a map's entry, or a group."""
    if message.GetOptions().map_entry:
        return True
    parent = message.containing_type
    return parent is not None and any(
        field.message_type is message and field.type == FieldDescriptor.TYPE_GROUP
        for field in parent.fields
    )


def _messages(
    file: FileDescriptor, proto: descriptor_pb2.FileDescriptorProto
) -> Iterator[Descriptor]:
    todo = [file.message_types_by_name[message.name] for message in reversed(proto.message_type)]
    while todo:
        message = todo.pop()
        yield message
        todo += reversed(message.nested_types)


def _optional(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    """Yield the full names of the fields that the text calls optional."""
    is_proto2 = file.syntax in {"", "proto2"}
    for full_name, field in _written(file):
        is_plain = field.label == field.LABEL_OPTIONAL and not field.HasField("oneof_index")
        if field.proto3_optional or (is_proto2 and is_plain):
            yield full_name


def _groups(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    """Yield the full names of the fields that the text writes as groups."""
    for full_name, field in _written(file):
        if field.type == field.TYPE_GROUP:
            yield full_name


def _written(
    file: descriptor_pb2.FileDescriptorProto,
) -> Iterator[tuple[str, descriptor_pb2.FieldDescriptorProto]]:
    """Yield the fields and extensions of a file with their full names."""
    todo: list[tuple[str, descriptor_pb2.DescriptorProto]] = [
        (file.package, message) for message in file.message_type
    ]
    named = [(file.package, field) for field in file.extension]
    while todo:
        scope, message = todo.pop()
        inner = f"{scope}.{message.name}".lstrip(".")
        named += [(inner, field) for field in (*message.field, *message.extension)]
        todo += [(inner, nested) for nested in message.nested_type]
    for scope, field in named:
        yield f"{scope}.{field.name}".lstrip("."), field


# The numbers that descriptor.proto gives to the parts of a file, a message and an enum.
_IN_FILE = {"message_type": 4, "enum_type": 5, "extension": 7}
_IN_MESSAGE = {"field": 2, "nested_type": 3, "enum_type": 4, "extension": 6}
_IN_ENUM = {"value": 2}
_Part = (
    descriptor_pb2.FileDescriptorProto
    | descriptor_pb2.DescriptorProto
    | descriptor_pb2.EnumDescriptorProto
    | descriptor_pb2.FieldDescriptorProto
    | descriptor_pb2.EnumValueDescriptorProto
)
_PARTS: dict[type[_Part], dict[str, int]] = {
    descriptor_pb2.FileDescriptorProto: _IN_FILE,
    descriptor_pb2.DescriptorProto: _IN_MESSAGE,
    descriptor_pb2.EnumDescriptorProto: _IN_ENUM,
}


def _lines(
    file: descriptor_pb2.FileDescriptorProto, starts: Mapping[tuple[int, ...], int]
) -> dict[str, int]:
    """Return the line of each message, field, extension, enum and value by its full name."""
    found: dict[str, int] = {}
    todo: list[tuple[_Part, str, tuple[int, ...]]] = [(file, file.package, ())]
    while todo:
        part, full_name, path = todo.pop()
        if path in starts and path:
            found[full_name] = starts[path]
        for member, number in _PARTS.get(type(part), {}).items():
            inner: Sequence[_Part] = getattr(part, member)
            todo += [
                (item, f"{full_name}.{item.name}".lstrip("."), (*path, number, index))
                for index, item in enumerate(inner)
            ]
    return found
