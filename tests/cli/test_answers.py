"""The same commands on a workspace, through its advertised service, and through a named one."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import serving
from tests.conftest import Spine
from tests.facts import schema_facts

from dataspine.adapters.init import init
from dataspine.core.identity import local_name
from dataspine.core.workspace import Workspace

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("quiet_environment")]

TAGGED = "receipts are sent. [pii] retain=P2Y"
AVRO = '{"type": "record", "name": "A",\n "fields": [{"name": "x", "type": "strin"}]}'


class Place:
    """Where commands are answered, and the arguments that say so."""

    def __init__(self, workspace: Workspace, arguments: tuple[str, ...]) -> None:
        self.root = workspace.root
        self.arguments = arguments
        self.actor = local_name()


@pytest.fixture(scope="module", params=["workspace", "advertised", "named"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, opa: Path
) -> Iterator[Place]:
    workspace = init(tmp_path_factory.mktemp("place") / "shop", name="shop", told=lambda _: None)
    here = ("--workspace", str(workspace.root))
    if request.param == "workspace":
        yield Place(workspace, here)
        return
    for url in serving(workspace, opa):
        if request.param == "advertised":
            yield Place(workspace, here)
        else:
            yield Place(workspace, ("--server", url))


def test_schema_is_denied_published_known_and_listed(place: Place, spine: Spine) -> None:
    file = place.root / "schema/customers.avsc"
    subject = "shop.customers"
    denied = spine("schema", "publish", subject, str(file), *place.arguments)
    told = spine("schema", "publish", subject, str(file), *place.arguments, "--json")
    file.write_text(file.read_text().replace("receipts are sent.", TAGGED))
    asked = spine("schema", "validate", subject, str(file), *place.arguments, "--json")
    argv = ("schema", "publish", subject, str(file), "--owner", "team-a", "--meta", "tier=gold")
    stored = spine(*argv, *place.arguments, "--json")
    known = spine(*argv, *place.arguments)
    runs = (denied, told, asked, stored, known)

    assert [run.status for run in runs] == [1, 1, 0, 0, 0], [run.stderr for run in runs]
    assert f"pii.untagged_field {file}:11" in denied.stdout
    assert sorted(told.document) == sorted(stored.document)
    assert (told.document["allow"], told.document["published"]) == (False, None)
    assert asked.document["version"] == {"current": None, "next": "1.0.0", "bump": "none"}
    version = stored.document["published"]
    assert (version["semver"], version["owner"]) == ("1.0.0", "team-a")
    assert version["metadata"] == {"properties": {"tier": "gold", "owner": "team-a"}}
    assert version["provenance"] == {"actor": place.actor}
    assert "shop.customers 1.0.0 (known already)" in known.stdout

    latest = spine("schema", "latest", subject, *place.arguments, "--json")
    versions = spine("schema", "versions", subject, *place.arguments, "--json")
    subjects = spine("schema", "subjects", *place.arguments, "--json")
    assert latest.document == version
    assert versions.document == subjects.document == [version]
    assert "1.0.0" in spine("schema", "versions", subject, *place.arguments).stdout


def test_channels_are_shown(place: Place, spine: Spine) -> None:
    file = place.root / "schema/orders.proto"
    spine("schema", "validate", "shop.orders", str(file), *place.arguments)  # builds a bundle
    told = spine("bundle", "status", *place.arguments, "--json")
    shown = spine("bundle", "status", *place.arguments)
    served = {each["channel"]: each["active"] is not None for each in told.document}
    assert served == {"candidate": False, "canary": False, "stable": False, "dev": True}
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["channel", *served]


def test_commit_and_repository_are_stored_beside_the_version(
    place: Place, spine: Spine, tmp_path: Path
) -> None:
    checkout = ["git", "-C", str(tmp_path)]
    for argv in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "a"],
        ["remote", "add", "origin", "https://ada:secret@git.example/shop.git"],
    ):
        subprocess.run([*checkout, *argv], check=True)
    file = tmp_path / "money.avsc"
    file.write_text('{"type": "record", "name": "M", "fields": []}')
    run = spine("schema", "publish", "shop.money", str(file), *place.arguments, "--json")
    head = subprocess.run(
        [*checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert run.document["published"]["provenance"] == {
        "git_commit": head.stdout.strip(),
        "repository": "https://git.example/shop.git",
        "actor": place.actor,
    }


def test_question_is_decided_found_and_shown(place: Place, spine: Spine, tmp_path: Path) -> None:
    file = tmp_path / "question.json"
    facts = schema_facts("shop.asked")
    question = {"point": "schema.publish", "at": "2020-01-01T00:00:00Z", "facts": facts}
    file.write_text(json.dumps(question))
    argv: tuple[str, ...]
    argv = ("decide", "schema.publish", "--input", str(file), *place.arguments)
    decided = spine(*argv, "--json").document
    assert (decided["allow"], decided["at_replaced"]) == (True, True)
    assert "allowed shop.asked by" in spine(*argv).stdout

    revision = decided["policy"]["revision"][:20]
    filters = ["--point", "schema.publish", "--name", "shop.asked", "--allow", "--limit", "2"]
    filters += ("--revision", revision, "--since", "2020-01-01T00:00:00+00:00")
    found = spine("audit", "decisions", *filters, *place.arguments, "--json").document
    assert [(e["name"], e["acted"], e["actor"]) for e in found] == [
        ("shop.asked", False, place.actor)
    ] * 2
    assert found[1]["decision_id"] == decided["decision_id"]
    # OPA uploads its log in the background.
    shown: dict[str, Any] = {}
    deadline = time.monotonic() + 20
    while shown.get("logged") is None and time.monotonic() < deadline:
        argv = ("audit", "show", decided["decision_id"], *place.arguments)
        shown = spine(*argv, "--json").document
    assert {key: shown[key] for key in decided} == decided
    assert shown["logged"]["decision_id"] == decided["decision_id"]
    assert shown["logged"]["input"]["facts"] == facts
    words = spine("audit", "show", decided["decision_id"], *place.arguments).stdout
    assert f"{place.actor} (not verified)" in words
    printed = spine(*argv).stdout
    assert decided["input_digest"] in printed
    assert '"name": "shop.asked"' in printed


@pytest.mark.parametrize(
    ("filters", "codes"),
    [
        (("--deny", "--code", "pii.untagged_field", "--limit", "1"), [["pii.untagged_field"]]),
        (("--code", "pii.untagged_field", "--allow"), []),
        (("--name", "nothing"), []),
        (("--until", "2020-01-01T00:00:00Z"), []),
        (("--revision", "0.0.0"), []),
        (("--point", "route.deploy"), []),
    ],
    ids=["code", "allowed", "name", "time", "revision", "point"],
)
def test_decisions_are_filtered(
    place: Place, spine: Spine, filters: tuple[str, ...], codes: list[list[str]]
) -> None:
    found = spine("audit", "decisions", *filters, *place.arguments, "--json").document
    assert [each["codes"] for each in found] == codes


def test_lineage_is_counted_and_drawn(place: Place, spine: Spine) -> None:
    counts = spine("lineage", "status", *place.arguments, "--json").document
    assert (counts["pending"], counts["dead"], sorted(counts)) == (
        0,
        0,
        ["dead", "delivered", "oldest_age", "pending", "receivers"],
    )
    node = "dataset:spine://shop:shop.customers"
    graph = spine("lineage", "graph", node, *place.arguments, "--json").document
    assert (graph["root"], sorted(graph)) == (node, ["cut", "edges", "hidden", "nodes", "root"])
    job = graph["nodes"][0]["id"]
    reached = spine("lineage", "impact", job, *place.arguments, "--json").document
    assert reached == {
        "root": job,
        "complete": True,
        "nodes": [
            {
                "id": node,
                "kind": "dataset",
                "namespace": "spine://shop",
                "name": "shop.customers",
                "distance": 1,
            }
        ],
    }


@pytest.mark.parametrize(
    ("arguments", "status", "code", "where"),
    [
        (("schema", "latest", "none"), 2, "registry.unknown_subject", "none"),
        (("schema", "publish", "ids", "{bad}"), 2, "registry.invalid_subject", "'ids'"),
        (("schema", "publish", "a", "{bad}"), 2, "registry.invalid_schema", "{bad}:2"),
        (("lineage", "graph", "dataset:a:b"), 2, "input.not_found", "dataset:a:b"),
        (("lineage", "impact", "dataset:a:b"), 2, "input.not_found", "dataset:a:b"),
        (("audit", "show", "none"), 2, "input.not_found", "none"),
        (("audit", "decisions", "--since", "noon"), 2, "input.invalid", "--since"),
    ],
    ids=["subject", "reserved", "schema", "node", "impact", "decision", "time"],
)
def test_error_is_the_same_error(
    place: Place,
    spine: Spine,
    tmp_path: Path,
    arguments: tuple[str, ...],
    status: int,
    code: str,
    where: str,
) -> None:
    bad = tmp_path / "bad.avsc"
    bad.write_text(AVRO)
    argv = [argument.replace("{bad}", str(bad)) for argument in arguments]
    run = spine(*argv, *place.arguments, "--json")
    error = run.document["error"]
    assert (run.status, run.stderr) == (status, "")
    assert (error["code"], error["where"]) == (code, where.replace("{bad}", str(bad)))
    assert error["remedy"]
