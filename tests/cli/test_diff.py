"""``spine schema diff``: what changed, where, and which bump that is."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Spine

from dataspine.core.workspace import Workspace

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("quiet_environment")]


def _avro(*fields: dict[str, Any]) -> str:
    return json.dumps({"type": "record", "name": "A", "fields": list(fields)}, indent=1)


SIZE = {"name": "size", "type": "int"}
ADDED = {"kind": "added", "what": "field", "before": None, "backward": None, "forward": None}
COUNT = {"name": "count", "type": "int", "default": 0}


@pytest.fixture
def file(workspace: Workspace, spine: Spine, tmp_path: Path) -> Path:
    path = tmp_path / "a.avsc"
    for text in (_avro(SIZE), _avro(SIZE, COUNT)):
        path.write_text(text)
        assert (
            spine("schema", "publish", "shop.a", str(path), "-w", str(workspace.root)).status == 0
        )
    return path


def test_versions_are_compared(spine: Spine, workspace: Workspace, file: Path) -> None:
    root = ("-w", str(workspace.root))
    newest = spine("schema", "diff", "shop.a", *root, "--json").document
    named = spine("schema", "diff", "shop.a", "1", "2", *root, "--json").document
    same = spine("schema", "diff", "shop.a", "latest", *root, "--json").document
    assert (
        newest
        == named
        == {
            "subject": "shop.a",
            "from": {"version": 1, "semver": "1.0.0"},
            "to": {"version": 2, "semver": "1.1.0"},
            "compatibility": {"level": "BACKWARD", "compatible": True, "messages": []},
            "bump": "minor",
            "next": None,
            "changes": [{**ADDED, "path": "count", "line": 10, "after": "int"}],
        }
    )
    assert (same["bump"], same["changes"]) == ("none", [])


def test_file_is_compared_with_the_newest_version(
    spine: Spine, workspace: Workspace, file: Path
) -> None:
    file.write_text(_avro({**SIZE, "type": "string", "doc": "now text"}))
    argv = ("schema", "diff", "shop.a", str(file), "-w", str(workspace.root))
    found = spine(*argv, "--json").document
    assert (found["to"], found["bump"], found["next"]) == ({"file": str(file)}, "major", "2.0.0")
    assert [
        (each["kind"], each["what"], each["path"], each["line"], each["before"], each["after"])
        for each in found["changes"]
    ] == [
        ("changed", "type", "size", 6, "int", "string"),
        ("removed", "field", "count", 10, "int", None),
        ("changed", "doc", "size", 6, None, "now text"),
    ]
    assert found["changes"][0]["backward"] is not None
    printed = spine(*argv).stdout
    assert f"changed   size type: int → string {file}:6" in printed
    assert "breaks    size:" in printed


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("none",), "registry.unknown_subject"),
        (("shop.a", "9"), "registry.unknown_version"),
        (("shop.a", "none.avsc"), "input.not_found"),
        (("shop.a", "1", "none.txt"), "input.invalid"),
        (("shop.a", "{proto}"), "registry.type_changed"),
        (("shop.a", "{broken}"), "registry.invalid_schema"),
    ],
    ids=["subject", "version", "file", "ending", "type", "broken"],
)
def test_what_cannot_be_compared_is_refused(
    spine: Spine, workspace: Workspace, file: Path, arguments: tuple[str, ...], code: str
) -> None:
    broken = file.with_name("broken.avsc")
    broken.write_text("{")
    words = {"{proto}": str(workspace.root / "schema/orders.proto"), "{broken}": str(broken)}
    argv = [words.get(argument, argument) for argument in arguments]
    run = spine("schema", "diff", *argv, "-w", str(workspace.root), "--json")
    error = run.document["error"]
    assert (run.status, error["code"], run.stderr) == (2, code, "")
    if code == "registry.invalid_schema":
        assert error["where"] == f"{broken}:1"
