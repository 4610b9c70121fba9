"""Per subject and for all: the compatibility level, and the mode, which says who may write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dataspine.core.clock import rfc3339
from dataspine.core.database import Database
from dataspine.core.errors import InputError
from dataspine.core.statement import upsert
from dataspine.registry._tables import schema_settings
from dataspine.registry.compatibility import require_level

__all__ = ["ALL", "MODES", "SubjectSettings"]

ALL = ""  # the subject whose settings hold for all that have no own
MODES = ("READWRITE", "READONLY", "READONLY_OVERRIDE", "IMPORT")

_ROWS = sa.select(schema_settings.c.subject, schema_settings.c.level, schema_settings.c.mode).where(
    schema_settings.c.subject.in_([ALL, sa.bindparam("subject")])
)


@dataclass(frozen=True, slots=True)
class _Own:
    level: str | None = None
    mode: str | None = None


class SubjectSettings:
    """Levels and modes of one registry. ``default`` is the level where nothing else is said."""

    def __init__(self, database: Database, default: str) -> None:
        require_level(default)
        self._database = database
        self._default = default

    def level(self, subject: str = ALL, connection: sa.Connection | None = None) -> str:
        """Return the level that holds for a subject."""
        every, own = self._rows(subject, connection)
        return own.level or every.level or self._default

    def mode(self, subject: str = ALL, connection: sa.Connection | None = None) -> str:
        """Return the mode that holds for a subject; ``READONLY_OVERRIDE`` for all holds for all."""
        every, own = self._rows(subject, connection)
        if every.mode == "READONLY_OVERRIDE":
            return every.mode
        return own.mode or every.mode or "READWRITE"

    def own_level(self, subject: str) -> str | None:
        """Return the level that was set for this subject, None when none was."""
        return self._rows(subject, None)[1].level

    def own_mode(self, subject: str) -> str | None:
        """Return the mode that was set for this subject, None when none was."""
        return self._rows(subject, None)[1].mode

    def every(self) -> list[tuple[str, str | None, str | None]]:
        """Return (subject, level, mode) of all that have some, sorted; ``ALL`` is the first."""
        columns = schema_settings.c
        query = sa.select(columns.subject, columns.level, columns.mode).where(
            columns.level.is_not(None) | columns.mode.is_not(None)
        )
        with self._database.read() as connection:
            return [tuple(row) for row in connection.execute(query.order_by(columns.subject))]

    def set_level(self, subject: str, level: str | None, *, actor: str, at: datetime) -> None:
        """Set a level, or with None take it back; raise ``InputError`` for an unknown one."""
        if level is not None:
            require_level(level)
        self._set(subject, {"level": level}, actor, at)

    def set_mode(self, subject: str, mode: str | None, *, actor: str, at: datetime) -> None:
        """Set a mode, or with None take it back; raise ``InputError`` for an unknown one."""
        if mode is not None and mode not in MODES:
            raise InputError(
                f"{mode[:40]!r} is no mode",
                remedy=f"Use one of {', '.join(MODES)}.",
                code="registry.invalid_mode",
            )
        self._set(subject, {"mode": mode}, actor, at)

    def _set(self, subject: str, changed: Mapping[str, Any], actor: str, at: datetime) -> None:
        told = {**changed, "changed_at": rfc3339(at), "changed_by": actor}
        row = {"subject": subject, **told}
        with self._database.begin() as connection:
            upsert(connection, schema_settings, row, key=("subject",), change=told)

    def _rows(self, subject: str, connection: sa.Connection | None) -> tuple[_Own, _Own]:
        if connection is None:
            with self._database.read() as opened:
                return self._rows(subject, opened)
        rows = connection.execute(_ROWS, {"subject": subject}).all()
        found = {row.subject: _Own(row.level, row.mode) for row in rows}
        return found.get(ALL, _Own()), found.get(subject, _Own())
