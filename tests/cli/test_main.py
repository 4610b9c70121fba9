import json
from pathlib import Path

import pytest
from tests.command import Run, run

from dataspine.adapters.init import init
from dataspine.cli.output import Output
from dataspine.core.workspace import Workspace

pytestmark = pytest.mark.integration

AVRO = '{"type": "record", "name": "A",\n "fields": [{"name": "x", "type": "strin"}]}'


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return init(tmp_path / "shop", name="shop", told=lambda _: None)


def _spine(workspace: Workspace, opa: Path, *arguments: str) -> Run:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(workspace.root), "SPINE_OPA": str(opa)}
    return run(*arguments, folder=workspace.root, environment=environment)


def test_denied_publish_exits_1_and_names_file_line_and_remedy(
    workspace: Workspace, opa: Path
) -> None:
    done = _spine(workspace, opa, "schema", "publish", "shop.customers", "schema/customers.avsc")
    assert done.status == 1
    assert "error pii.untagged_field schema/customers.avsc:11" in done.stdout
    assert "→ Tag email" in done.stdout


def test_json_is_one_document(workspace: Workspace, opa: Path) -> None:
    argv = ("schema", "publish", "shop.orders", "schema/orders.proto", "--json")
    done = _spine(workspace, opa, *argv)
    told = json.loads(done.stdout)
    assert done.status == 0
    assert (told["allow"], told["published"]["semver"], done.stderr) == (True, "1.0.0", "")


@pytest.mark.parametrize(
    ("arguments", "status", "where"),
    [
        (("schema", "publish", "a", "bad.avsc"), 2, "bad.avsc:2"),
        (("schema", "publish", "a", "none.avsc"), 2, "none.avsc"),
        (("schema", "publish", "a", "schema/customers.avsc", "--meta", "x"), 2, "--meta"),
        (("schema", "latest", "none"), 2, "none"),
        (("schema", "nonsense"), 2, "nonsense"),
        (("cdc", "plan"), 3, "SPINE_SHOP_DSN"),
        (("bundle", "verify", "bad.avsc"), 4, "bundle"),
        (("init", "."), 0, ""),
    ],
)
def test_exit_code_and_message_without_a_traceback(
    workspace: Workspace, opa: Path, arguments: tuple[str, ...], status: int, where: str
) -> None:
    (workspace.root / "bad.avsc").write_text(AVRO)
    done = _spine(workspace, opa, *arguments)
    assert done.status == status
    assert where in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_engine_denies_with_exit_3(workspace: Workspace) -> None:
    argv = ("schema", "publish", "shop.orders", "schema/orders.proto")
    done = _spine(workspace, Path("/nowhere/opa"), *argv)
    assert done.status == 3


def test_unknown_key_names_its_line(workspace: Workspace, opa: Path) -> None:
    settings = workspace.root / "spine.yaml"
    settings.write_text("name: shop\nmode: dev\nmoed: x\n")
    done = _spine(workspace, opa, "schema", "subjects")
    assert done.status == 2
    assert "spine.yaml:3: unknown key 'moed'" in done.stderr


def test_clone_gets_its_own_key_by_init(workspace: Workspace, opa: Path) -> None:
    (workspace.state / "keys" / "dev.pem").unlink()
    before = _spine(workspace, opa, "bundle", "build")
    made = _spine(workspace, opa, "init", ".")
    after = _spine(workspace, opa, "bundle", "build")
    assert [done.status for done in (before, made, after)] == [2, 0, 0]
    assert (workspace.state / "keys" / "dev.pem").stat().st_mode & 0o777 == 0o600


def test_changed_pack_is_named_with_exit_4(workspace: Workspace, opa: Path) -> None:
    _spine(workspace, opa, "schema", "publish", "shop.orders", "schema/orders.proto")
    built = _spine(workspace, opa, "evidence", "build", "-o", "pack", "--json")
    whole = _spine(workspace, opa, "evidence", "verify", "pack")
    with (workspace.root / "pack" / "lineage.jsonl").open("a") as file:
        file.write("x")
    changed = _spine(workspace, opa, "evidence", "verify", "pack")
    assert json.loads(built.stdout)["decisions"] == 2
    assert [done.status for done in (built, whole, changed)] == [0, 0, 4]
    assert "lineage.jsonl" in changed.stderr


def test_facts_are_printed_as_people_write(capsys: pytest.CaptureFixture[str]) -> None:
    period = {"from": "2020-01-01", "until": "2021-01-01"}
    values = {"period": period, "channels": ["dev", "stable"], "none": [], "ok": True, "by": None}
    Output().facts({**values, "[red]": 1})
    assert capsys.readouterr().out.splitlines() == [
        "  period    from 2020-01-01, until 2021-01-01",
        "  channels  dev, stable",
        "  none      none",
        "  ok        yes",
        "  by        none",
        "  [red]     1",
    ]
