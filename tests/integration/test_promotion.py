"""A bundle on its way from channel to channel, judged by what is stable, on real OPAs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.released import Released, make_released

from dataspine.adapters import bundle_promote, bundle_publish
from dataspine.adapters.policy import content_of
from dataspine.adapters.session import Session
from dataspine.bundles import verify
from dataspine.core.errors import ConflictError
from dataspine.core.identity import local_name
from dataspine.core.workspace import Workspace
from dataspine.decisions.journal import Search
from dataspine.lineage.outbox import LOCAL, pending

pytestmark = pytest.mark.integration

TESTED = json.dumps([{"package": "data.shop_test", "name": "test_it"}])
SCHEMA = ("shop.customers", "schema/customers.avsc")

# Promotes to stable; once it is decided, it waits for a word before it goes on.
PROMOTES = """
import sys
from pathlib import Path
from dataspine.adapters import bundle_promote
from dataspine.adapters.session import Session
from dataspine.core.errors import ConflictError
from dataspine.core.workspace import Workspace

with Session(Workspace.open(Path())) as session:
    decided = session.decide

    def decide(question):
        decision = decided(question)
        if question.point != "bundle.promote":
            return decision
        print("decided", flush=True)
        sys.stdin.readline()
        return decision

    session.decide = decide
    candidate = bundle_promote.candidate(session, sys.argv[1])
    try:
        done = bundle_promote.promote(session, candidate, "stable", key=sys.argv[2])
        print("stable", done.publication.sequence)
    except ConflictError as error:
        print(error.code)
"""


@pytest.fixture
def shop(tmp_path: Path, opa: Path) -> Released:
    """A workspace whose stable bundle denied the publication of an untagged field once."""
    made = make_released(tmp_path, opa)
    made.log_in("ada", "grace")
    (made.root / "tested.json").write_text(TESTED)
    made.document("bundle", "publish", "--tests", "tested.json")
    code, _, _ = made.spine("schema", "validate", *SCHEMA)
    assert code == 1
    return made


def _canary(shop: Released, *more: str, **severities: str) -> str:
    """Publish changed rules to canary, and return their revision."""
    shop.rules(**severities)
    made = shop.document("bundle", "publish", "--channel", "canary", *more)
    return str(made["revision"])


def _tested(shop: Released, **severities: str) -> str:
    return _canary(shop, "--tests", "tested.json", **severities)


def _promoted(shop: Released, revision: str, **more: str) -> tuple[int, Any]:
    """Return the exit code of a promotion to stable, and its document."""
    arguments = ("bundle", "promote", revision, "--to", "stable", "--json")
    code, out, err = shop.spine(*arguments, **more)
    assert err == ""
    return code, json.loads(out)


def _codes(document: Any) -> list[str]:
    violations = document["decision"]["violations"]
    return sorted(v["code"] for v in violations if v["severity"] == "error")


def test_bundle_that_flips_nothing_is_promoted(shop: Released) -> None:
    revision = _tested(shop, contract="error")
    code, found = _promoted(shop, revision)
    assert (code, found["changed"], _codes(found)) == (0, True, [])
    publication = found["publication"]
    assert (publication["channel"], publication["revision"], publication["sequence"]) == (
        "stable",
        revision,
        2,
    )
    assert (publication["author"], publication["tests"]) == ("ada", {"passed": 1, "failed": 0})
    assert found["impact"]["counts"]["deny_to_allow"] == 0
    with Session(shop.workspace, opa=shop.opa) as session:
        served = session.bundles.current("stable")
        assert served is not None
        assert verify(served[1], session.trust, channel="stable").revision == revision
        entry, first = session.journal.list(Search(point="bundle.promote", name="stable"))
        assert (entry.name, entry.acted, first.decision.policy) == ("stable", True, None)
        # The bundle that was stable judged, not the one that was promoted.
        policy = entry.decision.policy
        assert policy is not None
        assert (policy.revision, policy.sequence) == (
            session.bundles.history("stable")[-1].revision,
            1,
        )
        with session.database.read() as connection:
            (event,) = pending(connection, LOCAL)
        job, run = json.loads(event.body)["job"], json.loads(event.body)["run"]
        assert job["name"] == "promote.stable"
        assert run["facets"]["dataSpine_policyDecision"]["decisionId"] == (
            entry.decision.decision_id
        )
    assert _promoted(shop, revision) == (
        0,
        {**found, "changed": False, "decision": None, "impact": None},
    )


def test_denial_that_becomes_an_allow_needs_somebody_else(shop: Released) -> None:
    revision = _tested(shop, pii="warn")
    code, found = _promoted(shop, revision)
    assert (code, _codes(found)) == (1, ["promotion.deny_to_allow"])
    assert found["impact"]["counts"]["deny_to_allow"] == 1
    assert (found["changed"], found["publication"], found["approvals"]) == (False, None, [])
    approve = ("bundle", "approve", revision, "--to", "stable")
    own = shop.document(*approve)
    assert (own["actor"], own["verified"], own["base"]) == ("ada", True, 1)
    assert shop.document(*approve, "--reason", "again") == own
    code, found = _promoted(shop, revision)
    assert (code, _codes(found)) == (1, ["promotion.self_approved"])
    other = shop.document(*approve, "--reason", "seen", SPINE_TOKEN="grace-token")
    code, found = _promoted(shop, revision)
    assert (code, _codes(found), found["changed"]) == (0, [], True)
    assert found["approvals"] == [own, other]
    assert other["reason"] == "seen"
    with Session(shop.workspace, opa=shop.opa) as session:
        entries = session.journal.list(Search(point="bundle.promote", name="stable"))
        assert [entry.acted for entry in entries] == [True, False, False, True]


@pytest.fixture
def open_shop(shop: Released) -> Released:
    """The shop while whoever has its files may act: nobody's name is verified."""
    path = shop.root / "spine.yaml"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in settings.items() if k != "auth"}))
    return shop


def test_approval_without_a_token_is_not_another_pair_of_eyes(shop: Released) -> None:
    grants = [{"principal": each, "permissions": ["*"]} for each in ("ada", "local:*@*")]
    path = shop.root / "spine.yaml"
    path.write_text(json.dumps({**json.loads(path.read_text()), "access": {"grants": grants}}))
    shop.document("bundle", "publish", "--tests", "tested.json")
    revision = _tested(shop, pii="warn")
    approve = ("bundle", "approve", revision, "--to", "stable")
    unproven = shop.document(*approve, SPINE_TOKEN="")
    assert (unproven["actor"], unproven["verified"]) == (local_name(), False)
    code, found = _promoted(shop, revision)
    (violation,) = (v for v in found["decision"]["violations"] if v["severity"] == "error")
    assert (code, violation) == (
        1,
        {
            "code": "promotion.unverified_approval",
            "severity": "error",
            "message": f"{unproven['actor']} approved {revision} without a token that proves who "
            "that is",
            "path": "/facts/approvers",
            "remediation": "Publish, and approve as another, with a token of your own in "
            "SPINE_TOKEN (`spine access token`).",
            "controls": ["SOC2-CC5.1", "SOC2-CC6.1", "SOC2-CC8.1"],
        },
    )


def test_author_without_a_token_is_not_another_than_the_approver(shop: Released) -> None:
    shop.rules(pii="warn")
    made = shop.document(
        "bundle", "publish", "--channel", "canary", "--tests", "tested.json", SPINE_TOKEN=""
    )
    assert made["author"] == local_name()
    revision = made["revision"]
    shop.document("bundle", "approve", revision, "--to", "stable")
    code, found = _promoted(shop, revision)
    assert (code, _codes(found)) == (1, ["promotion.unverified_approval"])
    shop.document("bundle", "approve", revision, "--to", "stable", SPINE_TOKEN="grace-token")
    code, found = _promoted(shop, revision)
    assert (code, _codes(found), found["changed"]) == (0, [], True)


def test_nobody_approves_for_another_where_no_token_is_known(open_shop: Released) -> None:
    revision = _tested(open_shop, pii="warn")
    approval = open_shop.document("bundle", "approve", revision, "--to", "stable")
    assert (approval["actor"], approval["verified"]) == (local_name(), False)
    code, found = _promoted(open_shop, revision)
    assert code == 1
    assert _codes(found) == ["promotion.self_approved", "promotion.unverified_approval"]


def test_mode_verification_and_channel_are_facts(
    shop: Released, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = _tested(shop, contract="error")
    shop.document("bundle", "approve", revision, "--to", "stable", SPINE_TOKEN="grace-token")
    monkeypatch.setenv("SPINE_TOKEN", "ada-token")
    asked: list[Any] = []
    with Session(Workspace.open(shop.root), opa=shop.opa) as session:
        decided = session.decide

        def decide(question: Any) -> Any:
            asked.append(question)
            return decided(question)

        monkeypatch.setattr(session, "decide", decide)
        candidate = bundle_promote.candidate(session, revision)
        bundle_promote.promote(session, candidate, "stable", key=shop.key)
    facts = next(each.facts for each in asked if each.point == "bundle.promote")
    new = ("actor", "verified", "approvers", "verified_approvers", "mode", "channel")
    assert {name: facts[name] for name in new} == {
        "actor": "ada",
        "verified": True,
        "approvers": ["grace"],
        "verified_approvers": ["grace"],
        "mode": "released",
        "channel": "stable",
    }


def test_rollback_on_the_workspace_asks_for_no_token(shop: Released) -> None:
    shop.rules(pii="warn")
    shop.document("bundle", "publish")
    back = shop.document("bundle", "rollback", "--to", "1", "--reason", "it leaks", SPINE_TOKEN="")
    assert (back["sequence"], back["rollback"]["actor"]) == (3, local_name())


def test_approval_counts_for_the_step_that_was_looked_at(shop: Released) -> None:
    loose = _tested(shop, pii="warn")
    shop.document("bundle", "approve", loose, "--to", "stable", SPINE_TOKEN="grace-token")
    shop.rules(contract="error")
    shop.document("bundle", "publish", "--tests", "tested.json")
    code, found = _promoted(shop, loose)
    assert (code, _codes(found)) == (1, ["promotion.deny_to_allow"])


def test_untested_and_unsigned_bundles_are_denied_by_their_rules(shop: Released) -> None:
    code, found = _promoted(shop, _canary(shop, contract="error"))
    assert (code, _codes(found)) == (1, ["promotion.untested"])
    shop.document("bundle", "build", "--unsigned", "-o", "plain.tar.gz")
    code, found = _promoted(shop, "plain.tar.gz")
    assert (code, _codes(found)) == (1, ["promotion.unsigned", "promotion.untested"])


def test_empty_channel_takes_a_first_bundle(shop: Released) -> None:
    revision = shop.document("bundle", "status")[2]["active"]["revision"]
    found = shop.document("bundle", "promote", revision, "--to", "canary")
    assert (found["decision"], found["changed"]) == (None, True)
    assert (found["publication"]["channel"], found["publication"]["bootstrap"]) == ("canary", True)
    with Session(shop.workspace, opa=shop.opa) as session:
        entry = session.journal.list(Search(name="canary"))[0]
        assert [v.code for v in entry.decision.violations] == ["engine.bootstrap"]


def test_without_a_stable_bundle_nobody_judges(tmp_path: Path, opa: Path) -> None:
    shop = make_released(tmp_path, opa)
    _canary(shop)
    newer = _canary(shop, contract="error")
    shop.rules()
    shop.document("bundle", "publish", "--channel", "canary")
    promote = ("bundle", "promote", newer, "--to", "canary")
    assert shop.fault(*promote) == (3, "bundle.none_active")
    assert len(shop.document("audit", "decisions")) == 1


def test_what_cannot_be_promoted_is_told(shop: Released) -> None:
    promote = ("bundle", "promote")
    assert shop.fault(*promote, "1" * 12, "--to", "stable") == (2, "bundle.unknown")
    revision = shop.document("bundle", "status")[2]["active"]["revision"]
    assert shop.fault(*promote, revision, "--to", "dev") == (2, "bundle.bad_channel")
    assert shop.fault("bundle", "approve", revision, "--to", "dev") == (2, "bundle.bad_channel")
    assert shop.fault(*promote, revision, "--to", "canary", "--key", "file:no") == (
        3,
        "spine.secret_missing",
    )


def test_one_of_two_promoters_wins(shop: Released) -> None:
    revision = _tested(shop, contract="error")
    with _promoter(shop, revision) as one, _promoter(shop, revision) as two:
        for process in (one, two):
            assert process.stdout is not None
            assert process.stdout.readline() == b"decided\n"
        ended = [process.communicate(b"go on\n", timeout=120)[0] for process in (one, two)]
    assert sorted(ended) == [b"bundle.superseded\n", b"stable 2\n"]
    with Session(shop.workspace, opa=shop.opa) as session:
        assert [each.sequence for each in session.bundles.history("stable")] == [2, 1]
        steps = session.journal.list(Search(point="bundle.promote", name="stable"))
        assert [entry.acted for entry in steps] == [True, True]


def _promoter(shop: Released, revision: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROMOTES, revision, shop.key],
        cwd=shop.root,
        env=shop.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_active_bundle_judges_in_a_workspace_under_development(shop: Released) -> None:
    revision = _tested(shop, contract="error")
    path = shop.root / "spine.yaml"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mode": "dev", "rules": {}}))
    code, found = _promoted(shop, revision)
    with Session(Workspace.open(shop.root), opa=shop.opa) as session:
        active = session.bundles.active("dev")
    assert active is not None
    assert (code, found["decision"]["policy"]) == (
        0,
        {"revision": active.revision, "sequence": active.sequence},
    )
    assert active.revision != revision


def test_step_that_was_overtaken_is_not_made(
    shop: Released, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = _tested(shop, contract="error")
    workspace = Workspace.open(shop.root)
    with Session(workspace, opa=shop.opa, actor="ada") as session:
        candidate = bundle_promote.candidate(session, revision)
        decided = session.decide

        def overtaken(question: Any) -> Any:
            decision = decided(question)
            if question.point != "bundle.promote":
                return decision
            bundle_publish.publish(session, "stable", key=shop.key)
            return decision

        monkeypatch.setattr(session, "decide", overtaken)
        with pytest.raises(ConflictError) as caught:
            bundle_promote.promote(session, candidate, "stable", key=shop.key)
        assert caught.value.code == "bundle.superseded"
        newest = session.bundles.history("stable")[0]
        assert newest.digest == content_of(workspace).digest
        assert len(session.journal.list(Search(point="bundle.promote", name="stable"))) == 1
