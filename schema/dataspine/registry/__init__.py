"""Schemas: subjects, versions, compatibility, semantic versions, and the facts of every field."""

from dataspine.registry._workers import ProtobufWorkers
from dataspine.registry.compatibility import Comparison, compare, next_version
from dataspine.registry.contract import Contract
from dataspine.registry.field import Field, classifications_of
from dataspine.registry.schema import Lookup, ParsedSchema, parse
from dataspine.registry.store import DELETED, Deleted, Registry, Version

__all__ = [
    "DELETED",
    "Comparison",
    "Contract",
    "Deleted",
    "Field",
    "Lookup",
    "ParsedSchema",
    "ProtobufWorkers",
    "Registry",
    "Version",
    "classifications_of",
    "compare",
    "next_version",
    "parse",
]
