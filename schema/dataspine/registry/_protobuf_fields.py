"""The fields of a Protobuf schema, each message spelled out wherever it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from dataspine.registry._cycle import Cycles
from dataspine.registry.field import NOTHING, Annotations, Field, add_field, read_annotations

__all__ = ["Comments", "ProtobufFields"]

_Kind = descriptor_pb2.FieldDescriptorProto
_SCALARS: dict[int, str] = {
    _Kind.TYPE_DOUBLE: "double",
    _Kind.TYPE_FLOAT: "float",
    _Kind.TYPE_INT64: "long",
    _Kind.TYPE_UINT64: "long",
    _Kind.TYPE_INT32: "int",
    _Kind.TYPE_FIXED64: "long",
    _Kind.TYPE_FIXED32: "int",
    _Kind.TYPE_BOOL: "boolean",
    _Kind.TYPE_STRING: "string",
    _Kind.TYPE_GROUP: "record",
    _Kind.TYPE_MESSAGE: "record",
    _Kind.TYPE_BYTES: "bytes",
    _Kind.TYPE_UINT32: "int",
    _Kind.TYPE_ENUM: "enum",
    _Kind.TYPE_SFIXED32: "int",
    _Kind.TYPE_SFIXED64: "long",
    _Kind.TYPE_SINT32: "int",
    _Kind.TYPE_SINT64: "long",
}
# Messages that stand for one value.
_VALUES = {
    ".google.protobuf.Timestamp": "timestamp",
    ".google.protobuf.Duration": "duration",
    ".google.protobuf.DoubleValue": "double",
    ".google.protobuf.FloatValue": "float",
    ".google.protobuf.Int64Value": "long",
    ".google.protobuf.UInt64Value": "long",
    ".google.protobuf.Int32Value": "int",
    ".google.protobuf.UInt32Value": "int",
    ".google.protobuf.BoolValue": "boolean",
    ".google.protobuf.StringValue": "string",
    ".google.protobuf.BytesValue": "bytes",
    ".google.protobuf.Any": "record",
    ".google.protobuf.Struct": "record",
    ".google.protobuf.Value": "union",
    ".google.protobuf.ListValue": "array",
    ".confluent.type.Decimal": "decimal",
}


class Comments:
    """The comments and lines of one file, by the descriptor's path."""

    def __init__(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        self.lines: dict[tuple[int, ...], int] = {}
        self.texts: dict[tuple[int, ...], tuple[str, str]] = {}
        for location in file.source_code_info.location:
            path = tuple(location.path)
            self.lines.setdefault(path, location.span[0] + 1)
            if location.leading_comments or location.trailing_comments:
                self.texts[path] = (location.leading_comments, location.trailing_comments)


@dataclass(frozen=True, slots=True)
class _Known:
    """A message, where it is described, and the comments of its file."""

    message: descriptor_pb2.DescriptorProto
    path: tuple[int, ...]
    comments: Comments
    foreign: bool


@dataclass(frozen=True, slots=True)
class _Place:
    path: str
    name: str
    record: str
    doc: str
    line: int | None


class ProtobufFields:
    """Collects the fields of a file's messages, each message spelled out wherever it is used."""

    def __init__(self, files: descriptor_pb2.FileDescriptorSet, comments: Comments) -> None:
        self._main = files.file[-1]
        self._messages: dict[str, _Known] = {}
        for file in files.file:
            own = comments if file is self._main else Comments(file)
            prefix = f".{file.package}" if file.package else ""
            for index, message in enumerate(file.message_type):
                self._learn(message, prefix, _Known(message, (4, index), own, own is not comments))
        self._cycles = Cycles()
        self._seen: set[str] = set()
        self._fields: list[Field] = []

    def all(self) -> tuple[Field, ...]:
        """Return the fields of every message; the first one needs no name in its paths."""
        prefix = f".{self._main.package}." if self._main.package else "."
        names = [prefix + message.name for message in self._main.message_type]
        for index, name in enumerate(names):
            start = "" if index == 0 else f"{self._messages[name].message.name}/"
            self._message(name, start, "", NOTHING)
        for name, known in self._messages.items():
            hidden = known.foreign or known.message.options.map_entry
            if not hidden and name not in self._seen:
                self._message(name, f"{name.removeprefix(prefix)}/", "", NOTHING)
        return self._cycles.finish(self._fields)

    def _learn(self, message: descriptor_pb2.DescriptorProto, prefix: str, known: _Known) -> None:
        name = f"{prefix}.{message.name}"
        self._messages[name] = known
        for index, inner in enumerate(message.nested_type):
            path = (*known.path, 3, index)
            self._learn(inner, name, replace(known, message=inner, path=path))

    def _message(self, name: str, start: str, dot: str, above: Annotations) -> None:
        known = self._messages.get(name)
        if known is None:
            return
        if self._cycles.is_open(name):
            self._cycles.close(name, len(self._fields) - 1)
            return
        self._cycles.enter(name, len(self._fields))
        self._seen.add(name)
        noted = _annotations(known.comments.texts.get(known.path), known.message.options)
        above = noted.contents().joined(above)
        for index, field in enumerate(known.message.field):
            path = (*known.path, 2, index)
            texts = known.comments.texts.get(path)
            own = _annotations(texts, field.options)
            line = None if known.foreign else known.comments.lines.get(path)
            place = _Place(
                f"{start}{dot}{field.name}",
                field.name,
                name.lstrip("."),
                " ".join(" ".join(texts or ()).split()),
                line,
            )
            self._field(field, place, own, above)
        self._cycles.leave(name, len(self._fields))

    def _field(self, field: _Kind, place: _Place, own: Annotations, above: Annotations) -> None:
        known = self._messages.get(field.type_name)
        if known is not None and known.message.options.map_entry:
            self._add("map", place, own, above)
            value = known.message.field[1]
            self._value(value, replace(place, path=f"{place.path}{{}}"), own, above)
        elif field.label == _Kind.LABEL_REPEATED:
            self._add("array", place, own, above)
            self._value(field, replace(place, path=f"{place.path}[]"), own, above)
        else:
            self._value(field, place, own, above)

    def _value(self, field: _Kind, place: _Place, own: Annotations, above: Annotations) -> None:
        value = _VALUES.get(field.type_name)
        self._add(value or _SCALARS[field.type], place, own, above)
        if value is None:
            self._message(field.type_name, place.path, ".", own.contents().joined(above))

    def _add(self, kind: str, place: _Place, own: Annotations, above: Annotations) -> None:
        add_field(
            self._fields,
            Field.of(
                place.path,
                kind,
                doc=place.doc,
                name=place.name,
                record=place.record,
                own=own,
                inherited=above,
                line=place.line,
            ),
            what="messages",
        )


def _annotations(texts: tuple[str, str] | None, options: Message) -> Annotations:
    meta = _meta(options)
    params: Mapping[str, str] = dict(meta.params)
    return read_annotations(
        (*(texts or ()), meta.doc),
        tags=meta.tags,
        retention=params.get("retention", params.get("retain")),
    )


def _meta(options: Message) -> _Meta:
    # The option arrives as an extension that this process has no code for; a message with one
    # field of the same number reads it from the same bytes.
    data = options.SerializeToString()
    if not data:
        return _Meta("", (), ())
    view = _VIEW()
    try:
        view.ParseFromString(data)
    except DecodeError:
        return _Meta("", (), ())
    meta = getattr(view, "meta")  # noqa: B009 - the class is made at run time
    return _Meta(
        meta.doc, tuple((entry.key, entry.value) for entry in meta.params), tuple(meta.tags)
    )


@dataclass(frozen=True, slots=True)
class _Meta:
    doc: str
    params: tuple[tuple[str, str], ...]
    tags: tuple[str, ...]


def _view() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(
        name="options_view.proto", package="dataspine", syntax="proto3"
    )
    param = file.message_type.add(name="Param")
    param.field.add(name="key", number=1, type=_Kind.TYPE_STRING, label=_Kind.LABEL_OPTIONAL)
    param.field.add(name="value", number=2, type=_Kind.TYPE_STRING, label=_Kind.LABEL_OPTIONAL)
    meta = file.message_type.add(name="Meta")
    meta.field.add(name="doc", number=1, type=_Kind.TYPE_STRING, label=_Kind.LABEL_OPTIONAL)
    meta.field.add(
        name="params",
        number=2,
        type=_Kind.TYPE_MESSAGE,
        type_name=".dataspine.Param",
        label=_Kind.LABEL_REPEATED,
    )
    meta.field.add(name="tags", number=3, type=_Kind.TYPE_STRING, label=_Kind.LABEL_REPEATED)
    view = file.message_type.add(name="OptionsView")
    view.field.add(
        name="meta",
        number=1088,
        type=_Kind.TYPE_MESSAGE,
        type_name=".dataspine.Meta",
        label=_Kind.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("dataspine.OptionsView"))


_VIEW = _view()
