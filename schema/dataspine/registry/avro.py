"""Avro schemas: checked against the specification, with the line of every fault and field."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import avro.errors
import avro.name
import avro.schema
import fastavro
import fastavro.schema

from dataspine.core.canonical import canonical
from dataspine.registry._avro_check import AvroCheck
from dataspine.registry._avro_fields import AvroFields
from dataspine.registry._avro_name import LOGICAL_TYPES, Named, full_name
from dataspine.registry._avro_spelling import spelled
from dataspine.registry._json import Node, Plain, invalid, plain, scan
from dataspine.registry.field import Field

__all__ = ["LOGICAL", "Avro", "parse_avro"]

# Where the model keeps a type's logical type: avro's own key makes it check and warn once more.
LOGICAL = "spine.logical"

# What decides how data are read; anything else (docs, tags) is about people.
_STRUCTURE = frozenset(
    {"type", "name", "namespace", "fields", "symbols", "items", "values", "size", "default"}
    | {"aliases", "order"}
)
_INNER = frozenset({"type", "items", "values", "fields"})


@dataclass(frozen=True, slots=True)
class Avro:
    """A parsed Avro schema: its canonical text, its structure, its fields, and avro's own model.

    ``structure`` is what readers and writers depend on, with logical types and dependencies. In the
    model, an error is a record, aliases are full names, and the property ``LOGICAL`` holds the
    logical type where it fits: ``date``, ``decimal(9, 2)``. ``widest`` is how many branches the
    widest union of the text has.
    """

    canonical: str
    structure: bytes
    fields: tuple[Field, ...]
    model: avro.schema.Schema
    widest: int

    def resolved(self) -> str:
        """Return the text with each type that a reference brought in written where first used."""
        written = json.dumps(self.model.to_json())
        return json.dumps(json.loads(written, object_hook=_with_logical), ensure_ascii=False)


def parse_avro(text: str, dependencies: Sequence[tuple[str, str]] = ()) -> Avro:
    """Parse an Avro schema, or raise ``InputError`` with code ``registry.invalid_schema``.

    ``dependencies`` are (name, text) of schemas whose named types it may use, in an order in which
    each one only needs those before it.
    """
    types: dict[str, Named] = {}
    names = avro.name.Names()
    known: dict[str, dict[str, object]] = {}
    structures: list[Plain] = []
    for name, dependency in dependencies:
        node = scan(dependency, where=name)
        _load(node, types, names, known, where=name)
        structures.append(_pruned(spelled(node)))
        types = {
            key: Named(value.node, value.namespace, foreign=True) for key, value in types.items()
        }
    root = scan(text)
    model, widest = _load(root, types, names, known, where="")
    fields = AvroFields(types).root(root)
    written = spelled(root)
    return Avro(
        canonical(written).decode(),
        canonical([*structures, _pruned(written)]),
        fields,
        model,
        widest,
    )


def _with_logical(part: dict[str, object]) -> dict[str, object]:
    """Return a type of the model with its logical type as it is written in a schema."""
    found = part.pop(LOGICAL, None)
    if isinstance(found, str):
        name, *numbers = re.findall(r"[\w-]+", found)
        part["logicalType"] = name
        part |= dict(zip(("precision", "scale"), map(int, numbers), strict=False))
    return part


def _load(
    root: Node,
    types: dict[str, Named],
    names: avro.name.Names,
    known: dict[str, dict[str, object]],
    *,
    where: str,
) -> tuple[avro.schema.Schema, int]:
    # Our own check comes first: it knows lines, and the libraries' checks have gaps.
    check = AvroCheck(types, where)
    check.schema(root, "")
    structure = _structure(root)
    if not isinstance(structure, str | list | dict):
        raise invalid("this is no Avro type", root.line, "Write a schema.", where=where)
    try:
        fastavro.parse_schema(structure, known, _ignore_default_error=True)
        model = avro.schema.make_avsc_object(structure, names)
    except (
        fastavro.schema.SchemaParseException,
        fastavro.schema.UnknownType,
        avro.errors.AvroException,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise invalid(
            f"no Avro schema: {error}", root.line, "Correct the schema.", where=where
        ) from None
    _prepare(names)
    return model, check.widest


class _Record(avro.schema.RecordSchema):
    """A record that looks its fields up in one step: the library makes a new dict each time."""

    @functools.cached_property
    def fields_dict(self) -> Mapping[str, avro.schema.Field]:
        return {field.name: field for field in self.fields}


def _prepare(names: avro.name.Names) -> None:
    for full, schema in names.names.items():
        if type(schema) is avro.schema.RecordSchema:
            # The library makes the objects; without this, 10,000 fields are compared for a minute.
            schema.__class__ = _Record
        # The specification puts an alias without dots into its type's namespace; the library
        # compares aliases with full names, as they are written.
        aliases = schema.props.get("aliases")
        if isinstance(aliases, list):
            space = full.rpartition(".")[0]
            schema.set_prop("aliases", [full_name(alias, space) for alias in aliases])


def _structure(node: Node) -> Plain:
    """Return what the libraries need to know of a schema."""
    if isinstance(node.value, list):
        return [_structure(item) for item in node.value]
    if not isinstance(node.value, dict):
        return node.value
    kept: dict[str, Plain] = {}
    for name, member in node.value.items():
        if name in _INNER:
            kept[name] = _structure(member)
        elif name in _STRUCTURE:
            kept[name] = plain(member)
    # An error is a record that a protocol may raise; the library cannot compare errors.
    if kept.get("type") == "error" and "fields" in kept:
        kept["type"] = "record"
    found = _logical(node)
    if found is not None:
        kept[LOGICAL] = found
    return kept


def _pruned(part: Plain) -> Plain:
    """Return what readers and writers depend on of a schema that was spelled in the one way."""
    if isinstance(part, list):
        return [_pruned(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        name: _pruned(member) if name in _INNER else member
        for name, member in part.items()
        if name in _STRUCTURE or name in {"logicalType", "precision", "scale"}
    }


def _logical(node: Node) -> str | None:
    """Return a type's logical type with its parameters; what does not fit or is unknown is none."""
    name, kind = node.text("logicalType"), node.text("type")
    if name is None or kind is None or kind not in LOGICAL_TYPES.get(name, ("", set()))[1]:
        return None
    if name != "decimal":
        return name
    precision, scale = node.get("precision"), node.get("scale")
    return f"decimal({precision and precision.value}, {scale.value if scale else 0})"
