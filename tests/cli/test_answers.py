"""The same commands on a workspace, through its advertised service, and through a named one."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Spine, serving

from dataspine.adapters.init import init
from dataspine.core.workspace import Workspace

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("quiet_environment")]

TAGGED = "receipts are sent. [pii] retain=P2Y"
AVRO = '{"type": "record", "name": "A",\n "fields": [{"name": "x", "type": "strin"}]}'


class Place:
    """Where commands are answered, and the arguments that say so."""

    def __init__(self, workspace: Workspace, arguments: tuple[str, ...], actor: str) -> None:
        self.root = workspace.root
        self.arguments = arguments
        self.actor = actor


@pytest.fixture(scope="module", params=["workspace", "advertised", "named"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, opa: Path
) -> Iterator[Place]:
    workspace = init(tmp_path_factory.mktemp("place") / "shop", name="shop", told=lambda _: None)
    here = ("--workspace", str(workspace.root))
    if request.param == "workspace":
        yield Place(workspace, here, "caller")
        return
    for url in serving(workspace, opa):
        if request.param == "advertised":
            yield Place(workspace, here, "service")
        else:
            yield Place(workspace, ("--server", url), "service")


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
    facts = {"name": "shop.asked", "format": "AVRO", "metadata": {}, "fields": []}
    question = {"point": "schema.publish", "at": "2020-01-01T00:00:00Z", "facts": facts}
    file.write_text(json.dumps(question))
    argv = ("decide", "schema.publish", "--input", str(file), *place.arguments)
    decided = spine(*argv, "--json").document
    assert (decided["allow"], decided["at_replaced"]) == (True, True)
    assert "allowed shop.asked by" in spine(*argv).stdout


def test_lineage_is_counted_and_drawn(place: Place, spine: Spine) -> None:
    counts = spine("lineage", "status", *place.arguments, "--json").document
    assert (counts["pending"], counts["dead"], sorted(counts)) == (
        0,
        0,
        ["dead", "delivered", "oldest_age", "pending"],
    )
    node = "dataset:spine://shop:shop.customers"
    graph = spine("lineage", "graph", node, *place.arguments, "--json").document
    assert (graph["root"], sorted(graph)) == (node, ["edges", "hidden", "nodes", "root"])


@pytest.mark.parametrize(
    ("arguments", "status", "code", "where"),
    [
        (("schema", "latest", "none"), 2, "registry.unknown_subject", "none"),
        (("schema", "publish", "ids", "{bad}"), 2, "registry.invalid_subject", "'ids'"),
        (("schema", "publish", "a", "{bad}"), 2, "registry.invalid_schema", "{bad}:2"),
        (("lineage", "graph", "dataset:a:b"), 2, "input.not_found", "dataset:a:b"),
    ],
    ids=["subject", "reserved", "schema", "node"],
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
