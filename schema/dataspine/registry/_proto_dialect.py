"""What Confluent's clients write in a ``.proto`` text that protoc does not take.

Their Java serializer writes a map as its entries, and their converter uses the options of
``confluent/meta.proto`` without importing it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from google.protobuf import descriptor_pb2

from dataspine.registry._json import invalid

__all__ = ["for_protoc", "with_maps"]

# protoc refuses a written `map_entry`. This option, which nobody else has a use for, stands for it.
_MARK: Final = "no_standard_descriptor_accessor"
_META = "confluent/meta.proto"

_WORDS = re.compile(
    r"""//[^\n]*|/\*.*?(?:\*/|\Z)|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)
_ENTRY = re.compile(r"\boption\s+(map_entry)\s*=\s*true\s*;")
_USES_META = re.compile(r"\(\s*\.?confluent\.(?:file|message|field|enum|enum_value)_meta\b")
_IMPORTS_META = re.compile(rf"""\bimport\s+(?:public\s+|weak\s+)?["']{_META}["']""")
_FIRST = re.compile(r"\s*(?:syntax|edition)\s*=\s*[^;]*;")

_Field = descriptor_pb2.FieldDescriptorProto
_NO_KEY = frozenset(
    {
        _Field.TYPE_FLOAT,
        _Field.TYPE_DOUBLE,
        _Field.TYPE_BYTES,
        _Field.TYPE_ENUM,
        _Field.TYPE_MESSAGE,
        _Field.TYPE_GROUP,
    }
)


def for_protoc(text: str) -> str:
    """Return a text that protoc takes, with the same lines; ``with_maps`` completes its answer."""
    if "map_entry" not in text and "confluent" not in text:
        return text
    bare = _WORDS.sub(_blank, text)
    for match in reversed(list(_ENTRY.finditer(bare))):
        text = f"{text[: match.start(1)]}{_MARK}{text[match.end(1) :]}"
    if _USES_META.search(bare) and not _IMPORTS_META.search(_without_comments(text)):
        first = _FIRST.match(bare)
        start = first.end() if first is not None else 0
        text = f'{text[:start]} import "{_META}";{text[start:]}'
    return text


def with_maps(file: descriptor_pb2.FileDescriptorProto, text: str) -> None:
    """Make maps of the entries that were written in a file's text, or raise ``InputError``."""
    if _MARK in text or "map_entry" not in text:
        return
    for parent, message in _nested(file):
        if message.options.no_standard_descriptor_accessor:
            if parent is None or not _is_entry(parent, message):
                raise invalid(
                    f"{message.name} is no entry of a map", None, "Write it as map<key, value>."
                )
            message.options.ClearField(_MARK)
            message.options.map_entry = True


def _nested(
    file: descriptor_pb2.FileDescriptorProto,
) -> Iterator[tuple[descriptor_pb2.DescriptorProto | None, descriptor_pb2.DescriptorProto]]:
    todo: list[tuple[descriptor_pb2.DescriptorProto | None, descriptor_pb2.DescriptorProto]] = [
        (None, message) for message in file.message_type
    ]
    while todo:
        parent, message = todo.pop()
        yield parent, message
        todo += [(message, inner) for inner in message.nested_type]


def _is_entry(
    parent: descriptor_pb2.DescriptorProto, message: descriptor_pb2.DescriptorProto
) -> bool:
    """Tell whether a message is what protoc itself would make of a map."""
    fields = [(f.name, f.number, f.label == f.LABEL_OPTIONAL) for f in message.field]
    users = [
        field
        for field in parent.field
        if field.type_name.endswith(f".{parent.name}.{message.name}")
    ]
    return (
        fields == [("key", 1, True), ("value", 2, True)]
        and message.field[0].type not in _NO_KEY
        and [_entry_name(f.name) for f in users if f.label == f.LABEL_REPEATED] == [message.name]
        and not (message.nested_type or message.enum_type or message.oneof_decl)
    )


def _entry_name(field: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in field.split("_")) + "Entry"


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _without_comments(text: str) -> str:
    return _WORDS.sub(lambda match: match[0] if match[0][0] in "\"'" else _blank(match), text)
