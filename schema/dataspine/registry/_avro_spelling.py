"""An Avro schema in the one way to write it, which is that of Apache's Java library.

Clients of other languages send the same schema in other words, and must find it.
"""

from __future__ import annotations

from collections.abc import Collection

from dataspine.registry._avro_name import NAMED, PRIMITIVES, full_name, inner_namespace, members
from dataspine.registry._json import Node, Plain, plain

__all__ = ["spelled"]


def spelled(node: Node, namespace: str = "") -> Plain:
    """Return a type with names that are short inside their namespace, without what says nothing."""
    if isinstance(node.value, list):
        return [spelled(branch, namespace) for branch in node.value]
    if isinstance(node.value, str):
        return _short(node.value, namespace)
    if not isinstance(node.value, dict):
        return plain(node)
    kind = node.text("type") or ""
    if kind in NAMED:
        return _named(node, kind, namespace)
    kept = _telling(node, {"type", "items", "values"})
    for name in ("type", "items", "values"):
        member = node.get(name)
        if member is not None:
            kept[name] = spelled(member, namespace)
    return kept["type"] if list(kept) == ["type"] else kept


def _named(node: Node, kind: str, namespace: str) -> Plain:
    inner = inner_namespace(node, namespace)
    kept = _telling(node, {"type", "namespace", "fields"})
    kept |= {"type": kind, "name": (node.text("name") or "").rpartition(".")[2]}
    if inner != namespace:
        kept["namespace"] = inner
    aliases, fields = kept.get("aliases"), node.get("fields")
    if isinstance(aliases, list):
        kept["aliases"] = [_short(str(alias), inner) for alias in aliases]
    if fields is not None:
        kept["fields"] = [_field(field, inner) for field in members(fields)]
    return kept


def _field(node: Node, namespace: str) -> Plain:
    kept, kind = _telling(node, {"type"}), node.get("type")
    if kind is not None:
        kept["type"] = spelled(kind, namespace)
    if kept.get("order") == "ascending":
        del kept["order"]
    return kept


def _telling(node: Node, besides: Collection[str]) -> dict[str, Plain]:
    """Return the members of a type or a field, but some, without those that say nothing."""
    written = node.value if isinstance(node.value, dict) else {}
    found = {name: plain(member) for name, member in written.items() if name not in besides}
    empty: dict[str, Plain] = {"doc": None, "aliases": []}
    return {k: v for k, v in found.items() if k not in empty or v != empty[k]}


def _short(name: str, namespace: str) -> str:
    """Return a name as it is written inside a namespace."""
    own, _, short = full_name(name, namespace).rpartition(".")
    is_mistaken = short in PRIMITIVES and short != name
    return short if own == namespace and not is_mistaken else name
