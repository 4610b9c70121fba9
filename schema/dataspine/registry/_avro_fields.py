"""The fields of an Avro schema, each named type spelled out wherever it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dataspine.registry._avro_name import (
    LOGICAL_TYPES,
    NAMED,
    PRIMITIVES,
    Named,
    full_name,
    inner_namespace,
    members,
)
from dataspine.registry._cycle import Cycles
from dataspine.registry._json import Node, plain
from dataspine.registry.field import NOTHING, Annotations, Field, add_field, read_annotations

__all__ = ["AvroFields"]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value is: its path and field name, the record around it, and how names resolve.

    ``index`` is that of the field in the list of all.
    """

    path: str
    name: str
    record: str
    doc: str
    line: int | None
    namespace: str
    foreign: bool
    index: int = -1


class AvroFields:
    """Collects the fields, each named type spelled out wherever it is used."""

    def __init__(self, types: Mapping[str, Named]) -> None:
        self._types = types
        self._cycles = Cycles()
        self._fields: list[Field] = []

    def root(self, node: Node) -> tuple[Field, ...]:
        """Walk a whole schema, and return its fields."""
        place = _Place("", "", "", "", None, "", foreign=False)
        self._inside(node, place, self._noted(node, ""), NOTHING)
        return self._cycles.finish(self._fields)

    def _add(self, node: Node, place: _Place, own: Annotations, above: Annotations) -> None:
        place = replace(place, index=len(self._fields))
        add_field(
            self._fields,
            Field.of(
                place.path,
                self._kind(node, place.namespace),
                doc=place.doc,
                name=place.name,
                record=place.record,
                own=own,
                inherited=above,
                line=place.line,
            ),
            what="named types",
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
            if self._cycles.is_open(id(node)):
                self._cycles.close(id(node), place.index)
                return
            self._cycles.enter(id(node), len(self._fields))
            self._record(node, place, own.contents().joined(above))
            self._cycles.leave(id(node), len(self._fields))
        elif kind.value not in NAMED:
            self._inside(kind, place, own, above)

    def _record(self, node: Node, place: _Place, above: Annotations) -> None:
        namespace = inner_namespace(node, place.namespace)
        record = full_name(node.text("name") or "", namespace)
        for item in members(node.get("fields")):
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
        name, carriers = LOGICAL_TYPES.get(node.text("logicalType") or "", ("", set()))
        if kind.value in carriers:
            return name
        if isinstance(kind.value, str) and kind.value in {*NAMED, "array", "map"}:
            return "record" if kind.value == "error" else kind.value
        return self._kind(kind, namespace)

    def _named(self, name: str, namespace: str) -> Named | None:
        return None if name in PRIMITIVES else self._types[full_name(name, namespace)]


def _annotations(node: Node) -> Annotations:
    tags: list[str] = []
    for key in ("tags", "confluent:tags"):
        member = node.get(key)
        if member is not None and isinstance(member.value, str):
            tags.append(member.value)
        tags += [item.value for item in members(member) if isinstance(item.value, str)]
    retention = node.get("retention")
    return read_annotations(
        [node.text("doc") or ""],
        tags=tags,
        # A retention that is no text must reach the policy, which refuses it.
        retention=None if retention is None else str(plain(retention)),
    )
