"""What a candidate would change, on real OPAs and their real decision logs."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.policies.support import ROUTE, ROW

from dataspine.adapters import schema_publish
from dataspine.adapters.init import init
from dataspine.adapters.opened_bundle import active_of, candidate_of
from dataspine.adapters.policy_impact import Impact, Period, impact
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.cdc.state import RouteStore, StoredRoute
from dataspine.core.clock import rfc3339
from dataspine.core.errors import IntegrityError, NotFoundError
from dataspine.core.workspace import Workspace
from dataspine.decisions.decision import DecisionInput

pytestmark = pytest.mark.integration

START = datetime(2026, 11, 1, tzinfo=UTC)
UNTAGGED = "pii.untagged_field"
EXCEPTION = """- rule: pii.untagged_field
  applies-to: shop.customers
  reason: The tag comes with the next release.
  approved-by: data-governance
  effective-until: 2026-11-03T00:00:00Z
"""
BROKEN = """# METADATA
# title: Broken
# description: Fails for one name while it is evaluated.
# custom:
#   message: broken
#   remediation: Mend it.
package dataspine.custom.shop.broken

import data.dataspine.lib.result

deny contains violation if {
	input.point == "schema.publish"
	_number(input.facts.name) == 1

	violation := result.violation(rego.metadata.chain(), {"path": ""})
}

_number(name) := 2 if startswith(name, "shop.")

_number(name) := 3 if name == "shop.orders"
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Path:
    """A workspace with a published subject, and decisions that OPA logged on four days.

    ``shop.customers`` was asked for daily and denied; ``shop.orders`` once, and allowed.
    """
    workspace = init(tmp_path_factory.mktemp("recorded") / "shop", name="shop", told=lambda _: None)
    text = (workspace.root / "schema/customers.avsc").read_text()
    tagged = text.replace("receipts are sent.", "receipts are sent. [pii] retain=P2Y")
    with Session(workspace, opa=opa, actor="ada") as session:
        untagged = schema_publish.question(session, Proposal("shop.customers", text))
        orders = schema_publish.question(session, Proposal("shop.orders", tagged))
        for day in range(4):
            at = START + timedelta(days=day)
            assert not session.decide(DecisionInput(untagged.point, at, untagged.facts)).allow
        assert session.decide(DecisionInput(orders.point, START, orders.facts)).allow
        published = schema_publish.publish(session, Proposal("shop.people", tagged))
        assert published.version is not None
    return workspace.root


@pytest.fixture
def compared(recorded: Path, tmp_path: Path, opa: Path) -> Callable[..., Impact]:
    """Compare the workspace's changed sources with the bundle that decided."""
    folder = tmp_path / "shop"
    shutil.copytree(recorded, folder)

    def compare(change: Callable[[Path], Any], period: Period = Period()) -> Impact:  # noqa: B008 - frozen
        change(folder)
        with Session(Workspace.open(folder), opa=opa) as session:
            before = session.decision_log.search()
            pair = candidate_of(session, "."), active_of(session, "dev")
            found = impact(session, *pair, period, workers=1)
            assert session.decision_log.search() == before
        return found

    return compare


def _counts(**changed: int) -> dict[str, int]:
    kinds = ("same", "deny_to_allow", "allow_to_deny", "changed_obligations", "not_replayable")
    return {kind: changed.get(kind, 0) for kind in kinds}


def _configure(**rules: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        lines = "".join(f"  {code.replace('__', '.')}: {word}\n" for code, word in rules.items())
        path = folder / "spine.yaml"
        path.write_text(path.read_text().replace("rules:\n", f"rules:\n{lines}"))

    return change


def test_unchanged_sources_change_nothing(compared: Callable[..., Impact]) -> None:
    found = compared(lambda _: None)
    assert (found.recorded, found.existing) == (_counts(same=7), _counts(same=1))
    assert (found.distinct, found.asked, found.codes, found.examples) == (4, 4, {}, [])


def test_looser_rule_turns_denials_into_allows(compared: Callable[..., Impact]) -> None:
    found = compared(_configure(pii__untagged_field="warn"))
    assert found.recorded == _counts(same=3, deny_to_allow=4)
    assert found.codes == {UNTAGGED: {"appears": 0, "disappears": 4}}
    (example,) = (dict(each) for each in found.examples)
    assert len(example.pop("decision_id")) == 36
    assert example.pop("before")["codes"] == [UNTAGGED]
    assert example.pop("after")["warnings"] == [UNTAGGED]
    assert example == {
        "kind": "deny_to_allow",
        "source": "recorded",
        "point": "schema.publish",
        "name": "shop.customers",
        "at": "2026-11-01T00:00:00Z",
        "decisions": 4,
    }


def test_dated_exception_is_asked_on_both_sides_of_its_end(
    compared: Callable[..., Impact],
) -> None:
    found = compared(lambda folder: (folder / "policies/exceptions.yaml").write_text(EXCEPTION))
    assert found.recorded == _counts(same=5, deny_to_allow=2)
    assert (found.distinct, found.asked) == (4, 5)


def test_rule_that_fails_for_one_question_denies_that_one(compared: Callable[..., Impact]) -> None:
    def change(folder: Path) -> None:
        path = folder / "policies/dataspine/custom/shop/broken/broken.rego"
        path.parent.mkdir(parents=True)
        path.write_text(BROKEN)

    found = compared(change)
    assert found.recorded == _counts(same=6, allow_to_deny=1)
    assert found.codes == {"engine.undefined": {"appears": 1, "disappears": 0}}


def test_period_leaves_out_what_was_logged_before(compared: Callable[..., Impact]) -> None:
    found = compared(lambda _: None, Period(since=datetime(2100, 1, 1, tzinfo=UTC)))
    assert (found.recorded, found.existing) == (_counts(), _counts(same=1))


def test_what_cannot_be_asked_again_is_counted_by_reason(
    compared: Callable[..., Impact],
) -> None:
    facts = {"point": "schema.publish", "at": "2026-11-01T00:00:00Z", "facts": {"name": "x"}}
    whole = {"path": "dataspine/main/schema_publish", "timestamp": "2026-11-24T00:00:00Z"}
    events: list[dict[str, Any]] = [
        {**whole, "decision_id": "1", "input": facts, "erased": ["/input/facts/email"]},
        {**whole, "decision_id": "2"},
        {**whole, "decision_id": "3", "input": facts, "path": "other/allow"},
        {**whole, "decision_id": "4", "input": {**facts, "at": "yesterday"}},
        {**whole, "decision_id": "5", "input": {**facts, "point": "route.deploy"}},
    ]

    def change(folder: Path) -> None:
        with Session(Workspace.open(folder)) as session:
            assert session.decision_log.ingest(events).stored == 5

    found = compared(change)
    assert found.recorded == _counts(same=7, not_replayable=5)
    assert found.reasons == {"malformed": 2, "masked input": 1, "no input": 1, "unknown point": 1}


def test_candidate_is_verified_before_it_is_used(recorded: Path, tmp_path: Path, opa: Path) -> None:
    with Session(Workspace.open(recorded), opa=opa) as session:
        data = session.bundles.bytes_of("dev", 1)
        (tmp_path / "cut.tar.gz").write_bytes(data[:-200])
        with pytest.raises(IntegrityError):
            candidate_of(session, str(tmp_path / "cut.tar.gz"))
        with pytest.raises(NotFoundError):
            candidate_of(session, str(tmp_path / "none.tar.gz"))
        digest = candidate_of(session, ".").bundle.digest
        assert candidate_of(session, digest[7:19]).bundle.sequence == 1


def _custom(name: str, condition: str) -> Callable[[Path], None]:
    """Add a rule `shop.<name>` that denies what the condition holds for."""
    rule = BROKEN.partition("deny contains")[0].replace("shop.broken", f"shop.{name}")
    body = "violation := result.violation(rego.metadata.chain(), {'path': ''})".replace("'", '"')

    def change(folder: Path) -> None:
        path = folder / f"policies/dataspine/custom/shop/{name}/{name}.rego"
        path.parent.mkdir(parents=True)
        path.write_text(f"{rule}deny contains violation if {{\n\t{condition}\n\t{body}\n}}\n")

    return change


def test_stricter_rule_turns_an_allow_into_a_denial(compared: Callable[..., Impact]) -> None:
    found = compared(_custom("strict", 'input.facts.name == "shop.orders"'))
    assert found.recorded == _counts(same=6, allow_to_deny=1)
    assert found.existing == _counts(same=1)
    assert found.codes == {"shop.strict": {"appears": 1, "disappears": 0}}
    (example,) = found.examples
    assert (example["kind"], example["name"]) == ("allow_to_deny", "shop.orders")
    assert (example["before"]["codes"], example["after"]["codes"]) == ([], ["shop.strict"])


def test_lifted_obligation_alone_is_a_change(compared: Callable[..., Impact]) -> None:
    masked = copy.deepcopy(ROW)
    masked["row"] = {"country": "DE"}

    def change(folder: Path) -> None:
        with Session(Workspace.open(folder)) as session:
            assert session.decide(DecisionInput.parse(masked)).allow
        path = Workspace.open(folder).matrix_path
        text = path.read_text()
        # The first duty of the matrix is that of PII from EU to US.
        changed = re.sub(r"\n {8}obligations:\n {10}- [^\n]*", "", text, count=1)
        assert changed != text
        path.write_text(changed)

    found = compared(change)
    assert found.recorded == _counts(same=7, changed_obligations=1)
    assert found.codes == {}
    (example,) = found.examples
    assert (example["kind"], example["point"]) == ("changed_obligations", "row.replicate")
    assert [each["method"] for each in example["before"]["obligations"]] == ["hmac"]
    assert example["after"]["obligations"] == []


def test_stored_route_is_asked_with_its_columns_as_they_are_registered_now(
    compared: Callable[..., Impact],
) -> None:
    facts = copy.deepcopy(ROUTE["facts"])
    facts["tables"][0] |= {"subject": "shop.people", "homes": "allowed"}
    for column in facts["tables"][0]["columns"]:
        column["classifications"] = ["Public"]  # as it was when the route was applied
    deny = _custom("no_pii", '"PII" in input.facts.tables[_].columns[_].classifications')

    def change(folder: Path) -> None:
        with Session(Workspace.open(folder)) as session, session.database.begin() as connection:
            at = rfc3339(START)
            route = StoredRoute("shop.route", folder / "route.yaml", facts, "d", at, {})
            RouteStore(session.database).save(connection, route)
        deny(folder)

    found = compared(change)
    assert found.recorded == _counts(same=7)
    assert found.existing == _counts(same=1, allow_to_deny=1)
    (example,) = found.examples
    assert (example["source"], example["point"], example["name"]) == (
        "existing",
        "route.deploy",
        "shop.route",
    )
