"""A batch is answered as each of its questions is alone, whatever the bundle's data is like."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.policies.support import ROW, SCHEMA

from dataspine.adapters.init import init
from dataspine.adapters.opened_bundle import Opened
from dataspine.adapters.policy import content_of
from dataspine.bundles import Content, content_digest
from dataspine.core.workspace import Workspace
from dataspine.decisions.decision import Decision, DecisionInput
from dataspine.decisions.replay import Replayer

pytestmark = pytest.mark.integration

EXCEPTIONS = b"""[{"rule": "pii.untagged_field", "applies-to": "shop.*", "reason": "r",
"approved-by": "a", "effective-until": "2026-12-01T00:00:00Z"}]"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return init(tmp_path_factory.mktemp("replay") / "shop", name="shop", told=lambda _: None)


def _questions() -> list[DecisionInput]:
    tagged, other = copy.deepcopy(SCHEMA), copy.deepcopy(ROW)
    tagged["facts"]["fields"][0] |= {"classifications": ["PII"], "tagged": True}
    other["row"] = {"country": "DE"}
    unknown = {**SCHEMA, "facts": {"name": "shop.x"}}
    return [DecisionInput.parse(each) for each in (SCHEMA, tagged, unknown, ROW, other)]


def _comparable(decision: Decision) -> Decision:
    return replace(decision, decision_id="", evaluated_at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("data", "codes"),
    [
        ({}, {"pii.untagged_field", "engine.invalid_input", "residency.home_not_allowed"}),
        (
            {"dataspine/exceptions/data.json": EXCEPTIONS},
            {"engine.invalid_input", "residency.home_not_allowed"},
        ),
        ({"dataspine/exceptions/data.json": b'[{"rule": 7}]'}, {"engine.invalid_data"}),
        ({"dataspine/matrix/data.json": b"{}"}, {"engine.invalid_data"}),
    ],
    ids=["whole", "dated", "broken exceptions", "no matrix"],
)
def test_batch_answers_as_single_questions(
    workspace: Workspace, opa: Path, data: dict[str, bytes], codes: set[str]
) -> None:
    content = content_of(workspace)
    assert data.keys() <= content.files.keys()
    files = {**content.files, **data}
    digest = content_digest(files)
    changed = Content(files, digest, f"1.0.0+{digest.replace(':', '.')}")
    with Replayer(opa, Opened.unsigned(changed, opa).source()) as replayer:
        for point in ("schema.publish", "row.replicate"):
            asked = [each for each in _questions() if each.point == point]
            together = [_comparable(each) for each in replayer.decide(asked)]
            alone = [_comparable(answer) for each in asked for answer in replayer.decide([each])]
            assert together == alone
            codes = codes - {code for each in together for code in each.codes}
    assert codes == set()
