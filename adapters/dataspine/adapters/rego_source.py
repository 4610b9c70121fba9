"""A Rego file's syntax tree over its bytes: where each node stands."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

__all__ = ["RegoSource", "operator", "rule_name"]

Node = Mapping[str, Any]


@dataclass(frozen=True)
class RegoSource:
    """A file, as bytes and as the tree that ``opa parse`` makes of it."""

    raw: bytes
    tree: Node
    _lines: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        lengths = (len(line) + 1 for line in self.raw.split(b"\n"))
        object.__setattr__(self, "_lines", tuple(accumulate(lengths, initial=0)))

    def span(self, node: Node) -> tuple[int, int] | None:
        """Return the offsets of a node; None for what the parser made up."""
        location = node.get("location") or {}
        if not location.get("text"):
            return None
        text = base64.b64decode(location["text"])
        start = self._lines[location["row"] - 1] + location["col"] - 1
        return (start, start + len(text)) if self.raw.startswith(text, start) else None

    def text(self, node: Node) -> bytes | None:
        """Return what a node says in the file; None for what the parser made up."""
        span = self.span(node)
        return self.raw[span[0] : span[1]] if span else None


def rule_name(rule: Node) -> str:
    """Return the name of a rule, such as ``deny``."""
    return str(rule["head"]["ref"][0]["value"])


def operator(term: Node) -> str:
    """Return the built-in or function that a call's first term names."""
    value = term.get("value")
    return str(value[0]["value"]) if isinstance(value, list) and value else ""
