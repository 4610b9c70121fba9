"""A whole registry as one file: the same registry gives the same bytes, and ids are kept.

JSON Lines in canonical form: a head, the settings of subjects, then the versions, each after those
that it refers to.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataspine.adapters import access
from dataspine.adapters.schema_publish import Imported, Proposal, publish
from dataspine.adapters.session import Session
from dataspine.core.canonical import canonical, parse_json
from dataspine.core.clock import parse_rfc3339
from dataspine.core.errors import DataSpineError, InputError, of_system
from dataspine.core.files import replacing
from dataspine.registry import Contract, Version, require_importable

__all__ = ["Counts", "export", "import_file"]

FORMAT = "dataspine.registry/1"
MAX_LINE = 8 * 1_048_576

_SETTING = {"subject", "level", "mode"}
_VERSION = {
    "subject",
    "version",
    "id",
    "semver",
    "schemaType",
    "schema",
    "references",
    "metadata",
    "ruleSet",
    "provenance",
    "decision_id",
    "published_at",
    "deleted",
}


@dataclass(frozen=True, slots=True)
class Counts:
    """What an import did; ``denied`` tells the versions that policy denies, and their codes."""

    imported: int
    known: int
    denied: tuple[tuple[str, int, tuple[str, ...]], ...]

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        denied = [{"subject": s, "version": n, "codes": list(c)} for s, n, c in self.denied]
        return {"imported": self.imported, "known": self.known, "denied": denied}


def export(session: Session, path: Path) -> int:
    """Write the registry into a file, and return how many versions it has.

    The file is whole or what it was before.
    """
    count = 0
    try:
        with replacing(path) as file:
            for document in _documents(session):
                file.write(canonical(document) + b"\n")
                count += "version" in document
    except OSError as error:
        raise of_system(error) or InputError(
            error.strerror or "cannot be written", where=str(path), remedy="Choose another file."
        ) from None
    return count


def import_file(
    session: Session, path: Path, *, told: Callable[[int, int], None] = lambda *_: None
) -> Counts:
    """Publish the versions of a file under their ids and numbers.

    ``told`` gets how many bytes of how many are read.

    Each asks ``schema.publish``, as any version does; what is denied is told and left out, and so
    is what refers to it. Versions that are there are known, so an import can be run again. Raises
    ``InputError`` for another file and ``ConflictError`` where an id or number is taken.
    """
    access.require(session, access.IMPORT, access.EVERYTHING)
    imported = known = 0
    denied: list[tuple[str, int, tuple[str, ...]]] = []
    settings: list[tuple[Mapping[str, Any], str]] = []
    for where, document in _lines(path, told):
        if set(document) == _SETTING:
            settings.append((document, where))
            continue
        proposal, deleted = _proposal(document, where)
        given = proposal.imported
        if given is None:
            continue
        try:
            outcome = publish(session, proposal)
        except DataSpineError as error:
            error.where = f"{where} {error.where}".rstrip()
            raise
        if outcome.version is None:
            codes = outcome.decision.codes if outcome.decision is not None else ()
            denied.append((proposal.subject, given.number, codes))
            continue
        imported += outcome.created
        known += not outcome.created
        if deleted and not outcome.version.is_deleted:
            _delete(session, outcome.version)
    for each in settings:  # last: one of them may say that nobody writes
        _set(session, *each)
    return Counts(imported, known, tuple(denied))


def _documents(session: Session) -> Iterator[dict[str, Any]]:
    yield {"format": FORMAT, "workspace": session.workspace.name}
    for subject, level, mode in session.subject_settings.every():
        yield {"subject": subject, "level": level, "mode": mode}
    for version in session.registry.every():
        yield {
            "subject": version.subject,
            "version": version.number,
            "id": version.id,
            "semver": version.semver,
            "schemaType": version.type,
            "schema": version.text,
            "references": [dict(each) for each in version.references],
            "metadata": None,
            "ruleSet": None,
            **version.contract.document(),
            "provenance": dict(version.provenance),
            "decision_id": version.decision_id,
            "published_at": version.published_at,
            "deleted": version.is_deleted,
        }


def _lines(path: Path, told: Callable[[int, int], None]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise _wrong("the file is empty", f"{path}:1")
            for place, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), 1):
                document = parse_json(line, where=f"{path}:{place}", max_bytes=MAX_LINE)
                if not isinstance(document, dict):
                    raise _wrong("no JSON object", f"{path}:{place}")
                if place > 1:
                    yield f"{path}:{place}", document
                    told(file.tell(), size)
                elif document.get("format") != FORMAT:
                    raise _wrong(f"the file does not begin with {FORMAT}", f"{path}:1")
    except OSError as error:
        raise of_system(error) or _wrong(error.strerror or "unreadable", str(path)) from None


def _proposal(document: Mapping[str, Any], where: str) -> tuple[Proposal, bool]:
    if set(document) != _VERSION:
        wrong = sorted(set(document) ^ _VERSION)[0]
        raise _wrong(
            f"the key {wrong[:40]!r} is {'unknown' if wrong in document else 'missing'}", where
        )
    kinds: Mapping[str, type] = {
        "subject": str,
        "version": int,
        "id": int,
        "semver": str,
        "schemaType": str,
        "schema": str,
        "references": list,
        "provenance": dict,
        "published_at": str,
        "deleted": bool,
    }
    for key, kind in kinds.items():
        if type(document[key]) is not kind:
            raise _wrong(f"{key} is no {kind.__name__}", where)
    require_importable(document["semver"], where=where)
    provenance = {str(k): str(v) for k, v in document["provenance"].items()}
    given = Imported(
        document["id"],
        document["version"],
        document["semver"],
        parse_rfc3339(document["published_at"], where=where),
        whole=True,
    )
    proposal = Proposal(
        document["subject"],
        document["schema"],
        document["schemaType"],
        tuple(document["references"]),
        Contract.of(document["metadata"], document["ruleSet"]),
        provenance=provenance,
        imported=given,
    )
    return proposal, document["deleted"]


def _set(session: Session, document: Mapping[str, Any], where: str) -> None:
    for key, value in document.items():
        if not isinstance(value, str | None) or (value is None and key == "subject"):
            raise _wrong(f"{key} is no text", where)
    settings, actor, at = session.subject_settings, session.actor, session.clock()
    settings.set_level(document["subject"], document["level"], actor=actor, at=at)
    settings.set_mode(document["subject"], document["mode"], actor=actor, at=at)


def _delete(session: Session, version: Version) -> None:
    with session.database.begin() as connection:
        session.registry.delete(connection, version.subject, version.number, at=session.clock())


def _wrong(problem: str, where: str) -> InputError:
    return InputError(problem, where=where, remedy="Use a file of `spine schema export`.")
