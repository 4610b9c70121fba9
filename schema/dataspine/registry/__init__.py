"""Schemas: subjects, versions, compatibility, semantic versions, and the facts of every field."""

from dataspine.registry._identifier import Chosen
from dataspine.registry._limits import Limits
from dataspine.registry._workers import ComparisonWorkers, ProtobufWorkers
from dataspine.registry.compatibility import (
    LEVELS,
    Comparison,
    compare,
    is_transitive,
    next_version,
    require_importable,
)
from dataspine.registry.contract import Contract
from dataspine.registry.difference import Difference, differences
from dataspine.registry.field import Field, classifications_of
from dataspine.registry.schema import TYPES, Lookup, ParsedSchema, parse
from dataspine.registry.settings import ALL, SubjectSettings
from dataspine.registry.store import Registry
from dataspine.registry.version import DELETED, Deleted, Version

__all__ = [
    "ALL",
    "DELETED",
    "LEVELS",
    "TYPES",
    "Chosen",
    "Comparison",
    "ComparisonWorkers",
    "Contract",
    "Deleted",
    "Difference",
    "Field",
    "Limits",
    "Lookup",
    "ParsedSchema",
    "ProtobufWorkers",
    "Registry",
    "SubjectSettings",
    "Version",
    "classifications_of",
    "compare",
    "differences",
    "is_transitive",
    "next_version",
    "parse",
    "require_importable",
]
