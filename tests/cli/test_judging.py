"""In CI a change is judged by a bundle and a key from outside of it."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.released import Released, make_released

from dataspine.bundles import archive

pytestmark = pytest.mark.integration

BAD = '{"type": "record", "name": "A", "fields": [{"name": "email", "type": "string"}]}'
CHANGED = [
    ("/rules/contract.owner_missing", "removed"),
    ("/rules/pii", "added"),
    ("/rules/retention.hint_missing", "removed"),
]
VALIDATE = ("schema", "validate", "shop.a", "bad.avsc")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Released:
    """Return a workspace whose released bundle denies and whose changed rules would not."""
    shop = make_released(tmp_path_factory.mktemp("ci"), opa)
    (shop.root / "bad.avsc").write_text(BAD)
    shop.document("bundle", "build", "--unsigned", "-o", "../released.tar.gz")
    shop.document("bundle", "sign", "../released.tar.gz")
    path = shop.root / "spine.yaml"
    settings = {**json.loads(path.read_text()), "mode": "dev"}
    # A change that weakens its own gate: another severity, its own key, and who answers.
    weak = {"rules": {"pii": "ignore"}, "decisions": {"opa": "http://127.0.0.1:9"}}
    path.write_text(json.dumps({**settings, **weak, "trust": []}))
    return shop


@pytest.fixture(scope="module")
def address(shop: Released) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = (shop.root / "../released.tar.gz").read_bytes()
            self.send_response(200 if self.path == "/stable.tar.gz" else 404)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base names it
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/stable.tar.gz"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    "command",
    [
        VALIDATE,
        ("schema", "publish", "shop.a", "bad.avsc"),
        ("cdc", "plan"),
        ("decide", "schema.publish", "--input", "question.json"),
    ],
    ids=["validate", "publish", "plan", "decide"],
)
def test_in_ci_the_workspaces_own_bundle_judges_nothing(
    shop: Released, command: tuple[str, ...]
) -> None:
    question = {"point": "schema.publish", "at": "2026-01-01T00:00:00Z", "facts": {"name": "x"}}
    (shop.root / "question.json").write_text(json.dumps(question))
    assert shop.fault(*command, CI="true") == (2, "input.own_bundle")


@pytest.mark.parametrize("place", ["file", "address"])
def test_a_change_is_judged_by_the_given_bundle(shop: Released, address: str, place: str) -> None:
    bundle = address if place == "address" else "../released.tar.gz"
    given = ("--bundle", bundle, "--trust", "../public.pem")
    code, out, _ = shop.spine(*VALIDATE, *given, "--json", CI="true")
    found = json.loads(out)
    assert code == 1
    assert [v["code"] for v in found["violations"] if v["severity"] == "error"] == [
        "pii.untagged_field"
    ]
    assert found["policy"]["sequence"] == 1
    code, _, err = shop.spine(*VALIDATE, *given, CI="true")
    assert f"judged by revision {found['policy']['revision']}" in err


def test_a_report_says_first_that_no_previous_version_is_known(shop: Released) -> None:
    given = ("--bundle", "../released.tar.gz", "--trust", "../public.pem")
    line = "no previous version of shop.a is known: nothing was compared"
    assert shop.spine(*VALIDATE, *given, CI="true")[1].splitlines()[0] == line
    github = shop.spine(*VALIDATE, *given, "--format", "github", CI="true")[1]
    assert github.splitlines()[0] == f"::warning::{line}"
    sarif = json.loads(shop.spine(*VALIDATE, *given, "--format", "sarif", CI="true")[1])
    assert sarif["runs"][0]["properties"]["noPreviousVersion"] == ["shop.a"]
    junit = shop.spine(*VALIDATE, *given, "--format", "junit", CI="true")[1]
    assert '<property name="no-previous-version" value="shop.a" />' in junit

    (shop.root / "good.avsc").write_text(BAD.replace("email", "size"))
    for command, unknown in (("publish", ["shop.good"]), ("validate", [])):
        told = shop.document("schema", command, "shop.good", "good.avsc", *given)
        assert (told["allow"], told["no_previous_version"]) == (True, unknown)
    assert (
        "no previous" not in shop.spine("schema", "validate", "shop.good", "good.avsc", *given)[1]
    )


def test_what_one_command_was_given_is_not_given_to_the_next(shop: Released) -> None:
    given = ("--bundle", "../released.tar.gz", "--trust", "../public.pem")
    assert "which was given" in shop.spine(*VALIDATE, *given, CI="true")[2]
    assert "which was given" not in shop.spine("access", "check", "publish", "shop.x")[2]


def test_a_given_bundle_must_be_signed_by_the_given_key(shop: Released, tmp_path: Path) -> None:
    files = archive.read((shop.root / "../released.tar.gz").read_bytes())
    altered = {**files, "dataspine/config/data.json": b'{"rules":{"pii":"ignore"}}'}
    (tmp_path / "altered.tar.gz").write_bytes(archive.write(altered))
    shop.document("bundle", "keys", "new", str(tmp_path / "eve.pem"))
    made = shop.document("bundle", "keys", "new", str(tmp_path / "eve2.pem"))
    (tmp_path / "eve.pub").write_text(made["trust"]["key"])
    released, public = "../released.tar.gz", "../public.pem"
    faults = {
        ("--bundle", str(tmp_path / "altered.tar.gz"), "--trust", public): (4, "bundle.tampered"),
        ("--bundle", released, "--trust", str(tmp_path / "eve.pub")): (4, "bundle.bad_signature"),
        ("--bundle", released): (2, "input.no_trust"),
        ("--trust", public): (2, "input.usage"),
        ("--bundle", released, "--trust", "spine.yaml"): (4, "bundle.bad_key"),
        ("--bundle", "none.tar.gz", "--trust", public): (2, "input.not_found"),
        ("--bundle", "http://example.org/b.tar.gz", "--trust", public): (2, "input.invalid"),
        ("--bundle", "http://127.0.0.1:9/b.tar.gz", "--trust", public): (3, "bundle.not_fetched"),
    }
    found = {given: shop.fault(*VALIDATE, *given, CI="true") for given in faults}
    assert found == faults
    both = ("--bundle", released, "--trust", str(tmp_path / "eve.pub"), "--trust", public)
    assert shop.spine(*VALIDATE, *both, CI="true")[0] == 1


def test_a_change_of_policy_is_shown_beside_the_given_bundle(shop: Released) -> None:
    given = ("--bundle", "../released.tar.gz", "--trust", "../public.pem")
    assert shop.spine(*VALIDATE, *given, CI="true")[0] == 1
    check = ("policy", "check", "--fast", "--bundle", "../released.tar.gz")
    code, out, _ = shop.spine(*check, "--trust", "../public.pem", "--json", CI="true")
    change = json.loads(out)["change"]
    assert code == 0
    assert [(each["pointer"], each["kind"]) for each in change["difference"]["data"]] == CHANGED
    counts = change["impact"]["counts"]
    assert counts["deny_to_allow"] >= 1
    # Whatever else was asked in this workspace is answered as before.
    flips = {kind for kind, count in counts.items() if count} - {"same"}
    assert flips == {"deny_to_allow"}
    code, out, _ = shop.spine(*check, "--trust", "../public.pem", CI="true")
    assert '~ config /rules/pii added: "ignore"' in out
    assert "deny→allow  schema.publish shop.a" in out


def test_a_fresh_clone_shows_what_differs_alone(
    shop: Released, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignored = shutil.ignore_patterns(".spine")
    clone = shutil.copytree(shop.root, tmp_path / "clone", ignore=ignored)
    monkeypatch.chdir(clone)
    released = str(shop.root / "../released.tar.gz")
    check = ("policy", "check", "--fast", "--bundle", released, "-w", str(clone))
    code, out, _ = shop.spine(*check, "--trust", "../public.pem", "--json", CI="true")
    change = json.loads(out)["change"]
    assert (code, len(change["difference"]["data"]), change["impact"]) == (0, len(CHANGED), None)
    assert not (clone / ".spine").exists()
