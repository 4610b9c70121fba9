"""A parsed schema of either format, and the cache that makes the second parse free."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from dataspine.core.canonical import digest
from dataspine.core.errors import InputError
from dataspine.core.lru import Lru
from dataspine.registry._cycle import closed
from dataspine.registry._json import invalid
from dataspine.registry._workers import ProtobufWorkers
from dataspine.registry.avro import Avro, parse_avro
from dataspine.registry.field import Field, tagged
from dataspine.registry.protobuf import Protobuf, descriptor_as_text, parse_protobuf

__all__ = ["TYPES", "Lookup", "ParsedSchema", "Stored", "parse", "reference_key"]

TYPES = ("AVRO", "PROTOBUF")
MAX_REFERENCES = 100
CACHE_ENTRIES = 256
# Of the schemas that are kept parsed: about 150 MB at most, where 256 large ones would be 3 GB.
CACHE_WEIGHT = 4 * 1_048_576


class Stored(Protocol):
    """What a reference points at: a stored version."""

    @property
    def type(self) -> str:
        """The format."""
        ...

    @property
    def text(self) -> str:
        """The text."""
        ...

    @property
    def references(self) -> Sequence[Mapping[str, Any]]:
        """What it refers to itself."""
        ...


Lookup = Callable[[str, int], Stored]


@dataclass(frozen=True, slots=True)
class ParsedSchema:
    """A schema that is well-formed.

    ``digest`` names the content: the canonical form, without white space and (Avro) order of keys,
    but with docs, tags and comments, as those carry classifications. ``structure`` leaves them out.
    ``dependencies`` are name and text of what it refers to, in the order in which that is needed.
    """

    type: str
    text: str
    canonical: str
    digest: str
    fields: tuple[Field, ...]
    structure: bytes = field(default=b"", repr=False)
    model: Avro | Protobuf | None = field(default=None, repr=False, compare=False)
    dependencies: tuple[tuple[str, str], ...] = field(default=(), repr=False, compare=False)

    def tagged(self, tags: Mapping[str, Sequence[str]]) -> ParsedSchema:
        """Return it with the tags of a data contract on its fields; its digest is the same."""
        return replace(self, fields=closed(tagged(self.fields, tags))) if tags else self

    def is_described_by(self, other: ParsedSchema) -> bool:
        """Return whether ``other`` is this schema without its comments, as in generated code."""
        ours, theirs = self.model, other.model
        if not isinstance(ours, Protobuf) or not isinstance(theirs, Protobuf):
            return False
        return not theirs.is_commented and ours.described == theirs.described

    def text_as(self, form: str) -> str:
        """Return the text in a form of stock clients.

        ``resolved`` is of Avro, ``serialized`` of Protobuf; what is of neither is the text itself.
        """
        if form == "resolved" and isinstance(self.model, Avro):
            return self.model.resolved()
        if form == "serialized" and isinstance(self.model, Protobuf):
            return self.model.serialized()
        return self.text


def _weigh(schema: ParsedSchema) -> int:
    # A field of what it refers to takes as much as one of its own, which has some 40 characters.
    return len(schema.text) + 40 * len(schema.fields)


# The schemas parsed last.
_cache: Lru[str, ParsedSchema] = Lru(CACHE_ENTRIES, weight=CACHE_WEIGHT, weigh=_weigh)


def parse(
    schema_type: str,
    text: str,
    references: Sequence[Mapping[str, Any]] = (),
    *,
    workers: ProtobufWorkers | None = None,
    lookup: Lookup | None = None,
) -> ParsedSchema:
    """Parse a schema, or raise ``InputError`` (code ``registry.invalid_schema`` and its line).

    ``references`` are ``{"name", "subject", "version"}``; ``lookup`` finds what they name
    (``Registry.reference``). Protobuf needs ``workers``; a descriptor in base64 becomes its text.
    A text parsed lately comes from a cache.
    """
    if schema_type not in TYPES:
        raise InputError(
            "JSON Schema is not supported"
            if schema_type == "JSON"
            else f"the schema type {schema_type[:40]!r} is unknown",
            remedy=f"Use one of {', '.join(TYPES)}.",
            code="registry.unknown_type",
        )
    dependencies = _resolve(references, schema_type, lookup)
    key = _key(schema_type, text, dependencies)
    parsed = _cache.get(key)
    if parsed is None:
        parsed = _parse(schema_type, text, dependencies, workers)
        _cache.put(key, parsed)
    return parsed


def reference_key(references: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return references in the one order and shape that identity compares."""
    plain = [_checked(reference) for reference in references]
    return [
        {"name": name, "subject": subject, "version": version}
        for name, subject, version in sorted(plain)
    ]


def _parse(
    schema_type: str,
    text: str,
    dependencies: Sequence[tuple[str, str]],
    workers: ProtobufWorkers | None,
) -> ParsedSchema:
    try:
        if schema_type == "PROTOBUF" and workers is not None:
            text = descriptor_as_text(text, dependencies, workers)
        model = _model(schema_type, text, dependencies, workers)
    except RecursionError:
        raise invalid("types are linked too deep", None, "Use fewer types inside types.") from None
    return ParsedSchema(
        schema_type,
        text,
        model.canonical,
        digest([schema_type, model.canonical]),
        model.fields,
        model.structure,
        model,
        tuple(dependencies),
    )


def _model(
    schema_type: str,
    text: str,
    dependencies: Sequence[tuple[str, str]],
    workers: ProtobufWorkers | None,
) -> Avro | Protobuf:
    if schema_type == "AVRO":
        return parse_avro(text, dependencies)
    if workers is None:
        raise ValueError("Protobuf needs workers")
    return parse_protobuf(text, dependencies, workers)


def _key(schema_type: str, text: str, dependencies: Sequence[tuple[str, str]]) -> str:
    summary = hashlib.sha256()
    for part in (schema_type, text, *(part for pair in dependencies for part in pair)):
        data = part.encode("utf-8", "surrogatepass")
        summary.update(len(data).to_bytes(8, "big"))
        summary.update(data)
    return summary.hexdigest()


def _checked(reference: Mapping[str, Any]) -> tuple[str, str, int]:
    name, subject, version = (reference.get(key) for key in ("name", "subject", "version"))
    if not isinstance(name, str) or not isinstance(subject, str) or type(version) is not int:
        raise invalid(
            "a reference without name, subject and version number",
            None,
            'Write {"name": "shop.Address", "subject": "shop.addresses", "version": 1}.',
            where="references",
        )
    return name, subject, version


def _resolve(
    references: Sequence[Mapping[str, Any]], schema_type: str, lookup: Lookup | None
) -> list[tuple[str, str]]:
    """Return (name, text) of all that is referred to, what is needed first in front."""
    found: dict[str, tuple[str, int, str]] = {}
    order: list[str] = []

    def visit(wanted: Sequence[Mapping[str, Any]], depth: int) -> None:
        for reference in wanted:
            name, subject, version = _checked(reference)
            if name in found:
                if found[name][:2] != (subject, version):
                    raise invalid(
                        f"{name!r} refers to two versions", None, "Use one.", where="references"
                    )
                continue
            if depth > MAX_REFERENCES or len(found) >= MAX_REFERENCES or lookup is None:
                raise invalid(
                    f"{name!r} cannot be resolved"
                    if lookup is None
                    else f"more than {MAX_REFERENCES} references",
                    None,
                    "Put the types into this schema.",
                    where="references",
                )
            stored = lookup(subject, version)
            if stored.type != schema_type:
                raise invalid(
                    f"{name!r} is {stored.type}, not {schema_type}",
                    None,
                    "Refer to a schema of the same type.",
                    where="references",
                )
            found[name] = (subject, version, stored.text)
            visit(stored.references, depth + 1)
            order.append(name)

    visit(references, 1)
    return [(name, found[name][2]) for name in order]
