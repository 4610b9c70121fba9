"""What a code means, here."""

import re
from pathlib import Path

import pytest
from tests.conftest import Spine

from dataspine.adapters.explanation import codes, explain
from dataspine.cdc.refusal import REFUSALS
from dataspine.core.errors import NotFoundError
from dataspine.core.workspace import Workspace
from dataspine.decisions.fault import FAULTS

CUSTOM = """\
package dataspine.custom.shop.bare

deny contains violation if {
	violation := {}
}
"""


@pytest.mark.parametrize(
    ("rules", "severity"),
    [("", "error"), ("  pii.untagged_field: warn\n", "warn"), ("  pii: ignore\n", "ignore")],
    ids=["own", "code", "domain"],
)
def test_severity_is_that_of_the_workspace(workspace: Workspace, rules: str, severity: str) -> None:
    settings = workspace.root / "spine.yaml"
    settings.write_text(settings.read_text().replace("rules:\n", f"rules:\n{rules}"))
    found = explain("pii.untagged_field", Workspace.open(workspace.root))
    assert (found.severity, found.source) == (severity, "product")
    assert "GDPR-30" in found.controls
    assert found.title == "A field that looks personal is tagged as such, or says why not"
    assert "{field}" in found.message
    assert found.why.startswith("Personal data without a classification")


def test_custom_rule_without_words_is_explained_by_its_code(workspace: Workspace) -> None:
    file = workspace.custom_path / "shop/bare/bare.rego"
    file.parent.mkdir(parents=True)
    file.write_text(CUSTOM)
    found = explain("shop.bare", workspace)
    assert (found.title, found.severity, found.source) == ("shop.bare", "error", "custom")


@pytest.mark.parametrize(
    ("code", "near"),
    [
        ("pii.untaged_field", "pii.untagged_field"),
        ("engine.unavailble", "engine.unavailable"),
        ("retention.x", "retention.malformed"),
        ("☃", "spine policy docs"),
    ],
)
def test_unknown_code_suggests_near_ones(code: str, near: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        explain(code, None)
    assert caught.value.code == "input.unknown_code"
    assert near in caught.value.remedy


def test_every_code_is_explained(workspace: Workspace) -> None:
    known = codes(workspace)
    assert {"pii.untagged_field", "residency.region_denied", "engine.undefined"} <= set(known)
    for code in known:
        found = explain(code, workspace)
        assert all((found.title, found.why, found.remediation)), code


def test_every_engine_code_of_the_sources_has_words() -> None:
    root = Path(__file__).parents[2]
    folders = ("adapters", "bundles", "engine", "schema", "streaming", "web")
    texts = (path.read_text() for folder in folders for path in (root / folder).rglob("*.py"))
    used = {code for text in texts for code in re.findall(r'"(engine\.[a-z_]+)"', text)}
    assert used == set(FAULTS)


def test_every_code_under_which_a_row_parks_has_words() -> None:
    root = Path(__file__).parents[2]
    texts = [path.read_text() for path in (root / "streaming").rglob("*.py")]
    # A verdict has its codes as a tuple; a refusal is given by its code.
    parking = re.compile(r'\("(cdc\.[a-z_]+)",\)|_refuse\("(cdc\.[a-z_]+)"\)')
    used = {one or other for text in texts for one, other in parking.findall(text)}
    assert used == set(REFUSALS)


@pytest.mark.integration
@pytest.mark.usefixtures("quiet_environment")
def test_command_explains_in_and_out_of_a_workspace(
    spine: Spine, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outside = spine("explain", "contract.owner_missing")
    inside = spine("explain", "contract.owner_missing", "-w", str(workspace.root), "--json")
    engine = spine("explain", "engine.unavailable")
    unknown = spine("explain", "contract.owner", "--json")
    assert [run.status for run in (outside, inside, engine, unknown)] == [0, 0, 0, 2]
    assert "A schema names its owner" in outside.stdout
    assert (inside.document["severity"], inside.document["code"]) == (
        "warn",
        "contract.owner_missing",
    )
    assert "spine doctor" in engine.stdout
    assert "contract.owner_missing" in unknown.document["error"]["remedy"]
