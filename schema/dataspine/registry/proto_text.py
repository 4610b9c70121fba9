"""A Protobuf descriptor written as text: stock clients register descriptors, people read text.

What is compiled from the text is the descriptor again. The grammar is that of the published
language specifications of proto2, proto3 and editions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

__all__ = ["proto_text"]

_Kind = descriptor_pb2.FieldDescriptorProto
_File = descriptor_pb2.FileDescriptorProto
_MAX = 536_870_912  # one more than the largest field number
_MAX_ENUM = 2_147_483_647
_WORDS = {value: name.removeprefix("TYPE_").lower() for name, value in _Kind.Type.items()}
_LABELS = {
    _Kind.LABEL_OPTIONAL: "optional",
    _Kind.LABEL_REQUIRED: "required",
    _Kind.LABEL_REPEATED: "repeated",
}


def proto_text(file: _File, dependencies: Iterable[_File] = ()) -> str:
    """Return a file's text.

    ``dependencies`` are the files that it imports, each after what it needs itself: they say what
    the custom options are. Raises ``TypeError`` when one of them is missing.
    """
    return "\n".join(_Writer(file, dependencies).lines()) + "\n"


class _Writer:
    def __init__(self, file: _File, dependencies: Iterable[_File]) -> None:
        self._file = file
        self._pool = descriptor_pool.DescriptorPool()
        known = {"google/protobuf/descriptor.proto"}
        self._pool.AddSerializedFile(descriptor_pb2.DESCRIPTOR.serialized_pb)
        for each in (*dependencies, file):
            if each.name not in known:
                known.add(each.name)
                self._pool.Add(each)

    def lines(self) -> Iterator[str]:
        """Yield the file's lines."""
        file = self._file
        if file.syntax == "editions":
            edition = descriptor_pb2.Edition.Name(file.edition).removeprefix("EDITION_")
            yield f'edition = "{edition}";'
        else:
            yield f'syntax = "{file.syntax or "proto2"}";'
        if file.package:
            yield f"package {file.package};"
        for index, name in enumerate(file.dependency):
            how = "public " if index in file.public_dependency else ""
            how = "weak " if index in file.weak_dependency else how
            yield f"import {how}{_quoted(name)};"
        yield from (f"option {each};" for each in self._options(file.options))
        scope = f".{file.package}" if file.package else ""
        for enum in file.enum_type:
            yield from self._enum(enum)
        for message in file.message_type:
            yield from self._message(message, scope)
        yield from self._extensions(file.extension, file.message_type, scope)
        for service in file.service:
            yield from self._service(service)

    def _message(
        self, message: descriptor_pb2.DescriptorProto, scope: str, head: str = ""
    ) -> Iterator[str]:
        """Yield a message; a group has the head of its field."""
        full = f"{scope}.{message.name}"
        yield f"{head or f'message {message.name}'} {{"
        for each in self._body(message, full):
            yield f"  {each}"
        yield "}"

    def _body(self, message: descriptor_pb2.DescriptorProto, full: str) -> Iterator[str]:
        yield from (f"option {each};" for each in self._options(message.options))
        for enum in message.enum_type:
            yield from self._enum(enum)
        # Messages are numbered on the wire: groups and maps, which fields bring, keep their place.
        brought = {f.type_name for f in (*message.field, *message.extension) if _is_group(f)}
        waiting = [
            inner
            for inner in message.nested_type
            if not inner.options.map_entry and f"{full}.{inner.name}" not in brought
        ]
        places = {f"{full}.{inner.name}": i for i, inner in enumerate(message.nested_type)}
        written: set[int] = set()
        for field in message.field:
            together = _beside(message, field)
            place = max(places.get(each.type_name, -1) for each in together)
            while waiting and places[f"{full}.{waiting[0].name}"] < place:
                yield from self._message(waiting.pop(0), full)
            if not field.HasField("oneof_index") or field.proto3_optional:
                yield from self._field(field, message.nested_type, full)
            elif field.oneof_index not in written:
                written.add(field.oneof_index)
                yield from self._oneof(message, together, full)
        for inner in waiting:
            yield from self._message(inner, full)
        yield from self._extensions(message.extension, message.nested_type, full)
        for span in message.extension_range:
            options = self._bracketed(span.options)
            yield f"extensions {_span(span.start, span.end - 1, _MAX - 1)}{options};"
        if message.reserved_range:
            spans = (_span(r.start, r.end - 1, _MAX - 1) for r in message.reserved_range)
            yield f"reserved {', '.join(spans)};"
        if message.reserved_name:
            yield f"reserved {self._reserved(message.reserved_name)};"

    def _oneof(
        self, message: descriptor_pb2.DescriptorProto, fields: Sequence[_Kind], full: str
    ) -> Iterator[str]:
        oneof = message.oneof_decl[fields[0].oneof_index]
        yield f"oneof {oneof.name} {{"
        yield from (f"  option {each};" for each in self._options(oneof.options))
        for field in fields:
            for line in self._field(field, message.nested_type, full, in_oneof=True):
                yield f"  {line}"
        yield "}"

    def _field(
        self,
        field: _Kind,
        nested: Sequence[descriptor_pb2.DescriptorProto],
        scope: str,
        *,
        in_oneof: bool = False,
    ) -> Iterator[str]:
        inner = next((m for m in nested if f"{scope}.{m.name}" == field.type_name), None)
        label = "" if in_oneof else self._label(field)
        options = self._bracketed(field.options, self._pseudo_options(field))
        if inner is not None and inner.options.map_entry:
            key, value = inner.field
            kind = f"map<{_type(key)}, {_type(value)}>"
            yield f"{kind} {field.name} = {field.number}{options};"
        elif inner is not None and _is_group(field):
            head = f"{label}group {inner.name} = {field.number}{options}"
            yield from self._message(inner, scope, head)
        else:
            yield f"{label}{_type(field)} {field.name} = {field.number}{options};"

    def _label(self, field: _Kind) -> str:
        if field.label == _Kind.LABEL_REPEATED or self._file.syntax in {"", "proto2"}:
            return f"{_LABELS[field.label]} "
        return "optional " if field.proto3_optional else ""

    def _pseudo_options(self, field: _Kind) -> list[str]:
        """Return what is written like an option and is none."""
        found = []
        if field.HasField("default_value"):
            plain = field.type not in {_Kind.TYPE_STRING, _Kind.TYPE_BYTES}
            text = field.default_value
            if field.type == _Kind.TYPE_BYTES:  # escaped already
                text = f'"{text}"'
            elif not plain:
                text = _quoted(text)
            found.append(f"default = {text}")
        if field.json_name and field.json_name != _json_name(field.name):
            found.append(f"json_name = {_quoted(field.json_name)}")
        return found

    def _enum(self, enum: descriptor_pb2.EnumDescriptorProto) -> Iterator[str]:
        yield f"enum {enum.name} {{"
        yield from (f"  option {each};" for each in self._options(enum.options))
        for value in enum.value:
            yield f"  {value.name} = {value.number}{self._bracketed(value.options)};"
        if enum.reserved_range:
            spans = (_span(r.start, r.end, _MAX_ENUM) for r in enum.reserved_range)
            yield f"  reserved {', '.join(spans)};"
        if enum.reserved_name:
            yield f"  reserved {self._reserved(enum.reserved_name)};"
        yield "}"

    def _extensions(
        self,
        fields: Sequence[_Kind],
        nested: Sequence[descriptor_pb2.DescriptorProto],
        scope: str,
    ) -> Iterator[str]:
        for field in fields:
            yield f"extend {field.extendee} {{"
            for line in self._field(field, nested, scope):
                yield f"  {line}"
            yield "}"

    def _service(self, service: descriptor_pb2.ServiceDescriptorProto) -> Iterator[str]:
        yield f"service {service.name} {{"
        yield from (f"  option {each};" for each in self._options(service.options))
        for method in service.method:
            takes = "stream " if method.client_streaming else ""
            gives = "stream " if method.server_streaming else ""
            head = (
                f"  rpc {method.name} ({takes}{method.input_type})"
                f" returns ({gives}{method.output_type})"
            )
            options = list(self._options(method.options))
            if options:
                yield f"{head} {{"
                yield from (f"    option {each};" for each in options)
                yield "  }"
            else:
                yield f"{head};"
        yield "}"

    def _reserved(self, names: Sequence[str]) -> str:
        # Editions reserve identifiers, older files texts.
        plain = self._file.syntax == "editions"
        return ", ".join(name if plain else _quoted(name) for name in names)

    def _bracketed(self, options: Message, before: Sequence[str] = ()) -> str:
        every = [*before, *self._options(options)]
        return f" [{', '.join(every)}]" if every else ""

    def _options(self, options: Message) -> Iterator[str]:
        """Yield ``name = value``; custom options are known in the pool alone."""
        data = options.SerializeToString()
        if not data:
            return
        described = self._pool.FindMessageTypeByName(options.DESCRIPTOR.full_name)
        known = message_factory.GetMessageClass(described).FromString(data)
        for field, value in known.ListFields():
            if field.name == "map_entry" and not field.is_extension:
                continue
            # With a dot in front the name is looked up from the outside, and means nothing else.
            name = f"(.{field.full_name})" if field.is_extension else field.name
            for each in value if field.is_repeated else (value,):
                yield f"{name} = {_value(field, each)}"


def _beside(message: descriptor_pb2.DescriptorProto, field: _Kind) -> list[_Kind]:
    """Return what is written together with a field: its oneof's fields, or itself."""
    if not field.HasField("oneof_index"):
        return [field]
    index = field.oneof_index
    return [
        each for each in message.field if each.HasField("oneof_index") and each.oneof_index == index
    ]


def _is_group(field: _Kind) -> bool:
    return field.type == _Kind.TYPE_GROUP


def _type(field: _Kind) -> str:
    return field.type_name or _WORDS[field.type]


def _value(field: FieldDescriptor, value: object) -> str:
    if isinstance(value, Message):
        return f"{{ {text_format.MessageToString(value, as_one_line=True, as_utf8=True)} }}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bytes):
        return '"' + "".join(f"\\x{byte:02x}" for byte in value) + '"'
    if field.enum_type is not None and isinstance(value, int):
        return str(field.enum_type.values_by_number[value].name)
    return repr(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\x{ord(m[0]):02x}", escaped) + '"'


def _span(first: int, last: int, largest: int) -> str:
    if first == last:
        return str(first)
    return f"{first} to {'max' if last == largest else last}"


def _json_name(name: str) -> str:
    """Return the name that protoc gives when none is stated."""
    return re.sub("_+(.?)", lambda match: match[1].upper(), name)
