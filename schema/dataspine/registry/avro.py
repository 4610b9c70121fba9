"""Avro schemas: checked against the specification, with the line of every fault and field."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import avro.errors
import avro.name
import avro.schema
import fastavro
import fastavro.schema

from dataspine.core.canonical import canonical
from dataspine.registry._json import Node, Plain, invalid, plain, scan
from dataspine.registry.field import NOTHING, Annotations, Field, read_annotations

__all__ = ["LOGICAL", "Avro", "parse_avro"]

MAX_FIELDS = 10_000
MAX_STEPS = 100_000
PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAMED = frozenset({"record", "error", "enum", "fixed"})
# Where the model keeps a type's logical type: avro's own key makes it check and warn once more.
LOGICAL = "spine.logical"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
# What decides how data are read; anything else (docs, tags) is about people.
_STRUCTURE = frozenset(
    {"type", "name", "namespace", "fields", "symbols", "items", "values", "size", "default"}
    | {"aliases", "order"}
)
_LOGICAL = {
    "decimal": ("decimal", {"bytes", "fixed"}),
    "big-decimal": ("decimal", {"bytes"}),
    "uuid": ("uuid", {"string", "fixed"}),
    "date": ("date", {"int"}),
    "time-millis": ("time", {"int"}),
    "time-micros": ("time", {"long"}),
    "timestamp-millis": ("timestamp", {"long"}),
    "timestamp-micros": ("timestamp", {"long"}),
    "timestamp-nanos": ("timestamp", {"long"}),
    "local-timestamp-millis": ("timestamp", {"long"}),
    "local-timestamp-micros": ("timestamp", {"long"}),
    "local-timestamp-nanos": ("timestamp", {"long"}),
    "duration": ("duration", {"fixed"}),
}


@dataclass(frozen=True, slots=True)
class Avro:
    """A parsed Avro schema: its canonical text, its structure, its fields, and avro's own model.

    ``structure`` is what readers and writers depend on, with logical types and dependencies. In the
    model, an error is a record, aliases are full names, and the property ``LOGICAL`` holds the
    logical type where it fits: ``date``, ``decimal(9, 2)``.
    """

    canonical: str
    structure: bytes
    fields: tuple[Field, ...]
    model: avro.schema.Schema

    def resolved(self) -> str:
        """Return the text with each type that a reference brought in written where first used."""
        written = json.dumps(self.model.to_json())
        return json.dumps(json.loads(written, object_hook=_with_logical), ensure_ascii=False)


def parse_avro(text: str, dependencies: Sequence[tuple[str, str]] = ()) -> Avro:
    """Parse an Avro schema, or raise ``InputError`` with code ``registry.invalid_schema``.

    ``dependencies`` are (name, text) of schemas whose named types it may use, in an order in which
    each one only needs those before it.
    """
    types: dict[str, _Named] = {}
    names = avro.name.Names()
    known: dict[str, dict[str, object]] = {}
    structures: list[Plain] = []
    for name, dependency in dependencies:
        node = scan(dependency, where=name)
        _load(node, types, names, known, where=name)
        structures.append(_structure(node, logical=True))
        types = {
            key: _Named(value.node, value.namespace, foreign=True) for key, value in types.items()
        }
    root = scan(text)
    model = _load(root, types, names, known, where="")
    walk = _Walk(types)
    walk.root(root)
    return Avro(
        canonical(plain(root)).decode(),
        canonical([*structures, _structure(root, logical=True)]),
        tuple(walk.fields),
        model,
    )


def _with_logical(part: dict[str, object]) -> dict[str, object]:
    """Return a type of the model with its logical type as it is written in a schema."""
    found = part.pop(LOGICAL, None)
    if isinstance(found, str):
        name, *numbers = re.findall(r"[\w-]+", found)
        part["logicalType"] = name
        part |= dict(zip(("precision", "scale"), map(int, numbers), strict=False))
    return part


@dataclass(frozen=True, slots=True)
class _Named:
    node: Node
    namespace: str
    foreign: bool = False


def _load(
    root: Node,
    types: dict[str, _Named],
    names: avro.name.Names,
    known: dict[str, dict[str, object]],
    *,
    where: str,
) -> avro.schema.Schema:
    # Our own check comes first: it knows lines, and the libraries' checks have gaps.
    _Check(types, where).schema(root, "")
    structure = _structure(root, logical=False)
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
    return model


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
            schema.set_prop("aliases", [_full(alias, space) for alias in aliases])


def _structure(node: Node, *, logical: bool) -> Plain:
    if isinstance(node.value, list):
        return [_structure(item, logical=logical) for item in node.value]
    if not isinstance(node.value, dict):
        return node.value
    kept: dict[str, Plain] = {}
    for name, member in node.value.items():
        if name in {"type", "items", "values", "fields"}:
            kept[name] = _structure(member, logical=logical)
        elif name in _STRUCTURE or (logical and name in {"logicalType", "precision", "scale"}):
            kept[name] = plain(member)
    if not logical:
        # An error is a record that a protocol may raise; the library cannot compare errors.
        if kept.get("type") == "error" and "fields" in kept:
            kept["type"] = "record"
        found = _logical(node)
        if found is not None:
            kept[LOGICAL] = found
    return kept


def _logical(node: Node) -> str | None:
    """Return a type's logical type with its parameters; what does not fit or is unknown is none."""
    name, kind = node.text("logicalType"), node.text("type")
    if name is None or kind is None or kind not in _LOGICAL.get(name, ("", set()))[1]:
        return None
    if name != "decimal":
        return name
    precision, scale = node.get("precision"), node.get("scale")
    return f"decimal({precision and precision.value}, {scale.value if scale else 0})"


class _Check:
    """The rules of Avro's specification; collects the named types."""

    def __init__(self, types: dict[str, _Named], where: str) -> None:
        self._types = types
        self._where = where
        self._steps = 0

    def schema(self, node: Node, namespace: str) -> None:
        value = node.value
        if isinstance(value, list):
            self._union(node, value, namespace)
        elif isinstance(value, str):
            if value not in PRIMITIVES and _full(value, namespace) not in self._types:
                self._fail(
                    f"the type {value!r} is unknown", node, "Define it before, or add a reference."
                )
        elif isinstance(value, dict):
            self._complex(node, namespace)
        else:
            self._fail("this is no Avro type", node, "Write a type name, an object or a list.")

    def _union(self, node: Node, branches: list[Node], namespace: str) -> None:
        if not branches:
            self._fail("the union is empty", node, 'List its types, such as ["null", "string"].')
        seen: set[str] = set()
        for branch in branches:
            if isinstance(branch.value, list):
                self._fail("a union directly in a union", branch, "Write one flat list.")
            self.schema(branch, namespace)
            name = _branch_name(branch, namespace)
            if name in seen:
                self._fail(f"{name} stands twice in one union", branch, "Remove one of the two.")
            seen.add(name)

    def _complex(self, node: Node, namespace: str) -> None:
        kind_node = node.get("type")
        if kind_node is None:
            self._fail("the type is missing", node, 'Add "type".')
        elif not isinstance(kind_node.value, str):
            self._fail("the type of a type is a name", kind_node, "Write the inner type alone.")
        elif kind_node.value in NAMED:
            self._named(node, kind_node.value, namespace)
        elif kind_node.value in {"array", "map"}:
            member = "items" if kind_node.value == "array" else "values"
            inner = node.get(member)
            if inner is None:
                self._fail(f"the {kind_node.value} has no {member}", node, f'Add "{member}".')
            else:
                self.schema(inner, namespace)
        else:
            self.schema(kind_node, namespace)
        self._decimal(node)

    def _named(self, node: Node, kind: str, namespace: str) -> None:
        full, inner = self._define(node, namespace)
        self._aliases(node.get("aliases"))
        self._types[full] = _Named(node, inner)
        if kind == "enum":
            self._enum(node)
        elif kind == "fixed":
            size = node.get("size")
            if size is None or type(size.value) is not int or not 0 <= size.value < 2**31:
                self._fail("the size of a fixed is a number", size or node, 'Add "size": 16.')
        else:
            self._record(node, inner)

    def _define(self, node: Node, namespace: str) -> tuple[str, str]:
        name, space = node.get("name"), node.get("namespace")
        if name is None or not isinstance(name.value, str):
            raise invalid(
                "the name is missing", (name or node).line, 'Add "name".', where=self._where
            )
        for part in (name, space):
            if part is not None and not _is_name(part.value, empty=part is space):
                self._fail(f"{part.value!r} is no Avro name", part, "Use letters, digits and _.")
        own = space.value if space is not None and isinstance(space.value, str) else namespace
        full = _full(name.value, own)
        if full in self._types or full in PRIMITIVES:
            self._fail(f"the name {full} is taken", name, "Define it once, then use its name.")
        return full, full.rpartition(".")[0]

    def _enum(self, node: Node) -> None:
        symbols = node.get("symbols")
        if symbols is None or not isinstance(symbols.value, list) or not symbols.value:
            self._fail("the enum has no symbols", symbols or node, 'Add "symbols": ["A", "B"].')
        seen: set[object] = set()
        for symbol in symbols.value:
            if not isinstance(symbol.value, str) or not _NAME.fullmatch(symbol.value):
                self._fail("this is no symbol of an enum", symbol, "Use letters, digits and _.")
            if symbol.value in seen:
                self._fail(f"{symbol.value!r} stands twice", symbol, "Remove one of the two.")
            seen.add(symbol.value)
        default = node.get("default")
        if default is not None and (
            not isinstance(default.value, str) or default.value not in seen
        ):
            self._fail("the default is none of the symbols", default, "Use one of the symbols.")

    def _record(self, node: Node, namespace: str) -> None:
        fields = node.get("fields")
        if fields is None or not isinstance(fields.value, list):
            self._fail("the record has no list of fields", fields or node, 'Add "fields": [].')
        seen: set[str] = set()
        for item in fields.value:
            name, kind = item.get("name"), item.get("type")
            if name is None or not isinstance(name.value, str) or not _NAME.fullmatch(name.value):
                self._fail("the field has no valid name", name or item, 'Add "name".')
            if name.value in seen:
                self._fail(f"the field {name.value!r} stands twice", name, "Rename one of them.")
            seen.add(name.value)
            if kind is None:
                self._fail(f"the field {name.value!r} has no type", item, 'Add "type".')
            self.schema(kind, namespace)
            self._field_rest(item, name.value, kind, namespace)

    def _field_rest(self, item: Node, name: str, kind: Node, namespace: str) -> None:
        default, order, aliases = item.get("default"), item.get("order"), item.get("aliases")
        if default is not None and not self._accepts(kind, default, namespace):
            self._fail(
                f"the default of {name!r} does not fit its type",
                default,
                "Use a value of the type; of a union, a value of any branch.",
            )
        if order is not None and order.value not in ("ascending", "descending", "ignore"):
            self._fail("an order is ascending, descending or ignore", order, "Correct it.")
        self._aliases(aliases)

    def _aliases(self, aliases: Node | None) -> None:
        if aliases is not None and not (
            isinstance(aliases.value, list) and all(isinstance(a.value, str) for a in aliases.value)
        ):
            self._fail("aliases are a list of names", aliases, "Write a list of names.")

    def _accepts(self, kind: Node, default: Node, namespace: str) -> bool:
        # Types that differ only deep inside would make a union try every combination.
        self._steps += 1
        if self._steps > MAX_STEPS:
            self._fail("the default is too deep to check", default, "Use a smaller default.")
        value = kind.value
        if isinstance(value, list):
            return any(self._accepts(branch, default, namespace) for branch in value)
        if isinstance(value, str) and value in PRIMITIVES:
            return _is_primitive(value, default.value)
        if isinstance(value, str):
            named = self._types[_full(value, namespace)]
            return self._accepts(named.node, default, named.namespace)
        inner = kind.get("type")
        if inner is None:
            return False
        return self._accepts_complex(kind, inner, default, namespace)

    def _accepts_complex(self, kind: Node, inner: Node, default: Node, namespace: str) -> bool:
        content = default.value
        match inner.value:
            case "array":
                items = kind.get("items")
                return (
                    items is not None
                    and isinstance(content, list)
                    and all(self._accepts(items, item, namespace) for item in content)
                )
            case "map":
                values = kind.get("values")
                return (
                    values is not None
                    and isinstance(content, dict)
                    and all(self._accepts(values, item, namespace) for item in content.values())
                )
            case "enum":
                return any(content == symbol.value for symbol in _items(kind.get("symbols")))
            case "fixed":
                return isinstance(content, str)
            case "record" | "error":
                return isinstance(content, dict) and self._accepts_record(
                    kind, content, _inner(kind, namespace)
                )
            case _:
                return self._accepts(inner, default, namespace)

    def _accepts_record(self, kind: Node, content: Mapping[str, Node], namespace: str) -> bool:
        for item in _items(kind.get("fields")):
            name, inner = item.text("name"), item.get("type")
            if name is None or inner is None:
                return False
            given = content.get(name)
            if given is None:
                if item.get("default") is None:
                    return False
            elif not self._accepts(inner, given, namespace):
                return False
        return True

    def _decimal(self, node: Node) -> None:
        if node.text("logicalType") != "decimal":
            return
        precision, scale = node.get("precision"), node.get("scale")
        if precision is None or type(precision.value) is not int or precision.value < 1:
            self._fail(
                "a decimal's precision is a positive number", precision or node, "Correct it."
            )
        if scale is not None and (
            type(scale.value) is not int or not 0 <= scale.value <= precision.value
        ):
            self._fail("a decimal's scale is between 0 and its precision", scale, "Correct it.")

    def _fail(self, problem: str, node: Node, remedy: str) -> NoReturn:
        raise invalid(problem, node.line, remedy, where=self._where)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value is: its path and field name, the record around it, and how names resolve."""

    path: str
    name: str
    record: str
    doc: str
    line: int | None
    namespace: str
    foreign: bool


class _Walk:
    """Collects the fields, each named type spelled out wherever it is used."""

    def __init__(self, types: Mapping[str, _Named]) -> None:
        self._types = types
        self._open: set[int] = set()
        self.fields: list[Field] = []

    def root(self, node: Node) -> None:
        """Walk a whole schema."""
        place = _Place("", "", "", "", None, "", foreign=False)
        self._inside(node, place, self._noted(node, ""), NOTHING)

    def _add(self, node: Node, place: _Place, own: Annotations, above: Annotations) -> None:
        if len(self.fields) >= MAX_FIELDS:
            raise invalid(
                f"more than {MAX_FIELDS} fields, named types spelled out",
                place.line,
                "Split the schema into several subjects.",
            )
        self.fields.append(
            Field.of(
                place.path,
                self._kind(node, place.namespace),
                doc=place.doc,
                name=place.name,
                record=place.record,
                own=own,
                inherited=above,
                line=place.line,
            )
        )
        self._inside(node, place, own, above)

    def _inside(self, node: Node, place: _Place, own: Annotations, above: Annotations) -> None:
        """Add the fields of what a value contains."""
        if isinstance(node.value, list):
            for branch in node.value:
                self._inside(branch, place, own, above)
        elif isinstance(node.value, str):
            named = self._named(node.value, place.namespace)
            if named is not None:
                foreign = place.foreign or named.foreign
                inner = replace(place, namespace=named.namespace, foreign=foreign)
                self._inside(named.node, inner, own, above)
        else:
            self._inside_complex(node, place, own, above)

    def _inside_complex(
        self, node: Node, place: _Place, own: Annotations, above: Annotations
    ) -> None:
        kind = node.get("type")
        if kind is None:
            return
        if kind.value in ("array", "map"):
            mark, member = ("[]", "items") if kind.value == "array" else ("{}", "values")
            content = node.get(member)
            if content is not None:
                inner = replace(place, path=place.path + mark)
                noted = self._noted(content, place.namespace)
                self._add(content, inner, own.joined(noted), above)
        elif kind.value in ("record", "error"):
            if id(node) not in self._open:
                self._open.add(id(node))
                self._record(node, place, own.contents().joined(above))
                self._open.remove(id(node))
        elif kind.value not in NAMED:
            self._inside(kind, place, own, above)

    def _record(self, node: Node, place: _Place, above: Annotations) -> None:
        namespace = _inner(node, place.namespace)
        record = _full(node.text("name") or "", namespace)
        for item in _items(node.get("fields")):
            name, kind = item.get("name"), item.get("type")
            if name is None or kind is None:
                continue
            inner = _Place(
                f"{place.path}.{name.value}" if place.path else str(name.value),
                str(name.value),
                record,
                item.text("doc") or "",
                None if place.foreign else name.line,
                namespace,
                place.foreign,
            )
            own = _annotations(item).joined(self._noted(kind, namespace))
            self._add(kind, inner, own, above)

    def _noted(self, node: Node, namespace: str) -> Annotations:
        """Return what is written on a type itself, through names and unions."""
        if isinstance(node.value, list):
            noted = NOTHING
            for branch in node.value:
                noted = noted.joined(self._noted(branch, namespace))
            return noted
        if isinstance(node.value, str):
            named = self._named(node.value, namespace)
            return _annotations(named.node) if named is not None else NOTHING
        kind = node.get("type")
        own = _annotations(node)
        if kind is None or isinstance(kind.value, str):
            return own
        return own.joined(self._noted(kind, namespace))

    def _kind(self, node: Node, namespace: str) -> str:
        if isinstance(node.value, list):
            branches = [branch for branch in node.value if branch.value != "null"]
            return self._kind(branches[0], namespace) if len(branches) == 1 else "union"
        if isinstance(node.value, str):
            named = self._named(node.value, namespace)
            return self._kind(named.node, named.namespace) if named is not None else node.value
        kind = node.get("type")
        if kind is None:
            return "union"
        name, carriers = _LOGICAL.get(node.text("logicalType") or "", ("", set()))
        if kind.value in carriers:
            return name
        if isinstance(kind.value, str) and kind.value in {*NAMED, "array", "map"}:
            return "record" if kind.value == "error" else kind.value
        return self._kind(kind, namespace)

    def _named(self, name: str, namespace: str) -> _Named | None:
        return None if name in PRIMITIVES else self._types[_full(name, namespace)]


def _annotations(node: Node) -> Annotations:
    tags: list[str] = []
    for key in ("tags", "confluent:tags"):
        member = node.get(key)
        if member is not None and isinstance(member.value, str):
            tags.append(member.value)
        tags += [item.value for item in _items(member) if isinstance(item.value, str)]
    retention = node.get("retention")
    return read_annotations(
        [node.text("doc") or ""],
        tags=tags,
        # A retention that is no text must reach the policy, which refuses it.
        retention=None if retention is None else str(plain(retention)),
    )


def _items(node: Node | None) -> list[Node]:
    return node.value if node is not None and isinstance(node.value, list) else []


def _full(name: str, namespace: str) -> str:
    return f"{namespace}.{name}" if namespace and "." not in name else name


def _inner(node: Node, namespace: str) -> str:
    """Return the namespace inside a named type."""
    own = node.text("namespace")
    space = namespace if own is None else own
    return _full(node.text("name") or "", space).rpartition(".")[0]


def _is_name(value: object, *, empty: bool) -> bool:
    if value == "" and empty:
        return True
    return isinstance(value, str) and all(_NAME.fullmatch(part) for part in value.split("."))


def _is_primitive(kind: str, value: object) -> bool:
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "int" | "long":
            bits = 31 if kind == "int" else 63
            return type(value) is int and -(2**bits) <= value < 2**bits
        case "float" | "double":
            return type(value) in (int, float)
        case _:
            return isinstance(value, str)


def _branch_name(node: Node, namespace: str) -> str:
    """Return what tells a union's branches apart: a full name, or the kind of type."""
    if isinstance(node.value, str):
        return node.value if node.value in PRIMITIVES else _full(node.value, namespace)
    kind = node.get("type")
    if kind is None:
        return ""
    if not isinstance(kind.value, str):
        return _branch_name(kind, namespace)
    if kind.value in NAMED:
        name = node.text("name") or ""
        return _full(name, _inner(node, namespace))
    return (
        kind.value if kind.value in {*PRIMITIVES, "array", "map"} else _full(kind.value, namespace)
    )
