"""What a level or a rule would mean for the subjects that are stored."""

from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Spine

from dataspine.adapters import schema_publish, schema_registry
from dataspine.adapters.init import init
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.core.workspace import Workspace

pytestmark = pytest.mark.integration


def text(*names: str) -> str:
    fields = ", ".join(f'{{"name": "{name}", "type": "int"}}' for name in names)
    return f'{{"type": "record", "name": "R", "fields": [{fields}]}}'


@pytest.fixture
def workspace(tmp_path: Path, opa: Path) -> Workspace:
    made = init(tmp_path / "shop", name="shop", told=lambda _: None)
    with Session(made, opa=opa) as session:
        schema_registry.set_level(session, "a", "NONE")
        for names in (("size",), ("size", "width"), ("size", "width", "depth")):
            schema_publish.publish(session, Proposal("a", text(*names)))
        schema_publish.publish(session, Proposal("b", text("size")))
    return made


def impact(spine: Spine, workspace: Workspace, *given: str) -> tuple[int, Any]:
    run = spine("schema", "impact", "--workspace", str(workspace.root), "--json", *given)
    return run.status, run.document


def test_a_level_is_tried_on_every_version(workspace: Workspace, spine: Spine) -> None:
    assert impact(spine, workspace, "--level", "NONE") == (0, [])
    assert impact(spine, workspace, "--level", "FORWARD_TRANSITIVE") == (0, [])
    status, failures = impact(spine, workspace, "--level", "BACKWARD_TRANSITIVE")
    assert (status, [(f["subject"], f["version"], f["codes"]) for f in failures]) == (
        1,
        [("a", 2, ["contract.incompatible"]), ("a", 3, ["contract.incompatible"])],
    )
    assert "depth" in " ".join(failures[1]["messages"])
    status, answer = impact(spine, workspace, "--level", "SOME")
    assert (status, answer["error"]["code"]) == (2, "registry.invalid_level")


def test_a_rule_is_tried_on_the_newest_versions(workspace: Workspace, spine: Spine) -> None:
    assert impact(spine, workspace) == (0, [])
    configuration = workspace.root / "spine.yaml"
    configuration.write_text(configuration.read_text() + "\nsubjects: {pattern: '[b-z]'}\n")
    status, failures = impact(spine, workspace)
    assert (status, [(f["subject"], f["version"], f["codes"]) for f in failures]) == (
        1,
        [("a", 3, ["contract.subject_name"])],
    )
    plain = spine("schema", "impact", "--workspace", str(workspace.root))
    assert "contract.subject_name" in plain.stdout
