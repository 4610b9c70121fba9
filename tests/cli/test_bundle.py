"""The life of a bundle on the command line, in real processes."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.released import NEVER, Released, make_released

from dataspine.adapters.session import Session
from dataspine.bundles import archive
from dataspine.core.identity import local_name

pytestmark = pytest.mark.integration

GOOD = '{"type": "record", "name": "A", "fields": [{"name": "size", "type": "int"}]}'


@pytest.fixture
def shop(tmp_path: Path, opa: Path) -> Released:
    return make_released(tmp_path, opa)


def test_equal_sources_build_equal_bytes_in_any_folder_and_process(
    tmp_path: Path, opa: Path
) -> None:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shop = make_released(tmp_path / name, opa)
        settings = yaml.safe_load((shop.root / "spine.yaml").read_text())
        del settings["trust"]  # whom one trusts is no content
        (shop.root / "spine.yaml").write_text(json.dumps(settings))
        document = shop.document("bundle", "build", "--unsigned", "-o", "b.tar.gz")
        made.append((document, (shop.root / "b.tar.gz").read_bytes()))
    assert made[0] == made[1]
    assert made[0][0]["signed"] is False


def test_a_bundle_lives_from_publication_to_rollback(shop: Released) -> None:
    assert shop.fault("schema", "subjects", "--nonsense")[0] == 2
    assert shop.fault("decide", "schema.publish", "--input", "none.json") == (2, "input.not_found")
    (shop.root / "good.avsc").write_text(GOOD)
    publish = ("schema", "publish", "shop.a", "good.avsc")
    assert shop.fault(*publish) == (3, "bundle.none_active")

    first = shop.document("bundle", "publish")
    assert (first["channel"], first["sequence"], first["bootstrap"], first["changed"]) == (
        "stable",
        1,
        True,
        True,
    )
    assert (first["actor"], first["author"], first["key_id"], first["tests"]) == (
        local_name(),
        local_name(),
        "release-1",
        None,
    )
    again = shop.document("bundle", "publish")
    assert (again["sequence"], again["changed"]) == (1, False)

    rule = shop.deny_everything()
    second = shop.document("bundle", "publish")
    code, out, _ = shop.spine(*publish, "--json")
    assert code == 1
    assert [v["code"] for v in json.loads(out)["violations"]] == ["shop.never"]

    rule.unlink()
    reason = ("--reason", "it denies everything")
    back = shop.document("bundle", "rollback", "--to", "1", *reason)
    assert (back["sequence"], back["revision"]) == (3, first["revision"])
    assert back["rollback"] == {
        "channel": "stable",
        "from": second["revision"],
        "to": first["revision"],
        "sequence": 3,
        "actor": local_name(),
        "reason": "it denies everything",
    }
    assert shop.spine(*publish)[0] == 0

    stable = shop.document("bundle", "status")[2]
    assert (stable["channel"], stable["active"]["sequence"]) == ("stable", 3)
    assert (stable["previous"]["sequence"], stable["previous"]["actor"]) == (
        2,
        local_name(),
    )
    active = shop.fault("bundle", "rollback", "--to", "3", *reason)
    assert active == (2, "bundle.no_such_sequence")
    for named in (second["digest"].removeprefix("sha256:")[:12], second["revision"]):
        moved = shop.document("bundle", "rollback", "--to", named, *reason)
        assert moved["revision"] == second["revision"]
        shop.document("bundle", "rollback", "--to", "1", *reason)


def test_a_bundle_signed_elsewhere_is_published_as_it_is(shop: Released) -> None:
    built = shop.document("bundle", "build", "--unsigned", "-o", "b.tar.gz")
    assert shop.fault("bundle", "verify", "b.tar.gz") == (4, "bundle.unsigned")
    signed = shop.document("bundle", "sign", "b.tar.gz")
    assert (signed["sequence"], signed["digest"]) == (1, built["digest"])
    verified = shop.document("bundle", "verify", "b.tar.gz", "--channel", "stable")
    assert (verified["revision"], verified["key_id"]) == (built["revision"], "release-1")
    code, out, err = shop.spine("bundle", "publish", "b.tar.gz", "--json", SPINE_KEY="")
    assert (code, err) == (0, "")
    assert json.loads(out)["sequence"] == 1
    with Session(shop.workspace, opa=shop.opa) as session:
        served = session.bundles.bytes_of("stable", 1)
    assert served == (shop.root / "b.tar.gz").read_bytes()


def test_what_is_wrong_with_a_bundle_is_named(shop: Released, tmp_path: Path) -> None:
    shop.document("bundle", "build", "--unsigned", "-o", "old.tar.gz")
    shop.document("bundle", "sign", "old.tar.gz")
    data = (shop.root / "old.tar.gz").read_bytes()
    files = archive.read(data)
    altered = {**files, "dataspine/matrix/data.json": b"{}"}
    (shop.root / "altered.tar.gz").write_bytes(archive.write(altered))
    shop.document("bundle", "publish", "old.tar.gz")
    shop.rules(pii="warn")
    shop.document("bundle", "publish")
    faults = {
        ("altered.tar.gz",): "bundle.tampered",
        ("old.tar.gz",): "bundle.older",
        ("old.tar.gz", "--channel", "canary"): "bundle.wrong_channel",
        ("spine.yaml",): "bundle.malformed",
    }
    found = {each: shop.fault("bundle", "verify", *each) for each in faults}
    assert found == {each: (4, code) for each, code in faults.items()}
    assert shop.fault("bundle", "verify", "none.tar.gz")[0] == 2
    subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "eve.pem"],
        cwd=tmp_path,
        check=True,
    )
    eve = f"file:{tmp_path / 'eve.pem'}"
    assert shop.fault("bundle", "publish", "--key", eve) == (4, "bundle.untrusted")
    assert shop.fault("bundle", "publish", "--key", "nobody") == (2, "bundle.no_key")
    assert shop.fault("bundle", "publish", "--channel", "dev") == (2, "bundle.bad_channel")


def test_an_unsafe_rule_is_refused_even_when_signed(shop: Released) -> None:
    shop.document("bundle", "build", "--unsigned", "-o", "b.tar.gz")
    path = shop.root / "policies/dataspine/custom/shop/clock/clock.rego"
    path.parent.mkdir(parents=True)
    path.write_text("package dataspine.custom.shop.clock\n\nx := time.now_ns()\n")
    assert shop.fault("bundle", "publish") == (2, "bundle.does_not_compile")
    script = (
        "import sys; from pathlib import Path\n"
        "from dataspine.adapters.policy import content_of\n"
        "from dataspine.bundles import SigningKey, sign\n"
        "from dataspine.core.workspace import Workspace\n"
        "key = SigningKey.load(Path(sys.argv[1]), id='release-1')\n"
        "data = sign(content_of(Workspace.open(Path())), key, sequence=9, channel='stable')\n"
        "Path('unsafe.tar.gz').write_bytes(data)\n"
    )
    key = shop.key.removeprefix("file:")
    subprocess.run([sys.executable, "-c", script, key], cwd=shop.root, check=True)
    assert shop.fault("bundle", "verify", "unsafe.tar.gz") == (4, "bundle.does_not_compile")


def test_unpacked_rules_are_the_verified_ones_and_other_tools_read_them(
    shop: Released, opa: Path, tmp_path: Path
) -> None:
    active = shop.document("bundle", "publish")
    made = shop.document("bundle", "unpack", "--verify", str(tmp_path / "policy"))
    assert made["revision"] == active["revision"]
    told = json.loads((tmp_path / "policy" / ".revision").read_text())
    assert (told["revision"], told["sequence"]) == (active["revision"], 1)
    question = {"point": "schema.publish", "at": "2026-01-01T00:00:00Z", "facts": {}}
    (tmp_path / "input.json").write_text(json.dumps(question))
    allow = "data.dataspine.main.schema_publish.allow"
    run = subprocess.run(
        [str(opa), "eval", "--bundle", "policy", "--input", "input.json", "--format", "raw", allow],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert run.stdout.strip() == "false"
    again = shop.fault("bundle", "unpack", "--verify", str(tmp_path / "policy"))
    assert again == (2, "input.not_empty")


def test_a_difference_is_told_by_file_and_by_value(shop: Released) -> None:
    shop.document("bundle", "publish")
    shop.deny_everything()
    shop.rules(pii="warn")
    found = shop.document("bundle", "diff", "stable", ".")
    assert found["files"] == {
        "added": ["dataspine/custom/shop/never/never.rego"],
        "removed": [],
        "changed": [],
    }
    assert [(c["document"], c["pointer"], c["kind"]) for c in found["data"]] == [
        ("config", "/rules/contract.owner_missing", "removed"),
        ("config", "/rules/pii", "added"),
        ("config", "/rules/retention.hint_missing", "removed"),
    ]
    code, out, _ = shop.spine("bundle", "diff", "stable", ".")
    assert code == 0
    assert '~ config /rules/pii added: "warn"' in out
    same = shop.document("bundle", "diff", "stable", "stable")
    assert same["same"] is True
    assert shop.fault("bundle", "diff", "stable", "canary") == (2, "input.not_found")
    assert shop.fault("bundle", "diff", "stable", "0000000000") == (2, "bundle.unknown")


def test_tests_coverage_and_commit_are_recorded_as_they_were(shop: Released) -> None:
    rule = shop.root / "policies/dataspine/custom/shop/odd/odd.rego"
    rule.parent.mkdir(parents=True)
    text = NEVER.replace("shop.never", "shop.odd").replace(
        "\tviolation :=", "\tinput.odd\n\tviolation :="
    )
    rule.write_text(text)
    test = "package dataspine.custom.shop.odd_test\n\nimport data.dataspine.custom.shop.odd\n\n"
    passes = 'test_even_is_fine if odd.deny == set() with input as {"odd": false}\n'
    rule.with_name("odd_test.rego").write_text(test + passes)
    git = ["git", "-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], cwd=shop.root, check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=shop.root, capture_output=True, text=True, check=True
    ).stdout.strip()
    clean = shop.document("bundle", "publish", "--run-tests")
    assert (clean["commit"], clean["dirty"]) == (commit, False)
    assert clean["tests"] == {"passed": 1, "failed": 0}
    assert 0 < clean["coverage"] < 100
    rule.with_name("odd_test.rego").write_text(test + passes + "test_broken if 1 == 2\n")
    shop.rules(pii="warn")
    broken = shop.document("bundle", "publish", "--run-tests")
    assert (broken["commit"], broken["dirty"]) == (commit, True)
    assert (broken["tests"], broken["coverage"]) == ({"passed": 1, "failed": 1}, None)
    (shop.root / "report.json").write_text("{}")
    assert shop.fault("bundle", "publish", "--tests", "report.json") == (2, "input.invalid")


def test_tests_of_the_workspace_are_recorded_for_what_it_builds_alone(shop: Released) -> None:
    rule = shop.root / "policies/dataspine/custom/shop/even/even_test.rego"
    rule.parent.mkdir(parents=True)
    rule.write_text("package dataspine.custom.shop.even_test\n\ntest_even if 2 == 1 + 1\n")
    shop.document("bundle", "build", "--unsigned", "-o", "../own.tar.gz")
    run_for = ("bundle", "publish", "--run-tests", "--channel", "candidate")

    own = shop.document(*run_for, "../own.tar.gz")
    assert own["tests"] == {"passed": 1, "failed": 0}

    shop.rules(pii="warn")
    code, out, _ = shop.spine(*run_for, "../own.tar.gz", "--json")
    assert (code, json.loads(out)["error"]) == (
        2,
        {
            "code": "bundle.tests_of_another",
            "problem": "the bundle is not what this workspace builds, "
            "so that its tests say nothing about it",
            "where": "../own.tar.gz",
            "remedy": "Publish it from the workspace that built it, "
            "or hand over its report with --tests.",
            "retry": False,
        },
    )
    assert [each["digest"] for each in _active(shop)] == [own["digest"]]


def test_a_signed_bundle_takes_no_more_results(shop: Released) -> None:
    (shop.root / "tested.json").write_text('[{"package": "data.shop_test", "name": "test_it"}]')
    shop.document("bundle", "build", "--unsigned", "-o", "b.tar.gz")
    shop.document("bundle", "sign", "b.tar.gz", "--channel", "candidate")
    publish = ("bundle", "publish", "b.tar.gz", "--channel", "candidate")

    refused = shop.fault(*publish, "--tests", "tested.json")
    assert refused == (2, "bundle.signed_already")
    assert _active(shop) == []
    assert shop.document(*publish)["tests"] is None


def _active(shop: Released) -> list[dict[str, Any]]:
    channels = shop.document("bundle", "status")
    return [each["active"] for each in channels if each["active"] is not None]


def test_keys_are_made_listed_and_trusted_as_printed(shop: Released, tmp_path: Path) -> None:
    made = shop.document("bundle", "keys", "new", "../next.pem", "--algorithm", "RS256")
    assert stat.S_IMODE((tmp_path / "next.pem").stat().st_mode) == 0o600
    again = shop.fault("bundle", "keys", "new", "../next.pem")
    assert again == (2, "bundle.key_exists")
    path = shop.root / "spine.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["trust"].append(made["trust"])
    path.write_text(json.dumps(settings))
    config = tmp_path / ".config/data-spine/config.yaml"
    config.parent.mkdir(parents=True)
    command = ["/usr/bin/openssl", "dgst", "-sha256", "-sign", str(tmp_path / "next.pem")]
    config.write_text(json.dumps({"keys": {"next": {"algorithm": "RS256", "command": command}}}))
    listed = shop.document("bundle", "keys")
    assert [(k["id"], k["algorithm"], k["channels"]) for k in listed] == [
        ("release-1", "ES256", ["candidate", "canary", "stable"]),
        ("next", "RS256", ["candidate", "canary", "stable"]),
        ("dev", "ES256", ["dev"]),
        ("next", "RS256", ["candidate", "canary", "stable"]),
    ]
    assert listed[1]["fingerprint"] == made["fingerprint"]
    # Rotation: each of both keys publishes, by file, by environment, and by command.
    old = shop.document("bundle", "publish")
    pem = (tmp_path / "next.pem").read_text()
    new = shop.document("bundle", "publish", "--key", "env:NEXT", NEXT=pem)
    kms = shop.document("bundle", "publish", "--key", "next", "--channel", "canary")
    assert [each["key_id"] for each in (old, new, kms)] == ["release-1", "next", "next"]
    (shop.root / "good.avsc").write_text(GOOD)
    assert shop.spine("schema", "publish", "shop.a", "good.avsc")[0] == 0


def test_a_key_command_of_the_workspace_is_never_run(shop: Released) -> None:
    path = shop.root / "spine.yaml"
    settings = yaml.safe_load(path.read_text())
    keys = {"evil": {"algorithm": "ES256", "command": ["touch", "ran"]}}
    path.write_text(json.dumps({**settings, "keys": keys}))
    code, _, err = shop.spine("bundle", "publish", "--key", "evil")
    assert code == 2
    assert "unknown key 'keys'" in err
    assert not (shop.root / "ran").exists()


def test_two_publishers_at_once_are_told_apart(shop: Released, tmp_path: Path) -> None:
    # Both have looked and reserved before either publishes: each holds its signed bundle.
    for name in ("one", "two"):
        shop.rules(pii="warn" if name == "one" else "ignore")
        shop.document("bundle", "build", "--unsigned", "-o", f"{name}.tar.gz")
        shop.document("bundle", "sign", f"{name}.tar.gz")
    started = [shop.start("bundle", "publish", f"{n}.tar.gz", "--json") for n in ("one", "two")]
    answers = [(p.communicate(timeout=120)[0], p.returncode) for p in started]
    assert sorted(code for _, code in answers) == [0, 2]
    lost = next(json.loads(out) for out, code in answers if code)
    won = next(json.loads(out) for out, code in answers if not code)
    assert lost["error"]["code"] in {"bundle.superseded", "bundle.not_reserved"}
    stable = shop.document("bundle", "status")[2]
    assert stable["active"]["revision"] == won["revision"]
    assert stable["previous"] is None
