"""How Avro names things, and what its specification lists."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dataspine.registry._json import Node

__all__ = [
    "LOGICAL_TYPES",
    "NAME",
    "NAMED",
    "PRIMITIVES",
    "Named",
    "full_name",
    "inner_namespace",
    "members",
]

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAMED = frozenset({"record", "error", "enum", "fixed"})

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
# A logical type: what a field is told to be, and the types that may carry it.
LOGICAL_TYPES = {
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
class Named:
    """A named type, and the namespace inside it; ``foreign`` is one that a reference brought."""

    node: Node
    namespace: str
    foreign: bool = False


def full_name(name: str, namespace: str) -> str:
    """Return a name with its namespace."""
    return f"{namespace}.{name}" if namespace and "." not in name else name


def inner_namespace(node: Node, namespace: str) -> str:
    """Return the namespace inside a named type."""
    own = node.text("namespace")
    space = namespace if own is None else own
    return full_name(node.text("name") or "", space).rpartition(".")[0]


def members(node: Node | None) -> list[Node]:
    """Return the members of a list; of anything else none."""
    return node.value if node is not None and isinstance(node.value, list) else []
