"""Protobuf schemas: compiled by protoc in a worker, read as descriptors."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from dataspine.core.canonical import canonical, sha256
from dataspine.core.errors import InputError
from dataspine.registry._json import invalid
from dataspine.registry._proto_dialect import for_protoc, with_maps
from dataspine.registry._workers import ProtobufWorkers
from dataspine.registry.field import NOTHING, Annotations, Field, read_annotations
from dataspine.registry.proto_text import proto_text

__all__ = ["BUILT_IN", "Protobuf", "descriptor_as_text", "parse_protobuf"]

MAIN = "schema.proto"
MAX_CHARACTERS = 1_048_576
MAX_FIELDS = 10_000
BUILT_IN = ("google/protobuf/", "google/type/", "confluent/")

_BASE64 = re.compile(r"[A-Za-z0-9+/]{4,}={0,2}")
_ERROR = re.compile(r"(?P<file>[^:\n]+?):(?P<line>\d+):(?P<column>\d+): (?P<problem>[^\n]*)")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*){0,15}")

# The options that are more than words; features decide presence, packing and delimiters.
_WIRE_OPTIONS = frozenset({"packed", "map_entry", "message_set_wire_format", "features"})

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


@dataclass(frozen=True, slots=True)
class Protobuf:
    """A parsed Protobuf schema: its canonical form, its fields, and the compiled files.

    ``structure`` is the files, but built-in ones, without comments and options that are only words;
    the last of ``files`` is the main file, and ``lines`` are its lines by descriptor path.
    ``described`` names the main file without comments, which generated code does not have.
    """

    canonical: str
    described: str
    is_commented: bool
    structure: bytes
    fields: tuple[Field, ...]
    files: tuple[descriptor_pb2.FileDescriptorProto, ...]
    lines: Mapping[tuple[int, ...], int]

    def serialized(self) -> str:
        """Return the main file's descriptor, without comments and lines, in base64."""
        return _serialized(_bare(self.files[-1]))


def parse_protobuf(
    text: str, dependencies: Sequence[tuple[str, str]], workers: ProtobufWorkers
) -> Protobuf:
    """Parse a ``.proto`` text, or raise ``InputError`` with code ``registry.invalid_schema``.

    ``dependencies`` are (import path, text); ``BUILT_IN`` files are known.
    """
    sources = dict(dependencies)
    for name in sources:
        if not _PATH.fullmatch(name) or ".." in name or name == MAIN:
            raise invalid(f"{name!r} is no import path", None, "Write it like shop/order.proto.")
    sources[MAIN] = text
    for name, content in sources.items():
        _require_text(content, "" if name == MAIN else name)
    found = _compiled(sources, workers)
    main = found.file[-1]
    comments = _Comments(main)
    walk = _Walk(found, comments)
    walk.all()
    arranged, moves = _oneofs_last(main)
    texts = {_moved(path, moves): pair for path, pair in comments.texts.items()}
    notes = [[list(path), *pair] for path, pair in sorted(texts.items())]
    described = _serialized(arranged)
    return Protobuf(
        canonical({"file": described, "comments": notes}).decode(),
        sha256(described.encode()),
        bool(notes),
        b"".join(_structure(f) for f in found.file if not f.name.startswith(BUILT_IN)),
        tuple(walk.fields),
        tuple(found.file),
        comments.lines,
    )


def descriptor_as_text(
    text: str, dependencies: Sequence[tuple[str, str]], workers: ProtobufWorkers
) -> str:
    """Return the text of a descriptor that came in base64, as stock clients register it.

    What is no base64 is a text already. Raises ``InputError`` for base64 of something else.
    """
    if len(text) > MAX_CHARACTERS or not _BASE64.fullmatch(text):
        return text
    file = descriptor_pb2.FileDescriptorProto()
    try:
        file.ParseFromString(base64.b64decode(text, validate=True))
    except (DecodeError, ValueError):
        raise invalid("this base64 is no descriptor", 1, "Send the .proto text.") from None
    file.name = MAIN
    imports = "".join(f"import {json.dumps(name)};\n" for name in file.dependency)
    sources = {**dict(dependencies), MAIN: f'syntax = "proto3";\n{imports}'}
    *needed, _ = _compiled(sources, workers).file
    try:
        return proto_text(file, needed)
    except (TypeError, ValueError, KeyError) as error:
        problem = f"the descriptor cannot be read: {str(error)[:300]}"
        raise invalid(problem, 1, "Send the .proto text.") from None


def _compiled(
    sources: Mapping[str, str], workers: ProtobufWorkers
) -> descriptor_pb2.FileDescriptorSet:
    """Return the main file with all that it imports, the imported ones first."""
    compiled, errors = workers.compile(
        MAIN, {name: for_protoc(text) for name, text in sources.items()}
    )
    if errors:
        raise _located(errors)
    found = descriptor_pb2.FileDescriptorSet.FromString(compiled)
    for file in found.file:
        with_maps(file, sources.get(file.name, ""))
    return found


def _bare(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    """Return a copy without comments and lines."""
    copy = descriptor_pb2.FileDescriptorProto()
    copy.CopyFrom(file)
    copy.ClearField("source_code_info")
    return copy


def _serialized(bare: descriptor_pb2.FileDescriptorProto) -> str:
    return base64.b64encode(bare.SerializeToString(deterministic=True)).decode()


_Path = tuple[int, ...]


def _oneofs_last(
    file: descriptor_pb2.FileDescriptorProto,
) -> tuple[descriptor_pb2.FileDescriptorProto, dict[_Path, _Path]]:
    """Return a bare file with the fields of oneofs after the others, and where each field went.

    Java's clients write them so, and those of other languages as the author did: it is one schema.
    """
    arranged = _bare(file)
    moves: dict[_Path, _Path] = {}
    todo: list[tuple[_Path, descriptor_pb2.DescriptorProto]] = [
        ((4, index), message) for index, message in enumerate(arranged.message_type)
    ]
    while todo:
        path, message = todo.pop()
        todo += [((*path, 3, index), inner) for index, inner in enumerate(message.nested_type)]
        rank = [_oneof(field) for field in message.field]
        if rank != sorted(rank):
            order = sorted(range(len(rank)), key=rank.__getitem__)
            moves |= {(*path, 2, old): (*path, 2, new) for new, old in enumerate(order)}
            message.field.sort(key=_oneof)
    return arranged, moves


def _oneof(field: descriptor_pb2.FieldDescriptorProto) -> int:
    is_chosen = field.HasField("oneof_index") and not field.proto3_optional
    return field.oneof_index if is_chosen else -1


def _moved(path: _Path, moves: Mapping[_Path, _Path]) -> _Path:
    for end in range(4, len(path) + 1):
        if path[:end] in moves:
            return (*moves[path[:end]], *path[end:])
    return path


def _require_text(text: str, where: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise invalid(
            f"{len(text)} characters are over the limit of {MAX_CHARACTERS}",
            1,
            "Split the schema and use imports.",
            where=where,
        )
    if not text.strip():
        raise invalid("the text is empty", 1, "Write a message.", where=where)
    odd = _NO_TEXT.search(text)
    if odd is not None:
        line = text.count("\n", 0, odd.start()) + 1
        raise invalid("a character that no text file has", line, "Remove it.", where=where)


def _located(errors: str) -> InputError:
    for match in _ERROR.finditer(errors):
        where = "" if match["file"] == MAIN else match["file"]
        problem = f"{match['problem']} (column {match['column']})"
        return invalid(problem, int(match["line"]), "Correct the schema there.", where=where)
    return invalid(errors.splitlines()[0][:500], 1, "Correct the schema.")


def _structure(file: descriptor_pb2.FileDescriptorProto) -> bytes:
    bare = _bare(file)
    del bare.dependency[:]
    _clear_words(bare)
    return bare.SerializeToString(deterministic=True)


def _clear_words(part: Message) -> None:
    """Leave only the options that readers and writers depend on, here and in all that is inside."""
    for field, value in part.ListFields():
        if field.name == "options":
            kept = type(value)()
            for option, setting in value.ListFields():
                if option.name in _WIRE_OPTIONS and not option.is_extension:
                    _set(kept, option.name, setting)
            part.ClearField("options")
            if kept.ListFields():
                _set(part, "options", kept)
        elif field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                _clear_words(inner)


def _set(part: Message, name: str, value: object) -> None:
    if isinstance(value, Message):
        getattr(part, name).CopyFrom(value)
    else:
        setattr(part, name, value)


class _Comments:
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
    comments: _Comments
    foreign: bool


@dataclass(frozen=True, slots=True)
class _Place:
    path: str
    name: str
    record: str
    doc: str
    line: int | None


class _Walk:
    """Collects the fields of a file's messages, each message spelled out wherever it is used."""

    def __init__(self, files: descriptor_pb2.FileDescriptorSet, comments: _Comments) -> None:
        self._main = files.file[-1]
        self._messages: dict[str, _Known] = {}
        for file in files.file:
            own = comments if file is self._main else _Comments(file)
            prefix = f".{file.package}" if file.package else ""
            for index, message in enumerate(file.message_type):
                self._learn(message, prefix, _Known(message, (4, index), own, own is not comments))
        self._open: set[str] = set()
        self._seen: set[str] = set()
        self.fields: list[Field] = []

    def all(self) -> None:
        """Walk every message of the main file; the first one needs no name in its paths."""
        prefix = f".{self._main.package}." if self._main.package else "."
        names = [prefix + message.name for message in self._main.message_type]
        for index, name in enumerate(names):
            start = "" if index == 0 else f"{self._messages[name].message.name}/"
            self._message(name, start, "", NOTHING)
        for name, known in self._messages.items():
            hidden = known.foreign or known.message.options.map_entry
            if not hidden and name not in self._seen:
                self._message(name, f"{name.removeprefix(prefix)}/", "", NOTHING)

    def _learn(self, message: descriptor_pb2.DescriptorProto, prefix: str, known: _Known) -> None:
        name = f"{prefix}.{message.name}"
        self._messages[name] = known
        for index, inner in enumerate(message.nested_type):
            path = (*known.path, 3, index)
            self._learn(inner, name, replace(known, message=inner, path=path))

    def _message(self, name: str, start: str, dot: str, above: Annotations) -> None:
        known = self._messages.get(name)
        if known is None or name in self._open:
            return
        self._open.add(name)
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
        self._open.remove(name)

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
        if len(self.fields) >= MAX_FIELDS:
            raise invalid(
                f"more than {MAX_FIELDS} fields, messages spelled out",
                place.line,
                "Split the schema into several subjects.",
            )
        self.fields.append(
            Field.of(
                place.path,
                kind,
                doc=place.doc,
                name=place.name,
                record=place.record,
                own=own,
                inherited=above,
                line=place.line,
            )
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
