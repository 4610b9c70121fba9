"""What changed between two Protobuf schemas, and whom it breaks.

No library has these rules. They are Confluent's, as far as Confluent publishes them: which changes
of fields, oneofs, messages and packages break readers. The groups of types that share the wire are
those of the Protocol Buffers language guide, "Updating a message type". Each rule has its cases and
its source in ``tests/registry/protobuf_compatibility.yaml``. The rules are the same in both
directions: forward is backward with the schemas exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from dataspine.registry import _oneof
from dataspine.registry._change import BACKWARD, FORWARD, Change, Fault
from dataspine.registry._protobuf_side import (
    MAP,
    MERGED,
    Side,
    category,
    entry,
    is_hidden,
)
from dataspine.registry.protobuf import BUILT_IN, Protobuf

__all__ = ["protobuf_changes"]

_NEW_NUMBER = "keep it as it was, or add a field with a new number"
_ONEOF = {
    (_oneof.LEFT, BACKWARD): "the field is no longer in its oneof, which looks unset in old data",
    (_oneof.LEFT, FORWARD): "the field is now in a oneof that old readers know without it",
    (
        _oneof.JOINED,
        BACKWARD,
    ): "the field is now in a oneof with fields that old data set beside it",
    (_oneof.JOINED, FORWARD): "the field left a oneof of which old readers keep one field only",
}


def protobuf_changes(old: Protobuf, new: Protobuf) -> tuple[Change, ...]:
    """Return every change with whom it breaks, in the order of the new schema, then of the old.

    Fields are compared by number, all else by its name without the package, as a package may be
    renamed. Compared are the messages of the main file and those that they use, imported ones too.
    """
    return tuple(_Comparison(Side(old), Side(new)).changes())


class _Comparison:
    """Two schemas, compared once from the first message on."""

    def __init__(self, old: Side, new: Side) -> None:
        self._old, self._new = old, new
        self._seen: set[str] = set()

    def changes(self) -> Iterator[Change]:
        yield from self._files()
        yield from self._roots()
        for index, (name, message) in enumerate(self._new.messages.items()):
            before = self._old.known.get(name)
            if before is not None and not is_hidden(message):
                yield from self._reached(before, message, "" if index == 0 else f"{name}/")
        yield from self._enums()
        yield from self._services()

    def _files(self) -> Iterator[Change]:
        for what, before, after in (
            ("package", self._old.proto.package, self._new.proto.package),
            ("syntax", _syntax(self._old.proto), _syntax(self._new.proto)),
        ):
            if before != after:
                yield Change("changed", what, what, None, before, after)
        before_all, after_all = list(self._old.proto.dependency), list(self._new.proto.dependency)
        for path in after_all:
            if path not in before_all:
                yield Change("added", "import", path, None, None, path)
        for path in before_all:
            if path not in after_all:
                yield Change("removed", "import", path, None, path)

    def _roots(self) -> Iterator[Change]:
        """Yield messages that came and went; one that moved into an import is still there."""
        for name, message in self._new.messages.items():
            if name not in self._old.known and not is_hidden(message):
                yield Change(
                    "added",
                    "message",
                    name,
                    self._new.line(message.full_name),
                    None,
                    f"message {name}",
                    None,
                    Fault(
                        "a message was added that old readers do not know",
                        "put it into a file that is imported, or use a BACKWARD level",
                    ),
                )
        for name, message in self._old.messages.items():
            if name not in self._new.known and not is_hidden(message):
                yield Change(
                    "removed",
                    "message",
                    name,
                    self._old.line(message.full_name),
                    f"message {name}",
                    None,
                    Fault(
                        "the message was removed, and old records may hold it",
                        "keep the message, or publish under another subject",
                    ),
                )

    def _reached(self, old: Descriptor, new: Descriptor, start: str) -> Iterator[Change]:
        """Compare a message and all that it uses; each message once, where it is met first."""
        # A stack and no recursion: messages may be linked thousands deep.
        todo = [(old, new, start)]
        while todo:
            old, new, start = todo.pop()
            if new.full_name in self._seen or new.file.name.startswith(BUILT_IN):
                continue
            self._seen.add(new.full_name)
            yield from self._message(old, new, start)
            todo += reversed(list(self._used(old, new, start)))

    def _used(
        self, old: Descriptor, new: Descriptor, start: str
    ) -> Iterator[tuple[Descriptor, Descriptor, str]]:
        """Yield the messages of the fields that both schemas have, with the path inside."""
        before, after = self._old.fields(old), self._new.fields(new)
        for number, field in after.items():
            if number not in before:
                continue
            was, now, path = before[number], field, start + field.name
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
                and self._old.name(inner[0]) == self._new.name(inner[1])
            ):
                yield inner[0], inner[1], f"{path}."

    def _message(self, old: Descriptor, new: Descriptor, start: str) -> Iterator[Change]:
        before, after = self._old.fields(old), self._new.fields(new)
        gone, come = self._old.oneofs(old), self._new.oneofs(new)
        backward = _oneof.moves(gone, come, before, after)
        forward = _oneof.moves(come, gone, after, before)
        for number, field in after.items():
            path, line = start + field.name, self._new.line(field.full_name)
            if number not in before:
                faults = _added_to_oneof(forward.get(number))
                faults = _required("added") if field.is_required else faults
                yield Change("added", "field", path, line, None, self._new.text(field), *faults)
                continue
            yield from self._field(before[number], field, path)
            was, now = self._old.oneof(before[number]), self._new.oneof(field)
            faults = (
                _oneof_fault(backward.get(number), BACKWARD),
                _oneof_fault(forward.get(number), FORWARD),
            )
            if was != now or any(faults):
                yield Change("changed", "oneof", path, line, was, now, *faults)
        for number, field in before.items():
            if number not in after:
                faults = (_oneof_fault(backward.get(number), BACKWARD), None)
                faults = _required("removed") if field.is_required else faults
                path, line = start + field.name, self._old.line(field.full_name)
                yield Change("removed", "field", path, line, self._old.text(field), None, *faults)
        yield from self._order(old, new, start)
        yield from self._reserved(old, new)

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
        if self._is_another_label(old, new):
            way = "many numbers to one" if old.is_repeated else "one number to many"
            fault = Fault(
                f"field {old.number} changed from {way}, which may be packed", _NEW_NUMBER
            )
            return fault, fault
        if new.is_required and not old.is_required:
            problem = f"field {old.number} became required, and old data may lack it"
            return Fault(problem, "leave it optional"), None
        if old.is_required and not new.is_required:
            problem = f"field {old.number} is no longer required, but old readers require it"
            return None, Fault(problem, "leave it required, or add a field with a new number")
        return None, None

    def _is_another_label(self, old: FieldDescriptor, new: FieldDescriptor) -> bool:
        """Tell whether one number became many, or back. Confluent compares written labels alone."""
        if old.is_repeated == new.is_repeated or category(old) in MERGED:
            return False
        return self._old.is_labelled(old) and self._new.is_labelled(new)

    def _is_another_type(self, old: FieldDescriptor, new: FieldDescriptor) -> bool:
        if category(old) != category(new):
            return True
        maps = entry(old), entry(new)
        if maps[0] is not None and maps[1] is not None:
            pairs = zip(maps[0], maps[1], strict=True)
            return any(self._is_another_type(was, now) for was, now in pairs)
        if old.message_type is not None and new.message_type is not None:
            return self._old.name(old.message_type) != self._new.name(new.message_type)
        if old.enum_type is not None and new.enum_type is not None:
            return self._old.name(old.enum_type) != self._new.name(new.enum_type)
        return False

    def _order(self, old: Descriptor, new: Descriptor, start: str) -> Iterator[Change]:
        before, after = ({f.number: None for f in side.fields} for side in (old, new))
        if [n for n in before if n in after] != [n for n in after if n in before]:
            was, now = (", ".join(f.name for f in side.fields) for side in (old, new))
            path = start.rstrip("./") or self._new.name(new)
            yield Change("changed", "order", path, self._new.line(new.full_name), was, now)

    def _reserved(self, old: Descriptor, new: Descriptor) -> Iterator[Change]:
        before, after = _reserved(old), _reserved(new)
        if before != after:
            path, line = self._new.name(new), self._new.line(new.full_name)
            yield Change("changed", "reserved", path, line, before, after)

    def _enums(self) -> Iterator[Change]:
        """Yield what happened to enums; the wire has their numbers only, so nothing breaks."""
        for name, enum in self._new.enums.items():
            line = self._new.line(enum.full_name)
            if name not in self._old.enums:
                yield Change("added", "enum", name, line, None, f"enum {name}")
                continue
            before = {value.name: value.number for value in self._old.enums[name].values}
            for value in enum.values:
                path, line = (
                    f"{name}.{value.name}",
                    self._new.line(f"{enum.full_name}.{value.name}"),
                )
                number = before.pop(value.name, None)
                if number is None:
                    yield Change("added", "value", path, line, None, str(value.number))
                elif number != value.number:
                    yield Change("changed", "value", path, line, str(number), str(value.number))
            for gone, number in before.items():
                line = self._old.line(f"{self._old.enums[name].full_name}.{gone}")
                yield Change("removed", "value", f"{name}.{gone}", line, str(number))
        for name, enum in self._old.enums.items():
            if name not in self._new.enums:
                yield Change(
                    "removed", "enum", name, self._old.line(enum.full_name), f"enum {name}"
                )

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


def _added_to_oneof(way: str | None) -> tuple[Fault | None, Fault | None]:
    """Return the faults of a new field; seen from the old schema, it has left its oneof."""
    if way != _oneof.LEFT:
        return None, None
    problem = "the field was added to a oneof, which looks unset to old readers when it is chosen"
    return None, Fault(problem, "add it outside of the oneof")


def _oneof_fault(way: str | None, direction: str) -> Fault | None:
    problem = _ONEOF.get((way or "", direction))
    return None if problem is None else Fault(problem, "leave it where it was, or use a new number")


def _required(way: str) -> tuple[Fault, Fault]:
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
    def name(full: str, *, streams: bool) -> str:
        return ("stream " if streams else "") + full.removeprefix(f".{file.package}").lstrip(".")

    return {
        f"{service.name}.{method.name}": (
            f"{name(method.input_type, streams=method.client_streaming)} -> "
            f"{name(method.output_type, streams=method.server_streaming)}"
        )
        for service in file.service
        for method in service.method
    }
