"""What changed between two Protobuf schemas, and whom it breaks.

No library has these rules. They are Confluent's: which changes of fields, oneofs, messages and
packages break readers. The groups of types that share the wire are those of the Protocol Buffers
language guide, "Updating a message type". Each rule has its cases in
``tests/registry/protobuf_compatibility.yaml``, whose verdicts are those of Confluent's own checker.
The rules are the same in both directions: forward is backward with the schemas exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from dataspine.registry import _oneof
from dataspine.registry._change import Change, Fault
from dataspine.registry._protobuf_side import (
    MAP,
    MERGED,
    Side,
    category,
    entry,
    name,
    nested,
)
from dataspine.registry.protobuf import BUILT_IN, Protobuf

__all__ = ["protobuf_changes"]

_NEW_NUMBER = "keep it as it was, or add a field with a new number"
_CAME = Fault(
    "a message was added that old readers do not know",
    "put it into a file that is imported, or use a BACKWARD level",
)
_WENT = Fault(
    "the message was removed, and old records may hold it",
    "keep the message, or publish under another subject",
)
_LEFT = Fault(
    "the field was removed from its oneof, which looks unset in old data",
    "leave it where it was, or remove the whole oneof",
)
_ADDED = Fault(
    "the field was added to a oneof, which looks unset to old readers when it is chosen",
    "add it outside of the oneof",
)
_JOINED = Fault(
    "the field is now in a oneof with fields that old data set beside it",
    "leave it where it was, or use a new number",
)
_PARTED = Fault(
    "the field left a oneof of which old readers keep one field only",
    "leave it where it was, or use a new number",
)


def protobuf_changes(old: Protobuf, new: Protobuf) -> tuple[Change, ...]:
    """Return every change with whom it breaks, in the order of the new schema, then of the old.

    Fields are compared by number, all else by its name without the package. Compared are the
    messages of the main file and those that they use, imported ones too.
    """
    return tuple(_Comparison(Side(old), Side(new)).changes())


class _Pair(NamedTuple):
    """Two messages of one name, still to be compared; ``start`` is the path of their fields.

    ``silent`` are those that Confluent never looks at: their changes are told, and break nobody.
    """

    old: Descriptor
    new: Descriptor
    start: str
    silent: bool = False


class _Comparison:
    """Two schemas, compared once from the first message on."""

    def __init__(self, old: Side, new: Side) -> None:
        self._old, self._new = old, new
        self._seen: set[tuple[str, str, bool]] = set()

    def changes(self) -> Iterator[Change]:
        yield from self._files()
        # Messages of the main file that came and went; nobody looks for them elsewhere.
        yield from self._came_and_went(self._old.messages, self._new.messages)
        for index, (path, message) in enumerate(self._new.messages.items()):
            before = self._old.messages.get(path)
            if before is not None:
                yield from self._reached(_Pair(before, message, "" if index == 0 else f"{path}/"))
        yield from self._enums()
        yield from self._services()

    def _files(self) -> Iterator[Change]:
        before, after = self._old.proto.package, self._new.proto.package
        if before != after:
            fault = Fault(
                f"the package changed from {before or 'none'} to {after or 'none'}",
                "keep the package, or publish under another subject",
            )
            yield Change("changed", "package", "package", None, before, after, fault, fault)
        before, after = _syntax(self._old.proto), _syntax(self._new.proto)
        if before != after:
            yield Change("changed", "syntax", "syntax", None, before, after)
        before_all, after_all = list(self._old.proto.dependency), list(self._new.proto.dependency)
        for path in after_all:
            if path not in before_all:
                yield Change("added", "import", path, None, None, path)
        for path in before_all:
            if path not in after_all:
                yield Change("removed", "import", path, None, path)

    def _came_and_went(
        self, before: Mapping[str, Descriptor], after: Mapping[str, Descriptor]
    ) -> Iterator[Change]:
        for path, message in after.items():
            if path not in before:
                line = self._new.line(message.full_name)
                yield Change("added", "message", path, line, None, f"message {path}", None, _CAME)
        for path, message in before.items():
            if path not in after:
                line = self._old.line(message.full_name)
                yield Change("removed", "message", path, line, f"message {path}", None, _WENT)

    def _reached(self, pair: _Pair) -> Iterator[Change]:
        """Compare two messages and all that they use; each pair once, where it is met first."""
        # A stack and no recursion: messages may be linked thousands deep.
        todo = [pair]
        while todo:
            pair = todo.pop()
            key = (pair.old.full_name, pair.new.full_name, pair.silent)
            if key in self._seen or _is_built_in(pair):
                continue
            self._seen.add(key)
            for change in self._message(pair):
                yield replace(change, backward=None, forward=None) if pair.silent else change
            todo += reversed([*self._used(pair), *self._inside(pair)])

    def _used(self, pair: _Pair) -> Iterator[_Pair]:
        """Yield the messages of the fields that both schemas have, with the path inside."""
        for find, silent in ((Side.fields, pair.silent), (Side.others, True)):
            before, after = find(self._old, pair.old), find(self._new, pair.new)
            for number, field in after.items():
                if number not in before:
                    continue
                was, now, path = before[number], field, pair.start + field.name
                maps = entry(was), entry(now)
                if maps[0] is not None and maps[1] is not None:
                    was, now, path = maps[0][1], maps[1][1], f"{path}{{}}"
                elif now.is_repeated:
                    path += "[]"
                inner = was.message_type, now.message_type
                if (
                    inner[0] is not None
                    and inner[1] is not None
                    and category(was) == category(now) != MAP
                    and name(inner[0]) == name(inner[1])
                ):
                    yield _Pair(inner[0], inner[1], f"{path}.", silent)

    def _inside(self, pair: _Pair) -> Iterator[_Pair]:
        """Yield the messages inside of imported ones; those of the main file are roots."""
        if self._is_main(pair):
            return
        before, after = nested(pair.old), nested(pair.new)
        for path, message in after.items():
            if path in before:
                yield _Pair(before[path], message, f"{path}/", pair.silent)

    def _is_main(self, pair: _Pair) -> bool:
        files = pair.old.file.name, pair.new.file.name
        return files == (self._old.proto.name, self._new.proto.name)

    def _message(self, pair: _Pair) -> Iterator[Change]:
        yield from self._fields(pair)
        yield from self._others(pair)
        yield from self._order(pair)
        yield from self._reserved(pair)
        if not self._is_main(pair):
            yield from self._came_and_went(nested(pair.old), nested(pair.new))

    def _fields(self, pair: _Pair) -> Iterator[Change]:
        before, after = self._old.fields(pair.old), self._new.fields(pair.new)
        gone, come = self._old.oneofs(pair.old), self._new.oneofs(pair.new)
        left, added = _oneof.lost(gone, come, after), _oneof.lost(come, gone, before)
        joined, parted = _oneof.joined(gone, come, before), _oneof.joined(come, gone, after)
        for number, field in after.items():
            path, line = pair.start + field.name, self._new.line(field.full_name)
            if number not in before:
                fault = _ADDED if number in added else None
                faults = _required("added") if field.is_required else (None, fault)
                yield Change("added", "field", path, line, None, self._new.text(field), *faults)
                continue
            yield from self._field(before[number], field, path)
            was, now = self._old.oneof(before[number]), self._new.oneof(field)
            moves = (
                _JOINED if number in joined else None,
                _PARTED if number in parted else None,
            )
            if was != now or any(moves):
                yield Change("changed", "oneof", path, line, was, now, *moves)
        for number, field in before.items():
            if number not in after:
                fault = _LEFT if number in left else None
                faults = _required("removed") if field.is_required else (fault, None)
                path, line = pair.start + field.name, self._old.line(field.full_name)
                yield Change("removed", "field", path, line, self._old.text(field), None, *faults)

    def _others(self, pair: _Pair) -> Iterator[Change]:
        """Yield what happened to groups and extensions; Confluent lets all of it pass."""
        before, after = self._old.others(pair.old), self._new.others(pair.new)
        for number, field in after.items():
            path, line = pair.start + field.name, self._new.line(field.full_name)
            if number not in before:
                yield Change("added", "field", path, line, None, self._new.text(field))
                continue
            for change in self._field(before[number], field, path):
                yield replace(change, backward=None, forward=None)
        for number, field in before.items():
            if number not in after:
                path, line = pair.start + field.name, self._old.line(field.full_name)
                yield Change("removed", "field", path, line, self._old.text(field), None)

    def _field(self, old: FieldDescriptor, new: FieldDescriptor, path: str) -> Iterator[Change]:
        line = self._new.line(new.full_name)
        before, after = self._old.text(old), self._new.text(new)
        faults = self._faults(old, new)
        if before != after or any(faults):
            yield Change("changed", "type", path, line, before, after, *faults)
        if old.name != new.name:
            yield Change("changed", "name", path, line, old.name, new.name)
        elif old.json_name != new.json_name:
            yield Change("changed", "json name", path, line, old.json_name, new.json_name)
        if _default(old) != _default(new):
            yield Change("changed", "default", path, line, _default(old), _default(new))
        for what, was, now in (
            ("packed", _packed(old), _packed(new)),
            ("presence", self._old.presence(old), self._new.presence(new)),
        ):
            if was != now and was is not None and now is not None:
                yield Change("changed", what, path, line, was, now)

    def _faults(
        self, old: FieldDescriptor, new: FieldDescriptor
    ) -> tuple[Fault | None, Fault | None]:
        """Return whom a changed type or label breaks."""
        if self._is_another_type(old, new):
            before, after = self._old.text(old), self._new.text(new)
            fault = Fault(f"field {old.number} changed from {before} to {after}", _NEW_NUMBER)
            return fault, fault
        if category(old) not in MERGED | {MAP}:
            labels = self._old.label(old), self._new.label(new)
            if None not in labels and labels[0] != labels[1]:
                problem = f"field {old.number} changed from {labels[0]} to {labels[1]}"
                fault = Fault(f"{problem}, and a number keeps its label", _NEW_NUMBER)
                return fault, fault
        return None, None

    def _is_another_type(self, old: FieldDescriptor, new: FieldDescriptor) -> bool:
        if category(old) != category(new):
            return True
        maps = entry(old), entry(new)
        if maps[0] is not None and maps[1] is not None:
            pairs = zip(maps[0], maps[1], strict=True)
            return any(self._is_another_type(was, now) for was, now in pairs)
        if old.message_type is not None and new.message_type is not None:
            return name(old.message_type) != name(new.message_type)
        return False

    def _order(self, pair: _Pair) -> Iterator[Change]:
        old, new = pair.old, pair.new
        before, after = ({f.number: None for f in side.fields} for side in (old, new))
        if [n for n in before if n in after] != [n for n in after if n in before]:
            was, now = (", ".join(f.name for f in side.fields) for side in (old, new))
            path = pair.start.rstrip("./") or name(new)
            yield Change("changed", "order", path, self._new.line(new.full_name), was, now)

    def _reserved(self, pair: _Pair) -> Iterator[Change]:
        before, after = _reserved(pair.old), _reserved(pair.new)
        if before != after:
            path, line = name(pair.new), self._new.line(pair.new.full_name)
            yield Change("changed", "reserved", path, line, before, after)

    def _enums(self) -> Iterator[Change]:
        """Yield what happened to enums; the wire has their numbers only, so nothing breaks."""
        for path, enum in self._new.enums.items():
            line = self._new.line(enum.full_name)
            if path not in self._old.enums:
                yield Change("added", "enum", path, line, None, f"enum {path}")
                continue
            before = {value.name: value.number for value in self._old.enums[path].values}
            for value in enum.values:
                place = f"{path}.{value.name}"
                line = self._new.line(f"{enum.full_name}.{value.name}")
                number = before.pop(value.name, None)
                if number is None:
                    yield Change("added", "value", place, line, None, str(value.number))
                elif number != value.number:
                    yield Change("changed", "value", place, line, str(number), str(value.number))
            for gone, number in before.items():
                line = self._old.line(f"{self._old.enums[path].full_name}.{gone}")
                yield Change("removed", "value", f"{path}.{gone}", line, str(number))
        for path, enum in self._old.enums.items():
            if path not in self._new.enums:
                line = self._old.line(enum.full_name)
                yield Change("removed", "enum", path, line, f"enum {path}")

    def _services(self) -> Iterator[Change]:
        before, after = _methods(self._old.proto), _methods(self._new.proto)
        for path, method in after.items():
            if path not in before:
                yield Change("added", "method", path, None, None, method)
            elif before[path] != method:
                yield Change("changed", "method", path, None, before[path], method)
        for path, method in before.items():
            if path not in after:
                yield Change("removed", "method", path, None, method)


def _is_built_in(pair: _Pair) -> bool:
    return pair.old.file.name == pair.new.file.name and pair.new.file.name.startswith(BUILT_IN)


def _required(way: str) -> tuple[Fault | None, Fault | None]:
    # Confluent refuses it in both directions (#2148); only optional fields come and go.
    fault = Fault(f"a required field was {way}", "let only optional fields come and go")
    return fault, fault


def _default(field: FieldDescriptor) -> str | None:
    return repr(field.default_value) if field.has_default_value else None


def _packed(field: FieldDescriptor) -> str | None:
    return str(field.is_packed).lower() if field.is_repeated else None


def _syntax(file: descriptor_pb2.FileDescriptorProto) -> str:
    if file.syntax == "editions":
        return f"edition {descriptor_pb2.Edition.Name(file.edition).removeprefix('EDITION_')}"
    return file.syntax or "proto2"


def _reserved(message: Descriptor) -> str | None:
    proto = descriptor_pb2.DescriptorProto()
    message.CopyToProto(proto)
    spans = [
        str(span.start) if span.end == span.start + 1 else f"{span.start} to {span.end - 1}"
        for span in sorted(proto.reserved_range, key=lambda span: span.start)
    ]
    return ", ".join([*spans, *(repr(name) for name in sorted(proto.reserved_name))]) or None


def _methods(file: descriptor_pb2.FileDescriptorProto) -> dict[str, str]:
    def short(full: str, *, streams: bool) -> str:
        return ("stream " if streams else "") + full.removeprefix(f".{file.package}").lstrip(".")

    return {
        f"{service.name}.{method.name}": (
            f"{short(method.input_type, streams=method.client_streaming)} -> "
            f"{short(method.output_type, streams=method.server_streaming)}"
        )
        for service in file.service
        for method in service.method
    }
