"""What travels beside a schema's text and belongs to its identity: metadata and rules.

The shapes are those of stock clients' data contracts: ``{"metadata": {"properties", "tags",
"sensitive"}, "ruleSet": {"domainRules", "migrationRules", "encodingRules"}}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dataspine.core.canonical import canonical
from dataspine.core.errors import InputError

__all__ = ["Contract"]

MAX_ENTRIES = 200
MAX_TEXT = 1_000
MAX_RULES_BYTES = 65_536

_METADATA_KEYS = {"properties", "tags", "sensitive"}
_RULE_SET_KEYS = {"domainRules", "migrationRules", "encodingRules", "enableAt"}


@dataclass(frozen=True, slots=True)
class Contract:
    """Metadata and rules of one version.

    ``properties`` are name and value, ``tags`` path and tags, ``sensitive`` the names of properties
    that are secrets. ``rule_set`` is kept and handed out, never run: clients run it.
    """

    properties: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sensitive: tuple[str, ...] = ()
    rule_set: Mapping[str, Any] | None = None

    def __bool__(self) -> bool:
        """Tell whether anything is stated."""
        return bool(self.properties or self.tags or self.sensitive or self.rule_set)

    @classmethod
    def of(cls, metadata: object, rule_set: object = None) -> Contract:
        """Build it from what a client sent, null included; raise ``InputError`` for another shape.

        Nothing that was sent is dropped: what we could not store is refused.
        """
        told = _object(metadata, "metadata")
        _known(told, _METADATA_KEYS, "metadata")
        properties = _object(told.get("properties"), "metadata/properties")
        tags = _object(told.get("tags"), "metadata/tags")
        # An empty list of rules says what none says; clients write either.
        rules = {key: value for key, value in _object(rule_set, "ruleSet").items() if value != []}
        _known(rules, _RULE_SET_KEYS, "ruleSet")
        if rules and len(canonical(rules)) > MAX_RULES_BYTES:
            raise _wrong("ruleSet", f"is over the limit of {MAX_RULES_BYTES} bytes")
        return cls(
            {_text(k, "properties"): _text(v, "properties") for k, v in properties.items()},
            {_text(path, "tags"): _texts(names, "tags") for path, names in tags.items()},
            _texts(told.get("sensitive"), "sensitive"),
            rules or None,
        )

    def owned_by(self, owner: str | None) -> Contract:
        """Return it with an owner, unless it states one."""
        if owner is None or "owner" in self.properties:
            return self
        return replace(self, properties={**self.properties, "owner": owner})

    def document(self) -> dict[str, Any]:
        """Return what travels: only what is stated."""
        metadata = {
            "properties": dict(self.properties),
            "tags": {path: list(names) for path, names in self.tags.items()},
            "sensitive": list(self.sensitive),
        }
        metadata = {key: value for key, value in metadata.items() if value}
        document: dict[str, Any] = {"metadata": metadata} if metadata else {}
        return document | ({"ruleSet": dict(self.rule_set)} if self.rule_set else {})


def _object(value: object, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong(where, "is no JSON object")
    if len(value) > MAX_ENTRIES:
        raise _wrong(where, f"has more than {MAX_ENTRIES} entries")
    # A key that is null is one that was not sent, as stock clients write it.
    return {key: each for key, each in value.items() if each is not None}


def _known(value: Mapping[str, Any], keys: set[str], where: str) -> None:
    unknown = sorted(set(value) - keys)
    if unknown:
        raise _wrong(f"{where}/{unknown[0][:40]}", "is unknown, and would be lost")


def _texts(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or len(value) > MAX_ENTRIES:
        raise _wrong(f"metadata/{where}", f"is no list of at most {MAX_ENTRIES} texts")
    return tuple(_text(each, where) for each in value)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT:
        raise _wrong(f"metadata/{where}", f"has no text of 1 to {MAX_TEXT} characters")
    return value


def _wrong(where: str, problem: str) -> InputError:
    return InputError(
        f"{where} {problem}",
        where=where,
        remedy="Send the shapes of a data contract: metadata and ruleSet.",
        code="registry.invalid_contract",
    )
