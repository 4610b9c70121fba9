"""Point ``schema.publish``: may this version of a schema be published under this subject?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dataspine.adapters import access
from dataspine.adapters.session import Session
from dataspine.adapters.timing import Timing
from dataspine.core.errors import ConflictError, InputError
from dataspine.decisions.decision import Decision, DecisionInput
from dataspine.lineage import events
from dataspine.registry import (
    Chosen,
    Comparison,
    Contract,
    Deleted,
    Limits,
    ParsedSchema,
    Version,
    compare,
    is_transitive,
    next_version,
    parse,
)

__all__ = [
    "Imported",
    "Outcome",
    "Proposal",
    "compare_with",
    "field_facts",
    "find",
    "mode_refuses",
    "parse_proposal",
    "parse_version",
    "publish",
    "question",
    "validate",
]

POINT = "schema.publish"
# What is imported was judged where it comes from.
IMPORTED_LEVEL = "NONE"


@dataclass(frozen=True, slots=True)
class Imported:
    """What another registry gave a version; what it does not say is given here.

    Who chooses numbers may ``import`` on everything: ids are the same in every subject. A ``whole``
    registry was asked about as it was begun; stock clients need the mode ``IMPORT``.
    """

    id: int
    number: int
    semver: str | None = None
    published_at: datetime | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a user wants to publish, as it travels in both dialects."""

    subject: str
    text: str
    type: str = "AVRO"
    references: Sequence[Mapping[str, Any]] = ()
    contract: Contract = field(default_factory=Contract)
    claimed: str | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    imported: Imported | None = None

    @classmethod
    def of(cls, version: Version) -> Proposal:
        """Return what would publish a stored version again."""
        return cls(
            version.subject, version.text, version.type, version.references, version.contract
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: the decision, how it compares with the latest, and the stored version.

    ``decision`` is None when the same schema was registered before: nothing new was asked.
    """

    subject: str
    decision: Decision | None
    comparison: Comparison
    current: str | None
    proposed: str
    version: Version | None
    created: bool
    timing: Timing

    def document(self) -> dict[str, Any]:
        """Return the answer of ``validate`` and ``publish``."""
        return {
            **(self.decision.document() if self.decision else {"allow": True}),
            "subject": self.subject,
            "compatibility": {
                "level": self.comparison.level,
                "compatible": self.comparison.compatible,
                "messages": list(self.comparison.messages),
            },
            "version": {
                "current": self.current,
                "next": self.proposed,
                "bump": self.comparison.bump,
            },
            "published": self.version.document() if self.version else None,
            "created": self.created,
        }


def question(session: Session, proposal: Proposal) -> DecisionInput:
    """Translate a proposal into the point's facts."""
    return _question(session, proposal, _compared(session, proposal, Timing()))


def validate(session: Session, proposal: Proposal) -> Outcome:
    """Say what publishing would answer; change nothing but the journal."""
    timing = Timing()
    compared = _compared(session, proposal, timing)
    asked = _question(session, proposal, compared)
    with timing.part("decide"):
        decision = session.decide(asked)
    with timing.part("store"):
        session.journal.note(decision, name=proposal.subject, actor=session.principal)
    return Outcome(
        proposal.subject,
        decision,
        compared.comparison,
        compared.semver,
        asked.facts["version"]["next"],
        None,
        created=False,
        timing=timing,
    )


def publish(session: Session, proposal: Proposal) -> Outcome:
    """Publish a schema when policy allows it.

    The decision is asked outside the transaction; inside, the latest version is read again, and a
    version that came between makes the whole step repeat. Version, journal rows and lineage event
    are written together; a denial writes journal rows alone.
    """
    while True:
        outcome = _publish_once(session, proposal)
        if outcome is not None:
            return outcome


def _publish_once(session: Session, proposal: Proposal) -> Outcome | None:
    timing = Timing()
    compared = _compared(session, proposal, timing)
    parsed, comparison = compared.parsed, compared.comparison
    known = _known(session, proposal, compared)
    if known is not None:
        return Outcome(
            proposal.subject, None, comparison, compared.semver, known.semver, known, False, timing
        )
    _require_writable(proposal, session.subject_settings.mode(proposal.subject))
    permit = _permit(session, proposal)
    asked = _question(session, proposal, compared)
    proposed, given = asked.facts["version"]["next"], proposal.imported
    with timing.part("decide"):
        decision = session.decide(asked)
    # An import chooses its id, which must be nobody else's: then nobody else writes.
    of = None if given else f"subject {proposal.subject}"
    with timing.part("store"), session.database.begin(of) as connection:
        permit.record(connection)
        is_outdated = _is_outdated(session, proposal, compared, connection)
        acted = decision.allow and not is_outdated
        session.journal.record(
            connection, decision, name=proposal.subject, actor=session.principal, acted=acted
        )
        version = None
        if acted:
            version = session.registry.add(
                connection,
                proposal.subject,
                parsed,
                semver=proposed,
                owner=str(asked.facts["metadata"].get("owner") or "") or None,
                contract=replace(proposal.contract, properties=dict(asked.facts["metadata"])),
                references=proposal.references,
                provenance={**proposal.provenance, "actor": session.actor},
                decision_id=decision.decision_id,
                published_at=(given and given.published_at) or session.clock(),
                at=Chosen(given.id, given.number, given.whole) if given else None,
            )
            session.outbox.write(
                connection,
                events.schema_published(
                    workspace=session.workspace.name,
                    subject=proposal.subject,
                    version=version.semver,
                    fields=[f.facts() for f in parsed.fields],
                    decision=decision,
                    at=session.clock(),
                ),
            )
    permit.keep()
    if is_outdated:
        return None
    return Outcome(
        proposal.subject,
        decision,
        comparison,
        compared.semver,
        proposed,
        version,
        created=version is not None,
        timing=timing,
    )


def _permit(session: Session, proposal: Proposal) -> access.Permit:
    if proposal.imported is None:
        return access.obtain(session, access.PUBLISH, proposal.subject)
    if proposal.imported.whole:
        return access.Permit(session, access.EVERYTHING)
    return access.obtain(session, access.IMPORT, access.EVERYTHING)


def _is_outdated(
    session: Session, proposal: Proposal, compared: _Compared, connection: sa.Connection
) -> bool:
    """Tell whether another version, or another level, came since they were compared."""
    current = compared.current
    latest = session.registry.latest(proposal.subject, connection)
    if (latest and latest.number) != (current and current.number):
        return True
    level = session.subject_settings.level(proposal.subject, connection)
    return level != compared.comparison.level and proposal.imported is None


def parse_proposal(session: Session, proposal: Proposal) -> ParsedSchema:
    """Return the proposed schema parsed, or raise ``InputError``."""
    session.registry.check_subject(proposal.subject)
    parsed = _parse(session, proposal.type, proposal.text, proposal.references)
    return parsed.tagged(proposal.contract.tags)


def parse_version(session: Session, version: Version) -> ParsedSchema:
    """Return a stored version parsed."""
    parsed = _parse(session, version.type, version.text, version.references)
    return parsed.tagged(version.contract.tags)


def field_facts(session: Session, version: Version) -> list[dict[str, Any]]:
    """Return what a stored version says of its fields, read from its text.

    ``Version.fields`` is what it was judged by: an older release may have seen less in it.
    """
    return [field.facts() for field in parse_version(session, version).fields]


def find(
    session: Session,
    proposal: Proposal,
    parsed: ParsedSchema,
    *,
    deleted: Deleted = "hidden",
    latest: Version | None = None,
) -> Version | None:
    """Return the version that holds this schema with what the proposal says besides, or None."""
    return session.registry.find(
        proposal.subject,
        parsed,
        references=proposal.references,
        contract=proposal.contract,
        deleted=deleted,
        latest=latest,
    )


def compare_with(
    session: Session, previous: Sequence[Version], parsed: ParsedSchema, level: str
) -> Comparison:
    """Compare a schema with stored versions, the oldest first, as ``spine.yaml`` says.

    Raises ``InputError`` when all of it takes longer than it may.
    """
    limits = Limits.of(session.comparisons)
    older = []
    for version in previous:
        limits.seconds_left()
        older.append(parse_version(session, version))
    logical = session.workspace.settings.logical_types
    return compare(older, parsed, level=level, logical=logical, limits=limits)


def _parse(
    session: Session, kind: str, text: str, references: Sequence[Mapping[str, Any]]
) -> ParsedSchema:
    return parse(
        kind, text, references, workers=session.protobuf, lookup=session.registry.reference
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    """A proposal beside the latest version, and ``same``, the version that it is already.

    ``same`` is looked for only where the comparison alone leaves it open.
    """

    parsed: ParsedSchema
    comparison: Comparison
    current: Version | None
    same: Version | None = None

    @property
    def semver(self) -> str | None:
        return self.current.semver if self.current else None


def _compared(session: Session, proposal: Proposal, timing: Timing) -> _Compared:
    with timing.part("parse"):
        parsed = parse_proposal(session, proposal)
    with timing.part("compat"):
        current, level = session.registry.latest_with_level(
            proposal.subject, session.subject_settings
        )
        if proposal.imported is not None:
            level = IMPORTED_LEVEL
        elif current is None:
            session.registry.check_new_subject(proposal.subject)
        if current is not None and current.type != parsed.type:
            raise InputError(
                f"{proposal.subject} is {current.type}, not {parsed.type}",
                where=proposal.subject,
                remedy="Publish it under another subject.",
                code="registry.type_changed",
            )
        previous: Sequence[Version] = [current] if current is not None else []
        if current is not None and is_transitive(level):
            previous = session.registry.versions(proposal.subject)
        comparison = compare_with(session, previous, parsed, level)
        if current is None or comparison.bump != "none":
            return _Compared(parsed, comparison, current)
        same = _same(session, proposal, parsed, current)
        if same is None:
            # The same text with other metadata or references is a version of its own.
            comparison = replace(comparison, bump="patch")
        return _Compared(parsed, comparison, current, same)


def _known(session: Session, proposal: Proposal, compared: _Compared) -> Version | None:
    """Return the version that is there already: nothing is asked and nothing written then.

    What is imported is known by its number; ``Registry.add`` refuses another one in its place.
    """
    given = proposal.imported
    if given is None:
        return compared.same or _same(session, proposal, compared.parsed, compared.current)
    stored = session.registry.stored(proposal.subject, given.number)
    same = stored is not None and (stored.id, stored.digest) == (given.id, compared.parsed.digest)
    return stored if same else None


def _same(
    session: Session, proposal: Proposal, parsed: ParsedSchema, current: Version | None
) -> Version | None:
    return find(session, proposal, parsed, latest=current) if current is not None else None


def _require_writable(proposal: Proposal, mode: str) -> None:
    if mode == ("READWRITE" if proposal.imported is None else "IMPORT"):
        return
    if proposal.imported is not None and proposal.imported.whole and mode == "READWRITE":
        return
    more = ", and an import needs IMPORT" if proposal.imported else ""
    if mode == "IMPORT":
        more += ", and a schema is imported with its id and version"
    raise mode_refuses(mode, proposal.subject, more)


def mode_refuses(mode: str, where: str, more: str = "") -> ConflictError:
    """Return the error of a write that the mode does not permit; ``more`` ends its sentence."""
    return ConflictError(
        f"the mode is {mode}{more}",
        where=where,
        remedy="Set the mode of the subject, or of all: PUT /mode/{subject}.",
        code="registry.not_permitted",
    )


def _question(session: Session, proposal: Proposal, compared: _Compared) -> DecisionInput:
    parsed, comparison, current = compared.parsed, compared.comparison, compared.current
    contract = proposal.contract.owned_by(session.workspace.owner_of(proposal.subject))
    facts = {
        "name": proposal.subject,
        "format": parsed.type,
        "metadata": dict(contract.properties),
        "fields": [f.facts() for f in parsed.fields],
        "version": {
            "current": compared.semver,
            "next": (proposal.imported and proposal.imported.semver)
            or next_version(compared.semver, comparison.bump),
            "bump": comparison.bump,
            "claimed": proposal.claimed,
        },
        "compatibility": {
            "level": comparison.level,
            "compatible": comparison.compatible,
            "messages": list(comparison.messages),
        },
        "previous": _previous(session, current, parsed) if current else None,
    }
    return DecisionInput(POINT, session.clock(), facts)


def _previous(session: Session, current: Version, parsed: ParsedSchema) -> dict[str, Any]:
    """Return what the latest version said of the fields about which something else is said now."""
    now = {f.path: (list(f.classifications), f.retention) for f in parsed.fields}
    fields = [
        {key: f[key] for key in ("path", "classifications", "retention")}
        for f in field_facts(session, current)
        if now.get(f["path"], (f["classifications"], f["retention"]))
        != (f["classifications"], f["retention"])
    ]
    return {"version": current.semver, "fields": fields}
