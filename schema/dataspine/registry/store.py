"""Subjects and their versions, kept in ``spine.db``."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dataspine.core.canonical import digest
from dataspine.core.clock import rfc3339
from dataspine.core.database import Database
from dataspine.core.errors import InputError, NotFoundError
from dataspine.registry._tables import schema_versions, schemas
from dataspine.registry.schema import ParsedSchema, reference_key

__all__ = ["Registry", "Version"]

MAX_SUBJECT = 255
MAX_KNOWN = 1_000  # subjects whose latest version is kept
RESERVED = frozenset({"ids", "guids", "types"})  # segments of the HTTP paths beside subjects


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a subject. ``fields`` are facts; ``digest`` names the canonical text."""

    id: int
    subject: str
    number: int
    semver: str
    type: str
    text: str
    digest: str
    references: tuple[Mapping[str, Any], ...]
    owner: str | None
    metadata: Mapping[str, str]
    fields: tuple[Mapping[str, Any], ...]
    provenance: Mapping[str, str]
    decision_id: str | None
    published_at: str

    def document(self) -> dict[str, Any]:
        """Return the version as it travels: stock clients' keys, and ours beside them."""
        return {
            "subject": self.subject,
            "version": self.number,
            "id": self.id,
            "schemaType": self.type,
            "schema": self.text,
            "references": [dict(reference) for reference in self.references],
            "metadata": {"properties": dict(self.metadata)},
            "semver": self.semver,
            "owner": self.owner,
            "provenance": dict(self.provenance),
            "decision_id": self.decision_id,
            "published_at": self.published_at,
        }


class Registry:
    """The versions of every subject. Ids are stable: the same content has the same id for ever."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._latest: dict[str, tuple[tuple[Any, ...], Version]] = {}

    def check_subject(self, subject: str) -> None:
        """Raise ``InputError`` unless the name can be a subject."""
        problem = None
        if not subject.strip():
            problem = "is empty"
        elif len(subject) > MAX_SUBJECT:
            problem = f"is longer than {MAX_SUBJECT} characters"
        elif subject in RESERVED:
            problem = "is reserved"
        elif any(unicodedata.category(character) in {"Cc", "Cs"} for character in subject):
            problem = "has a control character"
        if problem is not None:
            raise InputError(
                f"the subject {problem}",
                where=ascii(subject[:40]),
                remedy="Use a name like shop.customers.",
                code="registry.invalid_subject",
            )

    def subjects(self) -> list[str]:
        """Return every subject, sorted."""
        query = sa.select(schema_versions.c.subject).distinct().order_by(schema_versions.c.subject)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def versions(self, subject: str) -> list[Version]:
        """Return a subject's versions, oldest first; raise ``NotFoundError`` when it has none."""
        query = _select().where(schema_versions.c.subject == subject)
        with self._database.read() as connection:
            found = [
                _version(row)
                for row in connection.execute(query.order_by(schema_versions.c.number)).mappings()
            ]
        if not found:
            raise _unknown_subject(subject)
        return found

    def version(self, subject: str, number: int | str) -> Version:
        """Return a version by its number or ``latest``; raise ``NotFoundError`` when unknown."""
        latest = self.latest(subject)
        if latest is None:
            raise _unknown_subject(subject)
        if number in ("latest", latest.number):
            return latest
        wanted = _number(number)
        query = _select().where(
            schema_versions.c.subject == subject, schema_versions.c.number == wanted
        )
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFoundError(
                f"there is no version {wanted}",
                where=subject,
                remedy=f"Use 1 to {latest.number}, or latest.",
                code="registry.unknown_version",
            )
        return _version(row)

    def latest(self, subject: str, connection: sa.Connection | None = None) -> Version | None:
        """Return the newest version or None, in the transaction of ``connection`` when given."""
        if connection is not None:
            row = connection.execute(_NEWEST, {"subject": subject}).mappings().one_or_none()
            return _version(row) if row is not None else None
        with self._database.read() as own:
            found = own.execute(_HEAD, {"subject": subject}).one_or_none()
            if found is None:
                return None
            head = tuple(found)
            known = self._latest.get(subject)
            # A committed version never changes; what an open transaction wrote is not kept.
            if known is not None and known[0] == head:
                return known[1]
            newest = self.latest(subject, own)
        if newest is not None:
            if len(self._latest) >= MAX_KNOWN:
                self._latest.clear()
            self._latest[subject] = (head, newest)
        return newest

    def by_id(self, identifier: int) -> Version:
        """Return the first version that has this schema id, or raise ``NotFoundError``."""
        query = _select().where(schemas.c.id == identifier)
        oldest = query.order_by(schema_versions.c.published_at, schema_versions.c.subject).limit(1)
        with self._database.read() as connection:
            row = connection.execute(oldest).mappings().one_or_none()
        if row is None:
            raise NotFoundError(
                f"there is no schema {identifier}",
                remedy="List them with `spine schema subjects`.",
                code="registry.unknown_schema",
            )
        return _version(row)

    def reference(self, subject: str, number: int) -> Version:
        """Return what a reference names: the ``lookup`` of ``parse``."""
        return self.version(subject, number)

    def find(
        self,
        subject: str,
        parsed: ParsedSchema,
        *,
        references: Sequence[Mapping[str, Any]] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Version | None:
        """Return the newest version with this content, or None.

        Metadata count only when they are sent: then they must be those of the version, where an
        owner that was not sent may have been added.
        """
        wanted = reference_key(references)

        def is_same(version: Version) -> bool:
            return (
                (version.digest, version.type) == (parsed.digest, parsed.type)
                and [dict(r) for r in version.references] == wanted
                and (not metadata or _same(version.metadata, metadata))
            )

        # Mostly it is the latest one, which is known, or there is none.
        newest = self.latest(subject)
        if newest is None or is_same(newest):
            return newest
        query = _select().where(
            schema_versions.c.subject == subject,
            schemas.c.digest == parsed.digest,
            schemas.c.type == parsed.type,
        )
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(schema_versions.c.number.desc())).mappings()
            return next(filter(is_same, map(_version, rows)), None)

    def add(  # noqa: PLR0913 - one argument per stored fact
        self,
        connection: sa.Connection,
        subject: str,
        parsed: ParsedSchema,
        *,
        semver: str,
        owner: str | None,
        metadata: Mapping[str, str],
        references: Sequence[Mapping[str, Any]],
        provenance: Mapping[str, str],
        decision_id: str | None,
        published_at: datetime,
    ) -> Version:
        """Store the next version in the caller's transaction, and return it.

        The id is that of the same content (text, references, metadata) under any subject.
        """
        self.check_subject(subject)
        wanted = reference_key(references)
        identity = digest([parsed.type, parsed.digest, wanted, dict(metadata)])
        identifier = connection.execute(
            _ID_OF_IDENTITY, {"identity": identity}
        ).scalar_one_or_none()
        if identifier is None:
            content = {"type": parsed.type, "digest": parsed.digest, "text": parsed.text}
            content["identity"] = identity
            inserted = connection.execute(_INSERT_SCHEMA, content).inserted_primary_key
            identifier = inserted[0] if inserted is not None else None
        current = self.latest(subject, connection)
        number = current.number + 1 if current is not None else 1
        row = {
            "subject": subject,
            "number": number,
            "schema_id": identifier,
            "semver": semver,
            "owner": owner,
            "metadata": dict(metadata),
            "references": wanted,
            "fields": [field.facts() for field in parsed.fields],
            "provenance": dict(provenance),
            "decision_id": decision_id,
            "published_at": rfc3339(published_at),
        }
        connection.execute(_INSERT_VERSION, row)
        return _version(connection.execute(_NEWEST, {"subject": subject}).mappings().one())


def _select() -> sa.Select[Any]:
    content = (schemas.c.id, schemas.c.type, schemas.c.text, schemas.c.digest)
    return sa.select(schema_versions, *content).join(
        schemas, schemas.c.id == schema_versions.c.schema_id
    )


# Made once: to build a statement takes longer than to run it.
_INSERT_SCHEMA = sa.insert(schemas)
_INSERT_VERSION = sa.insert(schema_versions)
_ID_OF_IDENTITY = sa.select(schemas.c.id).where(schemas.c.identity == sa.bindparam("identity"))
_OF_SUBJECT = schema_versions.c.subject == sa.bindparam("subject")
_NEWEST = _select().where(_OF_SUBJECT).order_by(schema_versions.c.number.desc()).limit(1)
_HEAD = (
    sa.select(
        schema_versions.c.number,
        schema_versions.c.schema_id,
        schema_versions.c.published_at,
    )
    .where(_OF_SUBJECT)
    .order_by(schema_versions.c.number.desc())
    .limit(1)
)


def _version(row: sa.RowMapping) -> Version:
    return Version(
        row["id"],
        row["subject"],
        row["number"],
        row["semver"],
        row["type"],
        row["text"],
        row["digest"],
        tuple(row["references"]),
        row["owner"],
        row["metadata"],
        tuple(row["fields"]),
        row["provenance"],
        row["decision_id"],
        row["published_at"],
    )


def _same(stored: Mapping[str, str], sent: Mapping[str, str]) -> bool:
    return {k: v for k, v in stored.items() if k != "owner" or k in sent} == dict(sent)


def _number(text: int | str) -> int:
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    if isinstance(text, int) and 0 < text < 2**31:
        return text
    raise InputError(
        f"{str(text)[:40]!r} is no version number",
        remedy="Write 1, 2, … or latest.",
        code="registry.invalid_version",
    )


def _unknown_subject(subject: str) -> NotFoundError:
    return NotFoundError(
        "the subject is unknown",
        where=subject[:MAX_SUBJECT],
        remedy="List them with `spine schema subjects`.",
        code="registry.unknown_subject",
    )
