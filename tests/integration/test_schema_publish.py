from pathlib import Path

import pytest

from dataspine.adapters import schema_publish
from dataspine.adapters.schema_publish import Outcome, Proposal
from dataspine.adapters.session import Session
from dataspine.core.errors import InputError, UnavailableError
from dataspine.core.workspace import Workspace
from dataspine.decisions.decision import Decision, DecisionInput
from dataspine.registry import Contract

pytestmark = pytest.mark.integration

CUSTOMERS = "schema/customers.avsc"


def _tagged(text: str) -> str:
    return text.replace("receipts are sent.", "receipts are sent. [pii] retain=P2Y")


def test_untagged_field_is_denied_and_tagged_it_becomes_the_first_version(session: Session) -> None:
    text = (session.workspace.root / CUSTOMERS).read_text()
    denied = schema_publish.publish(session, Proposal("shop.customers", text))
    allowed = schema_publish.publish(session, Proposal("shop.customers", _tagged(text)))

    assert denied.decision is not None
    assert denied.version is None
    assert [(v.code, v.field, v.line) for v in denied.decision.violations] == [
        ("pii.untagged_field", "email", 11)
    ]
    assert allowed.version is not None
    assert (allowed.version.semver, allowed.version.owner) == ("1.0.0", "team-shop")
    asked = [(e.decision.point, e.acted, e.decision.allow, e.actor) for e in session.journal.list()]
    assert asked == [
        ("schema.publish", True, True, "ada"),
        ("schema.publish", False, False, "ada"),
        ("api.access", True, True, "ada"),
    ]
    # The denial wrote its journal row alone: one publish, as its run and its dataset.
    assert session.outbox.counts()["delivered"] == 2


@pytest.mark.parametrize("tag", ["public", "internal"])
def test_a_field_that_looks_personal_is_public_only_with_a_reason(
    session: Session, tag: str
) -> None:
    avro = (session.workspace.root / CUSTOMERS).read_text()
    proto = 'syntax = "proto3";\nmessage Customer {\n  string email = 1; // receipts are sent.\n}\n'
    found = [
        (proposal.type, text, outcome.decision.codes if outcome.decision else None)
        for text in (f"[{tag}]", f"[{tag}] [not-pii: ]", f"[{tag}] [not-pii: of a machine]")
        for proposal in (
            Proposal("shop.customers", avro.replace("are sent.", f"are sent. {text}")),
            Proposal("shop.mails", proto.replace("are sent.", f"are sent. {text}"), "PROTOBUF"),
        )
        for outcome in [schema_publish.publish(session, proposal)]
    ]

    untagged, unexplained = "pii.untagged_field", "pii.waiver_without_reason"
    assert found == [
        (kind, text, codes)
        for text, codes in (
            (f"[{tag}]", (untagged,)),
            (f"[{tag}] [not-pii: ]", (untagged, unexplained)),
            (f"[{tag}] [not-pii: of a machine]", ()),
        )
        for kind in ("AVRO", "PROTOBUF")
    ]


def test_known_schema_is_answered_without_a_decision(session: Session) -> None:
    text = _tagged((session.workspace.root / CUSTOMERS).read_text())
    first = schema_publish.publish(session, Proposal("shop.customers", text))
    again = schema_publish.publish(session, Proposal("shop.customers", text))
    assert first.version is not None
    assert again.version is not None
    assert (again.version.id, again.created, again.decision) == (first.version.id, False, None)
    asked = [entry.decision.point for entry in session.journal.list()]
    assert asked == ["schema.publish", "api.access"]


def test_a_decision_that_another_version_overtook_is_journalled_and_asked_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = _tagged((session.workspace.root / CUSTOMERS).read_text())
    other = text.replace("retain=P2Y", "retain=P1Y")
    decide = session.decide

    def overtaken(question: DecisionInput) -> Decision:
        decision = decide(question)
        if question.point == schema_publish.POINT:
            monkeypatch.undo()
            schema_publish.publish(session, Proposal("shop.customers", other))
        return decision

    monkeypatch.setattr(session, "decide", overtaken)
    outcome = schema_publish.publish(session, Proposal("shop.customers", text))

    assert outcome.decision is not None
    assert outcome.decision.codes == ("retention.prolonged",)
    journalled = [(e.decision.point, e.decision.allow, e.acted) for e in session.journal.list()]
    assert journalled == [
        ("schema.publish", False, False),  # asked again, beside the other one
        ("schema.publish", True, False),  # overtaken
        ("api.access", True, True),
        ("schema.publish", True, True),  # the other one
        ("api.access", True, True),
    ]


def test_new_field_makes_a_minor_version(session: Session) -> None:
    text = _tagged((session.workspace.root / CUSTOMERS).read_text())
    more = text.replace(
        '    {"name": "segment"',
        '    {"name": "visits", "type": "int", "default": 0},\n    {"name": "segment"',
    )
    versions = [
        schema_publish.publish(session, Proposal("shop.customers", each)).version
        for each in (text, more)
    ]
    assert [v.semver for v in versions if v] == ["1.0.0", "1.1.0"]


@pytest.mark.parametrize("subject", ["", " ", "ids", "a\nb", "x" * 300])
def test_odd_subject_is_refused(session: Session, subject: str) -> None:
    with pytest.raises(InputError):
        schema_publish.publish(session, Proposal(subject, '"string"'))


def test_without_an_engine_nothing_is_published(workspace: Workspace, tmp_path: Path) -> None:
    missing = tmp_path / "no-opa"
    with Session(workspace, opa=missing) as session:
        text = _tagged((workspace.root / CUSTOMERS).read_text())
        with pytest.raises(UnavailableError) as caught:
            schema_publish.publish(session, Proposal("shop.customers", text))
        (asked,) = session.journal.list()
        assert session.registry.subjects() == []
    assert (caught.value.code, caught.value.where) == ("engine.unavailable", "shop.customers")
    assert (asked.decision.policy, asked.decision.codes) == (None, ("engine.unavailable",))


def test_changed_rule_decides_the_next_question_without_a_restart(session: Session) -> None:
    text = (session.workspace.root / CUSTOMERS).read_text()
    before = session.active.revision
    first = schema_publish.publish(session, Proposal("shop.customers", text))
    settings = session.workspace.root / "spine.yaml"
    settings.write_text(
        settings.read_text().replace("rules:\n", "rules:\n  pii.untagged_field: warn\n")
    )
    with Session(Workspace.open(session.workspace.root), opa=session.opa_path) as other:
        assert other.active.rebuilt
        assert other.active.revision != before
        session.child.wait_active(other.active.revision, 20)
    second = schema_publish.publish(session, Proposal("shop.customers", text))
    assert [o.decision.allow for o in (first, second) if o.decision] == [False, True]


CARD = """{"type": "record", "name": "Card", "fields": [
  {"name": "number", "type": "string", "doc": "[pci] retain=P1Y"},
  {"name": "brand", "type": "string"}
]}"""


def _codes(outcome: Outcome) -> list[tuple[str, str | None, int | None]]:
    assert outcome.decision is not None
    return [(v.code, v.field, v.line) for v in outcome.decision.violations if v.severity == "error"]


def test_fields_of_a_referenced_schema_are_judged_without_a_line(session: Session) -> None:
    address = '{"type": "record", "name": "Address", "fields": [{"name": "id", "type": "int"}]}'
    person = '{"type": "record", "name": "P", "fields": [{"name": "home", "type": "Address"}]}'
    schema_publish.publish(session, Proposal("shop.address", address))
    reference = {"name": "Address", "subject": "shop.address", "version": 1}

    outcome = schema_publish.publish(
        session, Proposal("shop.person", person, references=[reference])
    )

    assert outcome.version is not None


def test_lost_classification_and_longer_retention_are_denied(session: Session) -> None:
    schema_publish.publish(session, Proposal("shop.card", CARD))
    longer = CARD.replace("P1Y", "P2Y")

    bare = schema_publish.validate(session, Proposal("shop.card", CARD.replace("[pci] ", "")))
    kept = schema_publish.validate(session, Proposal("shop.card", longer))

    assert ("pii.classification_removed", "number", 2) in _codes(bare)
    assert _codes(kept) == [("retention.prolonged", "number", 2)]


@pytest.mark.parametrize(("claimed", "denied"), [(None, False), ("1.1.0", False), ("2.0.0", True)])
def test_claimed_version_is_the_one_the_change_makes(
    claimed: str | None, denied: bool, session: Session
) -> None:
    schema_publish.publish(session, Proposal("shop.card", CARD))
    more = CARD.replace(
        '{"name": "brand"', '{"name": "visits", "type": "int", "default": 0},\n  {"name": "brand"'
    )

    outcome = schema_publish.publish(session, Proposal("shop.card", more, claimed=claimed))

    assert _codes(outcome) == ([("contract.version_bump_wrong", None, None)] if denied else [])
    assert outcome.proposed == "1.1.0"


def test_other_metadata_is_a_patch_in_validate_as_in_publish(session: Session) -> None:
    schema_publish.publish(session, Proposal("shop.card", CARD))
    proposal = Proposal("shop.card", CARD, contract=Contract({"domain": "shop"}))

    asked = schema_publish.validate(session, proposal)
    made = schema_publish.publish(session, proposal)

    assert asked.proposed == made.proposed == "1.0.1"
    assert made.version is not None


def test_rules_read_the_settings(session: Session) -> None:
    settings = session.workspace.root / "spine.yaml"
    text = settings.read_text()
    sections = 'subjects: {pattern: "shop[.].+"}\nretention: {maximum: {PCI: P30D}}\n'
    settings.write_text(text + sections + "metadata: {required: [domain]}\n")
    with Session(Workspace.open(session.workspace.root)) as changed:
        outcome = schema_publish.validate(changed, Proposal("bank.card", CARD))

    assert outcome.decision is not None
    assert sorted({v.code for v in outcome.decision.violations}) == [
        "contract.metadata_missing",
        "contract.owner_missing",
        "contract.subject_name",
        "retention.exceeds_maximum",
    ]
