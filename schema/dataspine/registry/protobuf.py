"""Protobuf schemas: compiled by protoc in a worker, read as descriptors."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError, Message

from dataspine.core.canonical import canonical, sha256
from dataspine.core.errors import InputError
from dataspine.registry._json import invalid
from dataspine.registry._proto_dialect import for_protoc, with_maps
from dataspine.registry._protobuf_fields import Comments, ProtobufFields
from dataspine.registry._workers import ProtobufWorkers
from dataspine.registry.field import Field
from dataspine.registry.proto_text import proto_text

__all__ = ["BUILT_IN", "Protobuf", "descriptor_as_text", "parse_protobuf"]

MAIN = "schema.proto"
MAX_CHARACTERS = 1_048_576
BUILT_IN = ("google/protobuf/", "google/type/", "confluent/")

_BASE64 = re.compile(r"[A-Za-z0-9+/]{4,}={0,2}")
_ERROR = re.compile(r"(?P<file>[^:\n]+?):(?P<line>\d+):(?P<column>\d+): (?P<problem>[^\n]*)")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*){0,15}")

# The options that are more than words; features decide presence, packing and delimiters.
_WIRE_OPTIONS = frozenset({"packed", "map_entry", "message_set_wire_format", "features"})


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
    comments = Comments(main)
    fields = ProtobufFields(found, comments).all()
    arranged, moves = _oneofs_last(main)
    texts = {_moved(path, moves): pair for path, pair in comments.texts.items()}
    notes = [[list(path), *pair] for path, pair in sorted(texts.items())]
    described = _serialized(arranged)
    return Protobuf(
        canonical({"file": described, "comments": notes}).decode(),
        sha256(described.encode()),
        bool(notes),
        b"".join(_structure(f) for f in found.file if not f.name.startswith(BUILT_IN)),
        fields,
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
