"""Labelled fields of public schemas: docs/explanation/personal-fields.md says what counts."""

from __future__ import annotations

import csv
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.policies.support import AT, evaluate

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
            context=self.record,
            own=nothing,
            inherited=nothing,
            line=None,
        ).facts()


def read(part: str) -> list[Labelled]:
    """Return the fields of a half: ``tuning`` or ``frozen``."""
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
    found: list[str | None] = [None] * len(fields)
    for group, answer in zip(groups, answers, strict=True):
        for place, number in enumerate(group):
            found[number] = answer.get(f"/facts/fields/{place}")
    return found


def _question(fields: list[Labelled]) -> dict[str, Any]:
    facts = {
        "name": "labelled",
        "format": "AVRO",
        "metadata": {"owner": "team"},
        "fields": [field.facts() for field in fields],
    }
    return {"point": "schema.publish", "at": AT, "facts": facts}
