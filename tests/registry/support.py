"""Schemas for tests, with what they import."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataspine.registry import ParsedSchema, ProtobufWorkers, parse


@dataclass(frozen=True)
class Stored:
    """A stored version that refers to nothing."""

    type: str
    text: str
    references: Sequence[Mapping[str, Any]] = ()


def parsed(
    kind: str,
    text: str,
    imports: Mapping[str, str] | None = None,
    workers: ProtobufWorkers | None = None,
) -> ParsedSchema:
    """Return a schema; ``imports`` are other texts by the name they are referred to."""
    texts = {name: complete(kind, other) for name, other in (imports or {}).items()}
    references = [{"name": name, "subject": name, "version": 1} for name in texts]
    return parse(
        kind,
        complete(kind, text),
        references,
        workers=workers,
        lookup=lambda subject, _: Stored(kind, texts[subject]),
    )


def complete(kind: str, text: str) -> str:
    """Return a text with proto3 as the syntax when it has none."""
    has_syntax = kind == "AVRO" or text.startswith(("syntax", "edition"))
    return text if has_syntax else f'syntax = "proto3";\n{text}'
