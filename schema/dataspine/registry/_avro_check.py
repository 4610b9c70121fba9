"""The rules of Avro's specification, each fault with its line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from dataspine.registry._avro_name import (
    NAME,
    NAMED,
    PRIMITIVES,
    Named,
    full_name,
    inner_namespace,
    members,
)
from dataspine.registry._json import Node, invalid
from dataspine.registry.field import MAX_FIELDS

__all__ = ["AvroCheck"]

MAX_STEPS = 100_000


class AvroCheck:
    """The rules of Avro's specification; collects the named types.

    ``widest`` is how many branches the widest union has.
    """

    def __init__(self, types: dict[str, Named], where: str) -> None:
        self._types = types
        self._where = where
        self._steps = 0
        self.widest = 0

    def schema(self, node: Node, namespace: str) -> None:
        """Check a type, or raise ``InputError``."""
        value = node.value
        if isinstance(value, list):
            self._union(node, value, namespace)
        elif isinstance(value, str):
            if value not in PRIMITIVES and full_name(value, namespace) not in self._types:
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
        self.widest = max(self.widest, len(branches))
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
        self._types[full] = Named(node, inner)
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
        full = full_name(name.value, own)
        if full in self._types or full in PRIMITIVES:
            self._fail(f"the name {full} is taken", name, "Define it once, then use its name.")
        return full, full.rpartition(".")[0]

    def _enum(self, node: Node) -> None:
        symbols = node.get("symbols")
        if symbols is None or not isinstance(symbols.value, list) or not symbols.value:
            self._fail("the enum has no symbols", symbols or node, 'Add "symbols": ["A", "B"].')
        seen: set[object] = set()
        for symbol in symbols.value:
            if not isinstance(symbol.value, str) or not NAME.fullmatch(symbol.value):
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
        if len(fields.value) > MAX_FIELDS:  # the library compares each with all before it
            remedy = "Split the schema into several subjects."
            self._fail(f"more than {MAX_FIELDS} fields in one record", fields, remedy)
        seen: set[str] = set()
        for item in fields.value:
            name, kind = item.get("name"), item.get("type")
            if name is None or not isinstance(name.value, str) or not NAME.fullmatch(name.value):
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
            named = self._types[full_name(value, namespace)]
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
                return any(content == symbol.value for symbol in members(kind.get("symbols")))
            case "fixed":
                return isinstance(content, str)
            case "record" | "error":
                return isinstance(content, dict) and self._accepts_record(
                    kind, content, inner_namespace(kind, namespace)
                )
            case _:
                return self._accepts(inner, default, namespace)

    def _accepts_record(self, kind: Node, content: Mapping[str, Node], namespace: str) -> bool:
        for item in members(kind.get("fields")):
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


def _is_name(value: object, *, empty: bool) -> bool:
    if value == "" and empty:
        return True
    return isinstance(value, str) and all(NAME.fullmatch(part) for part in value.split("."))


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
        return node.value if node.value in PRIMITIVES else full_name(node.value, namespace)
    kind = node.get("type")
    if kind is None:
        return ""
    if not isinstance(kind.value, str):
        return _branch_name(kind, namespace)
    if kind.value in NAMED:
        name = node.text("name") or ""
        return full_name(name, inner_namespace(node, namespace))
    return (
        kind.value
        if kind.value in {*PRIMITIVES, "array", "map"}
        else full_name(kind.value, namespace)
    )
