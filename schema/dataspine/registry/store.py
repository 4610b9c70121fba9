"""Subjects and their versions, kept in ``spine.db``."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, get_args

import sqlalchemy as sa

from dataspine.core.canonical import digest
from dataspine.core.clock import rfc3339
from dataspine.core.database import Database
from dataspine.core.errors import ConflictError, InputError, NotFoundError
from dataspine.core.statement import continue_after, upsert
from dataspine.registry._tables import schema_references, schema_removals, schema_versions, schemas
from dataspine.registry.contract import Contract
from dataspine.registry.schema import ParsedSchema, reference_key

__all__ = ["DELETED", "Deleted", "Registry", "Version"]

# Whether versions that were deleted are left out, shown beside others, or shown alone.
Deleted = Literal["hidden", "shown", "only"]
DELETED: tuple[Deleted, ...] = get_args(Deleted)

# Controls, marks of direction, halves of pairs, separators of lines: two names could look the same.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
MAX_SUBJECT = 255
# After all that may follow a prefix.
_LAST = "\U0010ffff" * MAX_SUBJECT
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
    contract: Contract
    fields: tuple[Mapping[str, Any], ...]
    provenance: Mapping[str, str]
    decision_id: str | None
    published_at: str
    is_deleted: bool = False

    def document(self) -> dict[str, Any]:
        """Return the version as it travels: stock clients' keys, and ours beside them."""
        return {
            "subject": self.subject,
            "version": self.number,
            "id": self.id,
            "schemaType": self.type,
            "schema": self.text,
            "references": [dict(reference) for reference in self.references],
            "metadata": {"properties": {}},
            **self.contract.document(),
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
        elif subject in RESERVED or subject in {".", ".."}:
            problem = "is reserved"
        elif any(unicodedata.category(character) in _UNSEEN for character in subject):
            problem = "has a control character or one that nobody sees"
        if problem is not None:
            raise InputError(
                f"the subject {problem}",
                where=ascii(subject[:40]),
                remedy="Use a name like shop.customers.",
                code="registry.invalid_subject",
            )

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
            .where(schema_versions.c.subject.between(prefix, prefix + _LAST))
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
        query = _select().where(_OF_SUBJECT, *_shown(deleted)).order_by(schema_versions.c.number)
        with self._database.read() as connection:
            rows = connection.execute(query, {"subject": subject}).mappings()
            found = [_version(row) for row in rows]
        if not found:
            raise _unknown_subject(subject)
        return found

    def pages(self, subjects: Sequence[str], *, latest_only: bool = True) -> list[Version]:
        """Return the latest version of each subject, or all of them, by subject and number."""
        columns = (schema_versions.c.subject, schema_versions.c.number)
        chosen = _select().where(columns[0].in_(subjects), _KEPT)
        if latest_only:
            newest = sa.select(columns[0], sa.func.max(columns[1]))
            newest = newest.where(columns[0].in_(subjects), _KEPT).group_by(columns[0])
            chosen = chosen.where(sa.tuple_(*columns).in_(newest))
        with self._database.read() as connection:
            return [
                _version(row) for row in connection.execute(chosen.order_by(*columns)).mappings()
            ]

    def version(self, subject: str, number: int | str, *, deleted: Deleted = "hidden") -> Version:
        """Return a version by its number or ``latest``; raise ``NotFoundError`` when unknown."""
        if number == "latest" and deleted == "hidden":
            latest = self.latest(subject)
            if latest is None:
                raise _unknown_subject(subject)
            return latest
        query = _select().where(_OF_SUBJECT, *_shown(deleted))
        if number != "latest":
            query = query.where(schema_versions.c.number == _number(number))
        newest = query.order_by(schema_versions.c.number.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(newest, {"subject": subject}).mappings().one_or_none()
        if row is not None:
            return _version(row)
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
            found = connection.execute(_ONE, {"subject": subject, "number": number})
            row = found.mappings().one_or_none()
        return _version(row) if row is not None else None

    def every(self) -> Iterator[Version]:
        """Yield all versions, deleted ones too, each after those that it refers to."""
        order = (schema_versions.c.published_at, schemas.c.id, schema_versions.c.subject)
        query = _select().order_by(*order, schema_versions.c.number)
        with self._database.read() as connection:
            rows = connection.execution_options(yield_per=500).execute(query).mappings()
            yield from map(_version, rows)

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

    def by_id(self, identifier: int, subject: str | None = None) -> Version:
        """Return the first version that has this schema id, or raise ``NotFoundError``.

        A deleted version counts, because data written with it are still read. With a ``subject``,
        its version is returned when it has one.
        """
        query = _select().where(schemas.c.id == identifier)
        order: list[sa.ColumnElement[Any]] = [
            schema_versions.c.subject != (subject or ""),
            schema_versions.c.published_at,
            schema_versions.c.subject,
        ]
        with self._database.read() as connection:
            row = connection.execute(query.order_by(*order).limit(1)).mappings().one_or_none()
        if row is None:
            raise _unknown_schema(identifier)
        return _version(row)

    def uses(self, identifier: int, *, deleted: Deleted = "hidden") -> list[tuple[str, int]]:
        """Return the subjects and numbers of the versions that have this schema id."""
        columns = (schema_versions.c.subject, schema_versions.c.number)
        query = sa.select(*columns).where(
            schema_versions.c.schema_id == identifier, *_shown(deleted)
        )
        with self._database.read() as connection:
            found = [tuple(row) for row in connection.execute(query.order_by(*columns))]
            known = found or connection.scalar(_KNOWN_ID, {"id": identifier})
        if not known:
            raise _unknown_schema(identifier)
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
            return self._referring(connection, subject, number)

    def find(
        self,
        subject: str,
        parsed: ParsedSchema,
        *,
        references: Sequence[Mapping[str, Any]] = (),
        contract: Contract | None = None,
        deleted: Deleted = "hidden",
    ) -> Version | None:
        """Return the newest version with this content, or None.

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
        newest = self.latest(subject)
        if newest is not None and is_same(newest):
            return newest
        if newest is None and deleted == "hidden":
            return None
        query = _select().where(
            _OF_SUBJECT,
            schemas.c.digest == parsed.digest,
            schemas.c.type == parsed.type,
            *_shown(deleted),
        )
        newest_first = query.order_by(schema_versions.c.number.desc())
        with self._database.read() as connection:
            rows = connection.execute(newest_first, {"subject": subject}).mappings()
            return next(filter(is_same, map(_version, rows)), None)

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
        at: tuple[int, int] | None = None,
    ) -> Version:
        """Store the next version in the caller's transaction, and return it.

        The id is that of the same content (text, references, contract) under any subject. ``at``
        is (id, number) of a version that another registry gave; ``ConflictError`` when one of them
        means something else here.
        """
        self.check_subject(subject)
        wanted = reference_key(references)
        number = at[1] if at is not None else self._next_number(connection, subject)
        if connection.execute(_TAKEN, {"subject": subject, "number": number}).first():
            raise _taken(f"version {number} of {subject}")
        identifier = self._identify(
            connection, parsed, wanted, contract, at[0] if at is not None else None
        )
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
                [{**own, "to_subject": to, "to_number": at} for to, at in sorted(named)],
            )
        stored = connection.execute(_ONE, {"subject": subject, "number": number})
        return _version(stored.mappings().one())

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
        query = _select().where(_OF_SUBJECT).order_by(schema_versions.c.number)
        found = connection.execute(query, {"subject": subject}).mappings()
        every = [_version(row) for row in found]
        chosen = [each for each in every if number in (None, each.number)]
        if not every:
            raise _unknown_subject(subject)
        if not chosen:
            raise NotFoundError(
                f"there is no version {number}",
                where=subject,
                remedy="List them with `spine schema versions`.",
                code="registry.unknown_version",
            )
        if permanent:
            return self._remove(connection, chosen, number)
        chosen = [each for each in chosen if not each.is_deleted]
        if not chosen:
            raise _state("is deleted already", "registry.deleted", subject, number)
        for each in chosen:
            self._require_unreferenced(connection, each)
        numbers = [each.number for each in chosen]
        connection.execute(
            sa.update(schema_versions)
            .where(schema_versions.c.subject == subject, schema_versions.c.number.in_(numbers))
            .values(deleted_at=rfc3339(at))
        )
        return numbers

    @staticmethod
    def _remove(
        connection: sa.Connection, chosen: Sequence[Version], number: int | None
    ) -> list[int]:
        subject, numbers = chosen[0].subject, [each.number for each in chosen]
        if not all(each.is_deleted for each in chosen):
            raise _state("was not deleted before", "registry.not_deleted", subject, number)
        for table in (schema_versions, schema_references):
            connection.execute(
                sa.delete(table).where(table.c.subject == subject, table.c.number.in_(numbers))
            )
        gone = [{"schema_id": each} for each in sorted({each.id for each in chosen})]
        connection.execute(sa.insert(schema_removals), gone)
        return numbers

    def _require_unreferenced(self, connection: sa.Connection, version: Version) -> None:
        for each in self._referring(connection, version.subject, version.number):
            raise ConflictError(
                f"{each.subject} version {each.number} refers to it",
                where=f"{version.subject} version {version.number}",
                remedy="Delete what refers to it first.",
                code="registry.referenced",
            )

    @staticmethod
    def _referring(connection: sa.Connection, subject: str, number: int) -> list[Version]:
        query = _select().join(
            schema_references,
            (schema_references.c.subject == schema_versions.c.subject)
            & (schema_references.c.number == schema_versions.c.number),
        )
        query = query.where(
            schema_references.c.to_subject == subject,
            schema_references.c.to_number == number,
            *_shown("hidden"),
        ).order_by(schema_versions.c.subject, schema_versions.c.number)
        return [_version(row) for row in connection.execute(query).mappings()]

    @staticmethod
    def _next_number(connection: sa.Connection, subject: str) -> int:
        return int(connection.scalar(_LAST_NUMBER, {"subject": subject}) or 0) + 1

    @staticmethod
    def _identify(
        connection: sa.Connection,
        parsed: ParsedSchema,
        references: Sequence[Mapping[str, Any]],
        contract: Contract,
        wanted: int | None,
    ) -> int:
        """Return the id of this content, a new one when there is none."""
        told: list[Any] = [parsed.type, parsed.digest, references, dict(contract.properties)]
        if contract.tags or contract.sensitive or contract.rule_set:
            told.append(contract.document())
        identity = digest(told)
        known = connection.scalar(_ID_OF_IDENTITY, {"identity": identity})
        if known is not None:
            if wanted not in (None, known):
                raise _taken(f"this content has the id {known}, and {wanted}")
            return int(known)
        if wanted is not None and connection.scalar(_KNOWN_ID, {"id": wanted}) is not None:
            raise _taken(f"id {wanted}")
        row: dict[str, Any] = {"type": parsed.type, "digest": parsed.digest, "text": parsed.text}
        row["identity"] = identity
        if wanted is not None:
            row["id"] = wanted
        upsert(connection, schemas, row, key=("identity",))
        if wanted is not None:
            continue_after(connection, schemas, "id")
        # Ours, or that of who gave one to the same content of another subject meanwhile.
        return int(connection.execute(_ID_OF_IDENTITY, {"identity": identity}).scalar_one())


def _select() -> sa.Select[Any]:
    content = (schemas.c.id, schemas.c.type, schemas.c.text, schemas.c.digest)
    return sa.select(schema_versions, *content).join(
        schemas, schemas.c.id == schema_versions.c.schema_id
    )


# Made once: to build a statement takes longer than to run it.
_INSERT_VERSION = sa.insert(schema_versions)
_ID_OF_IDENTITY = sa.select(schemas.c.id).where(schemas.c.identity == sa.bindparam("identity"))
_OF_SUBJECT = schema_versions.c.subject == sa.bindparam("subject")
_REMOVED = sa.select(schema_removals).where(schema_removals.c.id > sa.bindparam("after"))
_KNOWN_ID = sa.select(schemas.c.id).where(schemas.c.id == sa.bindparam("id"))
_LAST_NUMBER = sa.select(sa.func.max(schema_versions.c.number)).where(_OF_SUBJECT)
_ONE = _select().where(_OF_SUBJECT, schema_versions.c.number == sa.bindparam("number"))
_TAKEN = sa.select(schema_versions.c.number).where(
    _OF_SUBJECT, schema_versions.c.number == sa.bindparam("number")
)
_KEPT = schema_versions.c.deleted_at.is_(None)
_NEWEST = _select().where(_OF_SUBJECT, _KEPT).order_by(schema_versions.c.number.desc()).limit(1)
_HEAD = (
    sa.select(
        schema_versions.c.number,
        schema_versions.c.schema_id,
        schema_versions.c.published_at,
    )
    .where(_OF_SUBJECT, _KEPT)
    .order_by(schema_versions.c.number.desc())
    .limit(1)
)


def _shown(deleted: Deleted) -> tuple[sa.ColumnElement[bool], ...]:
    return {"hidden": (_KEPT,), "shown": (), "only": (~_KEPT,)}[deleted]


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
        Contract(
            row["metadata"],
            {path: tuple(names) for path, names in (row["tags"] or {}).items()},
            tuple(row["sensitive"] or ()),
            row["rule_set"],
        ),
        tuple(row["fields"]),
        row["provenance"],
        row["decision_id"],
        row["published_at"],
        row["deleted_at"] is not None,
    )


def _same(stored: Contract, sent: Contract) -> bool:
    given = {k: v for k, v in stored.properties.items() if k != "owner" or k in sent.properties}
    return replace(stored, properties=given) == sent


def _number(text: int | str) -> int:
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10:
        text = int(text)
    if isinstance(text, int) and 0 < text < 2**31:
        return text
    raise InputError(
        f"{str(text)[:40]!r} is no version number",
        where="version",
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


def _unknown_schema(identifier: int) -> NotFoundError:
    return NotFoundError(
        f"there is no schema {identifier}",
        remedy="List them with `spine schema subjects`.",
        code="registry.unknown_schema",
    )


def _taken(what: str) -> ConflictError:
    return ConflictError(
        f"{what} is taken",
        remedy="Import into a registry that has not given it to something else.",
        code="registry.taken",
    )


def _state(problem: str, code: str, subject: str, number: int | None) -> ConflictError:
    what = "the subject" if number is None else f"version {number}"
    remedy = (
        "Delete it first, then permanently."
        if code == "registry.not_deleted"
        else "Delete it permanently, or publish it again."
    )
    return ConflictError(f"{what} {problem}", where=subject, remedy=remedy, code=code)
