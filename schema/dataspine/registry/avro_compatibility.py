"""What changed between two Avro schemas, and whom it breaks.

Whether a reader's schema reads a writer's data is answered by Apache's ``avro`` package. It answers
once for a whole schema, with places and reasons in two heaps, so ``_Reading`` walks to each place
and asks again there. Two things are ours: Apache's Java library refuses a field whose name and
aliases match several fields, which the package does not see; and logical types are no part of
Avro's resolution, so they are compared when asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from avro.compatibility import (
    ReaderWriterCompatibilityChecker,
    SchemaCompatibilityResult,
    SchemaCompatibilityType,
    check_fixed_size,
    check_reader_enum_contains_writer_enum,
    check_schema_names,
    lookup_writer_field,
)
from avro.schema import (
    ArraySchema,
    EnumSchema,
    Field,
    FixedSchema,
    MapSchema,
    NamedSchema,
    RecordSchema,
    Schema,
    UnionSchema,
)

from dataspine.registry._avro_structure import Lines, logical_of, near, structure_changes, text
from dataspine.registry._change import BACKWARD, FORWARD, Change, Fault
from dataspine.registry.avro import Avro

__all__ = ["avro_changes"]

_UUID = "uuid"
_AMBIGUOUS = Fault(
    "the name and the aliases of a field match more than one field of the data",
    "remove the alias that is a field already",
)


def avro_changes(
    old: Avro, new: Avro, *, directions: Sequence[str] = (BACKWARD, FORWARD), logical: bool = False
) -> tuple[Change, ...]:
    """Return every change with whom it breaks, in the order of the new schema.

    Only the ``directions`` are looked at; logical types count when ``logical`` is true. A fault is
    told at the first place where its type is used.
    """
    changes = _Changes(structure_changes(old, new))
    lines = {False: Lines(old.fields), True: Lines(new.fields)}
    for direction in directions:
        models = (new.model, old.model) if direction == BACKWARD else (old.model, new.model)
        reading = _Reading(backward=direction == BACKWARD, logical=logical)
        for broken in reading.faults(*models):
            changes.attach(broken, direction, lines[not broken.gone].at(broken.path))
    return tuple(changes.all)


class _Broken(NamedTuple):
    """A place that a reader cannot read; ``gone`` when only the old schema has its path."""

    what: str
    path: str
    fault: Fault
    gone: bool = False


class _Pair(NamedTuple):
    """Two types that belong together, still to be looked at."""

    reader: Schema
    writer: Schema
    path: str


_Found = Iterator[_Broken | _Pair]


class _Changes:
    """The changes, and which of them a fault is about."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self.all = list(changes)
        self._places = {(c.what, c.path): n for n, c in enumerate(self.all)}
        self._lines = {(c.what, _last(c.path), c.line): n for n, c in enumerate(self.all)}

    def attach(self, broken: _Broken, direction: str, line: int | None) -> None:
        """Add a fault to its change, or as a change of its own."""
        index = self._places.get((broken.what, broken.path))
        if index is None and line is not None:
            # A type used twice may be met elsewhere by the two directions; it stands on one line.
            index = self._lines.get((broken.what, _last(broken.path), line))
        if index is None:
            index = self._places[broken.what, broken.path] = len(self.all)
            self.all.append(Change("changed", broken.what, broken.path, line))
        known, fault = self.all[index].fault(direction), broken.fault
        if known is not None:
            fault = Fault(f"{known.problem}, and {fault.problem}", known.remedy)
        self.all[index] = _with(self.all[index], direction, fault)


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _with(change: Change, direction: str, fault: Fault) -> Change:
    if direction == BACKWARD:
        return replace(change, backward=fault)
    return replace(change, forward=fault)


class _Reading:
    """Whether one schema reads what another one wrote, and where it does not."""

    def __init__(self, *, backward: bool, logical: bool) -> None:
        self._backward = backward
        self._logical = logical
        # One checker remembers each pair of types.
        made: Any = ReaderWriterCompatibilityChecker  # the package's class has no annotations
        self._checker: ReaderWriterCompatibilityChecker = made()
        self._ambiguous = False

    def faults(self, reader: Schema, writer: Schema) -> Iterator[_Broken]:
        """Yield each place once, in the order of the reader's fields."""
        found, reads = False, self._reads(reader, writer)
        self._ambiguous = self._has_met_ambiguity()
        for item in self._walk(reader, writer):
            found = True
            yield item
        if not found and self._ambiguous:
            yield _Broken("type", "", _AMBIGUOUS)
        elif not found and not reads:
            # The package has the last word, even where the walk would not find its reason.
            yield self._type(reader, writer, "")

    def _has_met_ambiguity(self) -> bool:
        """Tell whether a pair of records that was looked at would make Java's library give up."""
        return any(
            isinstance(pair.reader, RecordSchema)
            and isinstance(pair.writer, RecordSchema)
            and any(_is_ambiguous(field, pair.writer) for field in pair.reader.fields)
            for pair in self._checker.memoize_map
        )

    def _walk(self, reader: Schema, writer: Schema) -> Iterator[_Broken]:
        todo: list[_Broken | _Pair] = [_Pair(reader, writer, "")]
        seen: set[tuple[int, int]] = set()
        while todo:
            item = todo.pop()
            if isinstance(item, _Broken):
                yield item
                continue
            reader, writer, path = item
            if self._reads(reader, writer) and not (self._logical or self._ambiguous):
                continue
            if isinstance(reader, RecordSchema):
                # Every recursion goes through a record.
                if (id(reader), id(writer)) in seen:
                    continue
                seen.add((id(reader), id(writer)))
            todo += reversed(list(self._step(reader, writer, path)))

    def _reads(self, reader: Schema, writer: Schema) -> bool:
        return _agrees(self._checker.get_compatibility(reader, writer))

    def _step(self, reader: Schema, writer: Schema, path: str) -> _Found:
        """Yield what is wrong between two types themselves, and the types inside to look at."""
        if isinstance(writer, UnionSchema):
            yield from self._every_branch(reader, writer, path)
        elif isinstance(reader, UnionSchema):
            yield self._any_branch(reader, writer, path)
        elif isinstance(reader, RecordSchema) and isinstance(writer, RecordSchema):
            yield from self._name(reader, writer, path)
            yield from self._fields(reader, writer, path)
        elif isinstance(reader, ArraySchema) and isinstance(writer, ArraySchema):
            yield _Pair(reader.items, writer.items, f"{path}[]")
        elif isinstance(reader, MapSchema) and isinstance(writer, MapSchema):
            yield _Pair(reader.values, writer.values, f"{path}{{}}")
        elif isinstance(reader, EnumSchema) and isinstance(writer, EnumSchema):
            yield from self._name(reader, writer, path)
            yield from self._symbols(reader, writer, path)
        elif isinstance(reader, FixedSchema) and isinstance(writer, FixedSchema):
            yield from self._name(reader, writer, path)
            yield from self._size(reader, writer, path)
            yield from self._meaning(reader, writer, path)
        elif self._reads(reader, writer):
            yield from self._meaning(reader, writer, path)
        else:
            yield self._type(reader, writer, path)

    def _every_branch(self, reader: Schema, writer: UnionSchema, path: str) -> _Found:
        for branch in writer.schemas:
            closest = reader if self._reads(reader, branch) else near(reader, branch)
            if closest is not None:
                yield _Pair(closest, branch, path)
                continue
            name = text(branch)
            fault = (
                Fault(f"the type no longer allows {name}", f"keep {name} in the union")
                if self._backward
                else Fault(f"the type now allows {name}, new to old readers", "use a new field")
            )
            yield _Broken("type", path, fault)

    def _any_branch(self, reader: UnionSchema, writer: Schema, path: str) -> _Broken | _Pair:
        fitting = [branch for branch in reader.schemas if self._reads(branch, writer)]
        # A reader takes the branch of the same type, and only then one that it may promote to.
        fitting.sort(key=lambda b: (b.type != writer.type, logical_of(b) != logical_of(writer)))
        closest = fitting[0] if fitting else near(reader, writer)
        if closest is None:
            return self._type(reader, writer, path)
        return _Pair(closest, writer, path)

    def _fields(self, reader: RecordSchema, writer: RecordSchema, path: str) -> _Found:
        for field in reader.fields:
            known: Field | None = lookup_writer_field(writer, field)
            name = field.name if self._backward or known is None else known.name
            place = f"{path}.{name}" if path else str(name)
            if _is_ambiguous(field, writer):
                yield _Broken("aliases", place, _AMBIGUOUS)
            elif known is not None:
                yield _Pair(field.type, known.type, place)
            elif not field.has_default:
                yield _Broken("field", place, self._missing(), not self._backward)

    def _missing(self) -> Fault:
        if self._backward:
            return Fault("the field was added without a default", "give it a default")
        return Fault(
            "the field was removed, and old readers have no default for it",
            "keep it, or give it a default in a version before",
        )

    def _name(self, reader: NamedSchema, writer: NamedSchema, path: str) -> Iterator[_Broken]:
        if not _agrees(check_schema_names(reader, writer, [])):
            problem = self._changed(reader.fullname, writer.fullname, "the name changed")
            remedy = f'add "aliases": ["{writer.fullname}"]' if self._backward else "keep the name"
            yield _Broken("type", path, Fault(problem, remedy))

    def _size(self, reader: FixedSchema, writer: FixedSchema, path: str) -> Iterator[_Broken]:
        if not _agrees(check_fixed_size(reader, writer, [])):
            problem = self._changed(str(reader.size), str(writer.size), "the size changed")
            yield _Broken("type", path, Fault(problem, "keep the size, or add a new field"))

    def _symbols(self, reader: EnumSchema, writer: EnumSchema, path: str) -> Iterator[_Broken]:
        if not _agrees(check_reader_enum_contains_writer_enum(reader, writer, [])):
            names = ", ".join(symbol for symbol in writer.symbols if symbol not in reader.symbols)
            if self._backward:
                fault = Fault(f"the enum lost {names}", "keep them, or give the enum a default")
            else:
                fault = Fault(
                    f"the enum got {names}, which old readers do not know",
                    "give the enum a default in a version before",
                )
            yield _Broken("symbols", path, fault)

    def _type(self, reader: Schema, writer: Schema, path: str) -> _Broken:
        problem = self._changed(text(reader), text(writer), "the type changed")
        remedy = "keep the type, or add a field with another name"
        return _Broken("type", path, Fault(problem, remedy))

    def _meaning(self, reader: Schema, writer: Schema, path: str) -> Iterator[_Broken]:
        """Yield a logical type under which the same data are read as something else."""
        ours, theirs = logical_of(reader), logical_of(writer)
        # Every UUID is a string; a number without its unit is no longer what it was.
        if not self._logical or ours == theirs or (ours is None and theirs == _UUID):
            return
        problem = self._changed(text(reader), text(writer), "the logical type changed")
        remedy = "keep the logical type, or add a field with another name"
        yield _Broken("type", path, Fault(problem, remedy))

    def _changed(self, reader: str, writer: str, what: str) -> str:
        old, new = (writer, reader) if self._backward else (reader, writer)
        return f"{what} from {old} to {new}"


def _is_ambiguous(field: Field, writer: RecordSchema) -> bool:
    """Tell whether a reader's field may be several of the writer's, or one of them twice."""
    aliases = field.props.get("aliases")
    names = [field.name, *(aliases if isinstance(aliases, list) else ())]
    return sum(name in writer.fields_dict for name in names) > 1


def _agrees(result: SchemaCompatibilityResult) -> bool:
    return result.compatibility is not SchemaCompatibilityType.incompatible
