"""What a schema says about each of its fields: the facts that a policy reads."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dataspine.core.errors import InputError
from dataspine.registry._json import invalid
from dataspine.registry._tag_pattern import tag_pattern

__all__ = [
    "NOTHING",
    "Annotations",
    "Field",
    "Waiver",
    "add_field",
    "classifications_of",
    "distinct",
    "read_annotations",
    "tagged",
    "words",
]

CLASSIFICATIONS = ("PII", "PCI", "Restricted", "Internal", "Public")

MAX_FIELDS = 10_000
# Characters of names that tags are compared with, for one schema: about a second.
MAX_STEPS = 500_000
_PUBLIC = ("Public",)
_SPELLING = {name.lower(): name for name in CLASSIFICATIONS}
_WORD = re.compile(r"IPv[46]|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_BRACKETS = re.compile(r"\[([A-Za-z ,]{1,80})\]")
_WAIVER = re.compile(r"\[\s*not-pii\s*:([^\]]{0,500})\]", re.IGNORECASE)
_UNTIL = re.compile(r"(.*?)[;,]?\s*\buntil\s+(\S+)\s*", re.IGNORECASE | re.DOTALL)
_RETAIN = re.compile(r"\bretain\s*=\s*([A-Za-z0-9]{1,40})")
_SHORT = re.compile(r"([0-9]{1,6})(h|d|w|mo|m|y)", re.IGNORECASE)
# How many words of a name may have been written as one, as in `firstname` or `dateofbirth`.
_JOINED = 3


@dataclass(frozen=True, slots=True)
class Waiver:
    """A claim that a field is not personal: why, and until when, as it is written."""

    reason: str
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Annotations:
    """What is written about a field: its classifications, retention and waiver, when given."""

    classifications: tuple[str, ...] = ()
    retention: str | None = None
    waiver: Waiver | None = None

    def joined(self, other: Annotations) -> Annotations:
        """Return both; where only one can hold, this one's."""
        if other == NOTHING:
            return self
        return Annotations(
            distinct((*self.classifications, *other.classifications)),
            self.retention if self.retention is not None else other.retention,
            self.waiver if self.waiver is not None else other.waiver,
        )

    def contents(self) -> Annotations:
        """Return what also holds for the fields of a record: all but the waiver."""
        return Annotations(self.classifications, self.retention)


NOTHING = Annotations()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a schema.

    ``tokens`` are the words of its name, and neighbours written as one; ``context`` the words of
    the records and fields around it. ``path`` is written ``a.b`` for a record's field, ``a[]`` for
    an array's items and ``a{}`` for a map's values. ``classifications`` is never empty: a field
    that nothing classifies is ``("Public",)`` and not ``tagged``. A field of a classified record
    has that record's classifications and retention too. ``line`` is None when the field stands in
    another file. ``full_name`` is that of the record around it, and its own. ``holds`` are the
    spans, in the list of all fields, of the types that contain this field and are its type again.
    """

    path: str
    type: str
    doc: str
    tokens: tuple[str, ...]
    context: tuple[str, ...]
    classifications: tuple[str, ...]
    tagged: bool
    retention: str | None
    waiver: Waiver | None
    line: int | None
    full_name: str = ""
    holds: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(  # noqa: PLR0913 - one argument per fact
        cls,
        path: str,
        kind: str,
        *,
        doc: str,
        name: str,
        record: str,
        own: Annotations,
        inherited: Annotations,
        line: int | None,
    ) -> Field:
        """Return the field ``name`` of the record of this full name."""
        context = record.rpartition(".")[2]
        all_of_it = own.joined(inherited)
        return cls(
            path,
            kind,
            doc,
            _joined(words(name)),
            distinct((*words(context), *words(_above(path)))),
            all_of_it.classifications or _PUBLIC,
            bool(own.classifications),
            all_of_it.retention,
            own.waiver,
            line,
            f"{record}.{name}",
        )

    def noted(self, more: Annotations, *, tagged: bool) -> Field:
        """Return it with more classifications; ``tagged`` when they are about itself."""
        is_silent = not self.tagged and self.classifications == _PUBLIC
        known = () if is_silent else self.classifications
        return replace(
            self,
            classifications=distinct((*known, *more.classifications)),
            tagged=self.tagged or tagged,
        )

    def facts(self) -> dict[str, Any]:
        """Return the field as the JSON object of a decision's facts."""
        facts: dict[str, Any] = {
            "path": self.path,
            "type": self.type,
            "doc": self.doc,
            "tokens": list(self.tokens),
            "context": list(self.context),
            "classifications": list(self.classifications),
            "tagged": self.tagged,
            "retention": self.retention,
            "line": self.line,
        }
        if self.waiver is not None:
            facts["waiver"] = {"reason": self.waiver.reason, "until": self.waiver.until}
        return facts


def add_field(fields: list[Field], field: Field, *, what: str) -> None:
    """Add a field that was found; raise ``InputError`` when ``what``, spelled out, is too much."""
    if len(fields) >= MAX_FIELDS:
        raise invalid(
            f"more than {MAX_FIELDS} fields, {what} spelled out",
            field.line,
            "Split the schema into several subjects.",
        )
    fields.append(field)


def read_annotations(
    texts: Iterable[str] = (), *, tags: Iterable[str] = (), retention: str | None = None
) -> Annotations:
    """Read what docs and comments (``texts``), tags and a retention property say.

    The words of the five classifications get their own spelling; other tags are kept as written.
    ``90d`` becomes ``P90D``; a retention that is no duration is kept as written, for a policy to
    judge. A waiver reads ``[not-pii: why]`` or ``[not-pii: why; until 2027-06-30]``.
    """
    found = [_SPELLING.get(tag.strip().lower(), tag.strip()) for tag in tags if tag.strip()]
    waiver = None
    for text in texts:
        for match in _BRACKETS.finditer(text):
            named = [_SPELLING.get(word.strip().lower()) for word in match[1].split(",")]
            if None not in named:
                found += [name for name in named if name is not None]
        if retention is None and (match_retain := _RETAIN.search(text)):
            retention = match_retain[1]
        if waiver is None and (match_waiver := _WAIVER.search(text)):
            waiver = _waiver(match_waiver[1])
    return Annotations(distinct(found), _duration(retention), waiver)


def tagged(fields: Sequence[Field], tags: Mapping[str, Sequence[str]]) -> tuple[Field, ...]:
    """Return the fields with the tags of a data contract: pattern of full names, and tags.

    As for what is written in the schema itself, what a classified field contains is as classified;
    a pattern that matches no field says nothing. Raises ``InputError`` when there are too many of
    both to compare.
    """
    told = [(tag_pattern(text), read_annotations(tags=names)) for text, names in tags.items()]
    found: list[Field] = []
    inside: dict[str, Annotations] = {}
    steps = 0
    for field in fields:
        own = NOTHING
        for pattern, noted in told:
            if not pattern.may_match(field.full_name):
                continue
            steps += len(field.full_name)
            if pattern.matches(field.full_name):
                own = own.joined(noted)
        if steps > MAX_STEPS:
            raise InputError(
                "there are too many tags for so many fields",
                where="metadata/tags",
                remedy="Write the tags into the schema.",
                code="registry.invalid_contract",
            )
        both = inside[field.path] = own.joined(inside.get(_around(field.path), NOTHING))
        found.append(field if both == NOTHING else field.noted(both, tagged=own != NOTHING))
    return tuple(found)


@functools.lru_cache(maxsize=10_000)
def words(name: str) -> tuple[str, ...]:
    """Split a name into lower-case words: at case, digits and every other character."""
    return tuple(word.lower() for word in _WORD.findall(name))


def classifications_of(fields: Sequence[Mapping[str, Any]], column: str) -> tuple[str, ...]:
    """Return the classifications of a column and all that it contains; empty when it is unknown.

    ``fields`` are facts as ``Field.facts`` returns them. A column whose record holds a classified
    field is as classified as that field, whatever is said about the column itself.
    """
    inside = tuple(column + mark for mark in ".[{")
    found = [f for f in fields if f["path"] == column or f["path"].startswith(inside)]
    named = distinct(name for f in found for name in f["classifications"])
    return tuple(name for name in named if name != "Public") or named


@functools.lru_cache(maxsize=10_000)
def _joined(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words, then each two and three neighbours as one: people write both."""
    starts = range(len(parts))
    joined = ("".join(parts[i : i + n]) for n in range(2, _JOINED + 1) for i in starts[: 1 - n])
    return distinct((*parts, *joined))


def _around(path: str) -> str:
    """Return the path of the field that contains this one, or an empty text."""
    return path[:-2] if path.endswith(("[]", "{}")) else path.rpartition(".")[0]


def _above(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _waiver(text: str) -> Waiver:
    dated = _UNTIL.fullmatch(text)
    return Waiver(dated[1].strip(), dated[2]) if dated else Waiver(text.strip())


def _duration(text: str | None) -> str | None:
    short = _SHORT.fullmatch(text.strip()) if text is not None else None
    if short is None:
        return text.strip() if text is not None else None
    number, unit = short[1], short[2].lower()
    return f"PT{number}H" if unit == "h" else f"P{number}{unit[0].upper()}"


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names in their order, each once."""
    return tuple(dict.fromkeys(names))
