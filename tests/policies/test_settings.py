"""What spine.yaml's schema lets in, the rules can read; what either refuses, both refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from tests.policies.support import DATA, build, evaluate

from dataspine.core.document import schema
from dataspine.core.errors import InputError
from dataspine.core.workspace import Workspace

GRANT = {"principal": "ada", "permissions": ["publish"]}
WHOLE: dict[str, dict[str, Any]] = {
    "nothing": {},
    "retention": {"retention": {"maximum": {"PII": "P2Y", "PCI": "P1Y6M", "Internal": "PT12H"}}},
    "no maximum": {"retention": {"maximum": {}}},
    "subjects": {"subjects": {"pattern": "[a-z]+([.][a-z]+)*"}},
    "metadata": {"metadata": {"required": ["owner", "domain"]}},
    "nothing required": {"metadata": {"required": []}},
    "nobody": {"access": {"grants": []}},
    "principal": {"access": {"grants": [GRANT]}},
    "role": {
        "access": {"roles": {"dev": ["ada"]}, "grants": [{"role": "dev", "permissions": ["*"]}]}
    },
    "resources": {"access": {"grants": [{**GRANT, "resources": "shop.**"}]}},
}
BROKEN: dict[str, dict[str, Any]] = {
    "unknown section": {"retentions": {"maximum": {}}},
    "section of nothing": {"retention": None},
    "unknown key": {"retention": {"maximum": {}, "minimum": {}}},
    "no duration": {"retention": {"maximum": {"PII": "2 years"}}},
    "duration of nothing": {"retention": {"maximum": {"PII": "P"}}},
    "time of nothing": {"retention": {"maximum": {"PII": "PT"}}},
    "number": {"retention": {"maximum": {"PII": 730}}},
    "pattern of nothing": {"subjects": {}},
    "pattern of no text": {"subjects": {"pattern": 7}},
    "blank key": {"metadata": {"required": [" "]}},
    "keys of no list": {"metadata": {"required": "owner"}},
    "no grants": {"access": {"roles": {}}},
    "grant to nobody": {"access": {"grants": [{"permissions": ["*"]}]}},
    "grant to two": {"access": {"grants": [{**GRANT, "role": "dev"}]}},
    "grant of no list": {"access": {"grants": [{**GRANT, "permissions": "*"}]}},
    "blank principal": {"access": {"grants": [{**GRANT, "principal": " "}]}},
    "blank resources": {"access": {"grants": [{**GRANT, "resources": " "}]}},
    "role of no list": {"access": {"roles": {"dev": "ada"}, "grants": []}},
}


@pytest.mark.integration
def test_schema_and_rules_agree_on_every_section(opa: Path, tmp_path: Path) -> None:
    cases = {**WHOLE, **BROKEN}
    query = (
        '[count(faults) | some other in input; config := object.union({"rules": {}}, other); '
        "faults := data.dataspine.lib.bundle_data.faults with data.dataspine.config as config]"
    )

    faults = evaluate(opa, build(tmp_path, DATA), query, list(cases.values()))

    accepts = jsonschema_rs.validator_for(schema("spine")).is_valid
    by_schema = {
        name: accepts({"name": "shop", "mode": "dev", **case}) for name, case in cases.items()
    }
    by_rules = {name: count == 0 for name, count in zip(cases, faults, strict=True)}
    assert by_schema == by_rules == {name: name in WHOLE for name in cases}


def test_sections_reach_the_settings_as_written(tmp_path: Path) -> None:
    text = "name: shop\nmode: dev\nretention: {maximum: {PII: P2Y}}\nmetadata: {required: [a]}\n"
    (tmp_path / "spine.yaml").write_text(text)

    assert Workspace.open(tmp_path).settings.sections == {
        "retention": {"maximum": {"PII": "P2Y"}},
        "metadata": {"required": ["a"]},
    }


def test_a_broken_section_is_refused_with_its_line(tmp_path: Path) -> None:
    text = "name: shop\nmode: dev\nretention:\n  maximum:\n    PII: two years\n"
    (tmp_path / "spine.yaml").write_text(text)

    with pytest.raises(InputError) as refused:
        Workspace.open(tmp_path)

    assert refused.value.where.endswith("spine.yaml:5")
