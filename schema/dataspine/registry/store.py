"""Subjects and their versions, kept in ``spine.db``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from dataspine.core.clock import rfc3339
from dataspine.core.database import Database
from dataspine.core.errors import NotFoundError
from dataspine.core.lru import Lru
from dataspine.registry._deletion import delete
from dataspine.registry._identifier import KNOWN_ID, MAX_ID, Chosen, identify, require_near
from dataspine.registry._query import (
    KEPT,
    OF_SUBJECT,
    ONE,
    referring,
    select_versions,
    shown,
    version_of,
)
from dataspine.registry._refusal import out_of_numbers, taken, unknown_schema, unknown_subject
from dataspine.registry._tables import schema_references, schema_removals, schema_versions, schemas
from dataspine.registry.contract import Contract
from dataspine.registry.schema import ParsedSchema, reference_key
from dataspine.registry.settings import SubjectSettings
from dataspine.registry.subject import LAST_SUBJECT, check_new_subject, check_subject
from dataspine.registry.version import Deleted, Version, version_number

__all__ = ["Registry"]

# The subjects whose latest version is kept, and the characters of all of these.
KNOWN, KNOWN_WEIGHT = 1_000, 16 * 1_048_576

# What tells a newest version from any other, and the version.
_Latest = tuple[tuple[Any, ...], Version]


def _weigh(latest: _Latest) -> int:
    # A field's facts take some 200 characters.
    return len(latest[1].text) + 200 * len(latest[1].fields)


class Registry:
    """The versions of every subject. Ids are stable: the same content has the same id for ever."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._latest: Lru[str, _Latest] = Lru(KNOWN, weight=KNOWN_WEIGHT, weigh=_weigh)

    @staticmethod
    def check_subject(subject: str) -> None:
        """Raise ``InputError`` unless the name can be a subject."""
        check_subject(subject)

    def check_new_subject(self, subject: str) -> None:
        """Raise ``InputError`` for a name that no new subject may have."""
        with self._database.read() as connection:
            is_known = connection.scalar(_LAST_NUMBER, {"subject": subject}) is not None
        if not is_known:
            check_new_subject(subject)

    def subjects(
        self,
        prefix: str = "",
        *,
        deleted: Deleted = "hidden",
        limit: int | None = None,
        offset: int = 0,
    ) -> list[str]:
        """Return the subjects that begin with ``prefix``, sorted.

        Deleted is a subject whose every version is.
        """
        query = (
            sa.select(schema_versions.c.subject)
            # A range of an index, where LIKE is none, and knows no case of letters.
            .where(schema_versions.c.subject.between(prefix, prefix + LAST_SUBJECT))
            .group_by(schema_versions.c.subject)
            .order_by(schema_versions.c.subject)
            .limit(limit)
            .offset(offset)
        )
        kept = sa.func.count() > sa.func.count(schema_versions.c.deleted_at)
        if deleted != "shown":
            query = query.having(kept if deleted == "hidden" else ~kept)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def versions(self, subject: str, *, deleted: Deleted = "hidden") -> list[Version]:
        """Return a subject's versions, oldest first; raise ``NotFoundError`` when it has none."""
        query = (
            select_versions().where(OF_SUBJECT, *shown(deleted)).order_by(schema_versions.c.number)
        )
        with self._database.read() as connection:
            rows = connection.execute(query, {"subject": subject}).mappings()
            found = [version_of(row) for row in rows]
        if not found:
            raise unknown_subject(subject)
        return found

    def pages(self, subjects: Sequence[str], *, latest_only: bool = True) -> list[Version]:
        """Return the latest version of each subject, or all of them, by subject and number."""
        columns = (schema_versions.c.subject, schema_versions.c.number)
        chosen = select_versions().where(columns[0].in_(subjects), KEPT)
        if latest_only:
            newest = sa.select(columns[0], sa.func.max(columns[1]))
            newest = newest.where(columns[0].in_(subjects), KEPT).group_by(columns[0])
            chosen = chosen.where(sa.tuple_(*columns).in_(newest))
        with self._database.read() as connection:
            return [
                version_of(row) for row in connection.execute(chosen.order_by(*columns)).mappings()
            ]

    def version(self, subject: str, number: int | str, *, deleted: Deleted = "hidden") -> Version:
        """Return a version by its number or ``latest``; raise ``NotFoundError`` when unknown."""
        if number == "latest" and deleted == "hidden":
            latest = self.latest(subject)
            if latest is None:
                raise unknown_subject(subject)
            return latest
        query = select_versions().where(OF_SUBJECT, *shown(deleted))
        if number != "latest":
            query = query.where(schema_versions.c.number == version_number(number))
        newest = query.order_by(schema_versions.c.number.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(newest, {"subject": subject}).mappings().one_or_none()
        if row is not None:
            return version_of(row)
        numbers = [each.number for each in self.versions(subject, deleted=deleted)]
        raise NotFoundError(
            f"there is no version {number}",
            where=subject,
            remedy=f"Use {numbers[0]} to {numbers[-1]}, or latest.",
            code="registry.unknown_version",
        )

    def stored(self, subject: str, number: int) -> Version | None:
        """Return a version, deleted or not, or None."""
        with self._database.read() as connection:
            found = connection.execute(ONE, {"subject": subject, "number": number})
            row = found.mappings().one_or_none()
        return version_of(row) if row is not None else None

    def every(self) -> Iterator[Version]:
        """Yield all versions, deleted ones too, each after those that it refers to."""
        order = (schema_versions.c.published_at, schemas.c.id, schema_versions.c.subject)
        query = select_versions().order_by(*order, schema_versions.c.number)
        with self._database.read() as connection:
            rows = connection.execution_options(yield_per=500).execute(query).mappings()
            yield from map(version_of, rows)

    def latest(self, subject: str, connection: sa.Connection | None = None) -> Version | None:
        """Return the newest version or None, in the transaction of ``connection`` when given."""
        if connection is None:
            with self._database.read() as own:
                return self._newest(own, subject, is_committed=True)
        return self._newest(connection, subject, is_committed=False)

    def latest_with_level(
        self, subject: str, settings: SubjectSettings
    ) -> tuple[Version | None, str]:
        """Return the newest version or None, and the subject's level, both of one moment."""
        with self._database.read() as own:
            return self._newest(own, subject, is_committed=True), settings.level(subject, own)

    def _newest(
        self, connection: sa.Connection, subject: str, *, is_committed: bool
    ) -> Version | None:
        found = connection.execute(_HEAD, {"subject": subject}).one_or_none()
        if found is None:
            return None
        head = tuple(found)
        known = self._latest.get(subject)
        if known is not None and known[0] == head:
            return known[1]
        newest = version_of(connection.execute(_NEWEST, {"subject": subject}).mappings().one())
        # A committed version never changes; what an open transaction wrote is not kept.
        if is_committed:
            self._latest.put(subject, (head, newest))
        return newest

    def by_id(self, identifier: int, subject: str | None = None) -> Version:
        """Return the first version that has this schema id, or raise ``NotFoundError``.

        A deleted version counts, because data written with it are still read. With a ``subject``,
        its version is returned when it has one.
        """
        query = select_versions().where(schemas.c.id == identifier)
        order: list[sa.ColumnElement[Any]] = [
            schema_versions.c.subject != (subject or ""),
            schema_versions.c.published_at,
            schema_versions.c.subject,
        ]
        with self._database.read() as connection:
            row = connection.execute(query.order_by(*order).limit(1)).mappings().one_or_none()
        if row is None:
            raise unknown_schema(identifier)
        return version_of(row)

    def by_guid(self, guid: str) -> Version:
        """Return the first version that has this guid, or raise ``NotFoundError``."""
        try:
            start = f"sha256:{UUID(guid).hex}"
        except ValueError:
            raise unknown_schema(guid[:40]) from None
        of_guid = schemas.c.identity.between(start, f"{start}g")  # no hex digit follows f
        with self._database.read() as connection:
            found = connection.scalar(sa.select(schemas.c.id).where(of_guid))
        if found is None:
            raise unknown_schema(guid)
        return self.by_id(found)

    def uses(self, identifier: int, *, deleted: Deleted = "hidden") -> list[tuple[str, int]]:
        """Return the subjects and numbers of the versions that have this schema id."""
        columns = (schema_versions.c.subject, schema_versions.c.number)
        query = sa.select(*columns).where(
            schema_versions.c.schema_id == identifier, *shown(deleted)
        )
        with self._database.read() as connection:
            found = [tuple(row) for row in connection.execute(query.order_by(*columns))]
            known = found or connection.scalar(KNOWN_ID, {"id": identifier})
        if not known:
            raise unknown_schema(identifier)
        return found

    def greatest_id(self) -> int:
        """Return the greatest schema id that was given, 0 when there is none."""
        with self._database.read() as connection:
            return int(connection.scalar(sa.select(sa.func.max(schemas.c.id))) or 0)

    def removed(self, after: int) -> tuple[int, list[int]]:
        """Return the ids of schemas of which versions were removed since ``after``, and the next.

        The first call is with -1, and returns no ids.
        """
        columns = schema_removals.c
        with self._database.read() as connection:
            if after < 0:
                return int(connection.scalar(sa.select(sa.func.max(columns.id))) or 0), []
            rows = connection.execute(_REMOVED, {"after": after}).all()
        return max((row.id for row in rows), default=after), [row.schema_id for row in rows]

    def reference(self, subject: str, number: int) -> Version:
        """Return what a reference names: the ``lookup`` of ``parse``."""
        return self.version(subject, number, deleted="shown")

    def referenced_by(self, subject: str, number: int) -> list[Version]:
        """Return the versions, deleted ones left out, that refer to a version."""
        with self._database.read() as connection:
            return referring(connection, subject, number)

    def find(
        self,
        subject: str,
        parsed: ParsedSchema,
        *,
        references: Sequence[Mapping[str, Any]] = (),
        contract: Contract | None = None,
        deleted: Deleted = "hidden",
        latest: Version | None = None,
    ) -> Version | None:
        """Return the newest version with this content, or None; ``latest`` when it is known.

        A contract counts only when one is sent: then it must be that of the version, where an
        owner that was not sent may have been added.
        """
        wanted = reference_key(references)

        def is_same(version: Version) -> bool:
            return (
                (version.digest, version.type) == (parsed.digest, parsed.type)
                and [dict(r) for r in version.references] == wanted
                and (not contract or _same(version.contract, contract))
            )

        # Mostly it is the latest one, which is known.
        newest = latest or self.latest(subject)
        if newest is not None and is_same(newest):
            return newest
        if newest is None and deleted == "hidden":
            return None
        query = select_versions().where(
            OF_SUBJECT,
            schemas.c.digest == parsed.digest,
            schemas.c.type == parsed.type,
            *shown(deleted),
        )
        newest_first = query.order_by(schema_versions.c.number.desc())
        with self._database.read() as connection:
            rows = connection.execute(newest_first, {"subject": subject}).mappings()
            return next(filter(is_same, map(version_of, rows)), None)

    def add(  # noqa: PLR0913 - one argument per stored fact
        self,
        connection: sa.Connection,
        subject: str,
        parsed: ParsedSchema,
        *,
        semver: str,
        owner: str | None,
        contract: Contract,
        references: Sequence[Mapping[str, Any]],
        provenance: Mapping[str, str],
        decision_id: str | None,
        published_at: datetime,
        at: Chosen | None = None,
    ) -> Version:
        """Store the next version in the caller's transaction, and return it.

        The id is that of the same content (text, references, contract) under any subject. ``at``
        is what another registry gave the version: ``InputError`` when no import may choose that,
        ``ConflictError`` when it means something else here.
        """
        check_subject(subject)
        wanted = reference_key(references)
        number = _number(connection, subject, at)
        if connection.execute(_TAKEN, {"subject": subject, "number": number}).first():
            raise taken(f"version {number} of {subject}")
        identifier = identify(connection, parsed, wanted, contract, at)
        row = {
            "subject": subject,
            "number": number,
            "schema_id": identifier,
            "semver": semver,
            "owner": owner,
            "metadata": dict(contract.properties),
            "tags": {path: list(names) for path, names in contract.tags.items()} or None,
            "sensitive": list(contract.sensitive) or None,
            "rule_set": dict(contract.rule_set) if contract.rule_set else None,
            "references": wanted,
            "fields": [field.facts() for field in parsed.fields],
            "provenance": dict(provenance),
            "decision_id": decision_id,
            "published_at": rfc3339(published_at),
        }
        connection.execute(_INSERT_VERSION, row)
        if wanted:
            own = {"subject": subject, "number": number}
            named = {(each["subject"], each["version"]) for each in wanted}
            connection.execute(
                sa.insert(schema_references),
                [{**own, "to_subject": other, "to_number": of} for other, of in sorted(named)],
            )
        stored = connection.execute(ONE, {"subject": subject, "number": number})
        return version_of(stored.mappings().one())

    def delete(
        self,
        connection: sa.Connection,
        subject: str,
        number: int | None = None,
        *,
        permanent: bool = False,
        at: datetime,
    ) -> list[int]:
        """Delete one version, or all of a subject; return the numbers of what was deleted.

        What is deleted is hidden and can still be read by its id; ``permanent`` removes what was
        deleted before. Raises ``NotFoundError`` for what is not there, and ``ConflictError`` with
        code ``registry.referenced``, ``registry.deleted`` or ``registry.not_deleted``.
        """
        return delete(connection, subject, number, permanent=permanent, at=at)


# Made once: to build a statement takes longer than to run it.
_INSERT_VERSION = sa.insert(schema_versions)
_REMOVED = sa.select(schema_removals).where(schema_removals.c.id > sa.bindparam("after"))
_LAST_NUMBER = sa.select(sa.func.max(schema_versions.c.number)).where(OF_SUBJECT)
_TAKEN = sa.select(schema_versions.c.number).where(
    OF_SUBJECT, schema_versions.c.number == sa.bindparam("number")
)
_NEWEST = (
    select_versions().where(OF_SUBJECT, KEPT).order_by(schema_versions.c.number.desc()).limit(1)
)
_HEAD = (
    sa.select(
        schema_versions.c.number,
        schema_versions.c.schema_id,
        schema_versions.c.published_at,
    )
    .where(OF_SUBJECT, KEPT)
    .order_by(schema_versions.c.number.desc())
    .limit(1)
)


def _same(stored: Contract, sent: Contract) -> bool:
    given = {k: v for k, v in stored.properties.items() if k != "owner" or k in sent.properties}
    return replace(stored, properties=given) == sent


def _number(connection: sa.Connection, subject: str, chosen: Chosen | None) -> int:
    """Return the number that was chosen, or the next one."""
    last = int(connection.scalar(_LAST_NUMBER, {"subject": subject}) or 0)
    if chosen is not None:
        require_near("the version", chosen.number, last, whole=chosen.whole)
        return chosen.number
    if last >= MAX_ID:
        raise out_of_numbers("version numbers")
    return last + 1
