"""Labelled fields of public schemas: docs/explanation/personal-fields.md says what counts."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.policies.support import SCHEMA, evaluate

from dataspine.registry.field import Annotations, Field

FOLDER = Path(__file__).parent / "pii"
CODE = "pii.untagged_field"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A field of somebody's schema, and whether a reader called it personal."""

    record: str
    path: str
    type: str
    personal: bool
    category: str
    language: str
    source: str
    license: str

    def facts(self) -> dict[str, Any]:
        """Return the field as the registry describes it."""
        name = re.sub(r"\[\]|\{\}", "", self.path).rpartition(".")[2]
        nothing = Annotations()
        return Field.of(
            self.path,
            self.type,
            doc="",
            name=name,
            record=self.record,
            own=nothing,
            inherited=nothing,
            line=None,
        ).facts()


def read(part: str) -> list[Labelled]:
    """Return the fields of a part: ``tuning``, ``frozen`` or ``later``."""
    with (FOLDER / f"{part}.tsv").open(encoding="utf-8", newline="") as file:
        return [
            Labelled(personal=row.pop("personal") == "true", **row)
            for row in csv.DictReader(file, delimiter="\t")
        ]


def suspected(opa: Path, bundle: Path, fields: list[Labelled]) -> list[str | None]:
    """Return what OPA says of each field: the message of the suspicion, or None; one run."""
    groups = [
        [number for number, _ in group]
        for _, group in itertools.groupby(
            enumerate(fields), lambda pair: (pair[1].source, pair[1].record)
        )
    ]
    questions = [_question([fields[number] for number in group]) for group in groups]
    query = (
        "[found | some question in input; answer := data.dataspine.main.schema_publish"
        f" with input as question; found := {{v.path: v.message | some v in answer.violations; "
        f'v.code == "{CODE}"}}]'
    )
    answers = evaluate(opa, bundle, query, questions)
    if len(answers) != len(questions):
        raise ValueError("a question was not answered")
    found: list[str | None] = [None] * len(fields)
    for group, answer in zip(groups, answers, strict=True):
        for place, number in enumerate(group):
            found[number] = answer.get(f"/facts/fields/{place}")
    return found


@dataclass(frozen=True, slots=True)
class Score:
    """How often a suspicion was right, and how many personal fields were suspected."""

    precision: float
    recall: float
    fields: int

    @classmethod
    def of(cls, fields: Sequence[Labelled], found: Sequence[bool]) -> Score:
        """Compare labels with what was found."""
        right = sum(f.personal and was for f, was in zip(fields, found, strict=True))
        personal = sum(f.personal for f in fields)
        return cls(right / max(1, sum(found)), right / max(1, personal), len(fields))

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-9)


def _question(fields: list[Labelled]) -> dict[str, Any]:
    facts = {**SCHEMA["facts"], "fields": [field.facts() for field in fields]}
    return {**SCHEMA, "facts": facts}
