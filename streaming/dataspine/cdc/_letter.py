"""Dead letters as values: what a flush writes, what is listed, and their rows in SQL."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from dataspine.core.clock import rfc3339

__all__ = [
    "LETTER",
    "WHOLE",
    "WHOLE_TABLE",
    "Key",
    "Letter",
    "Parked",
    "Position",
    "Tombstone",
    "Version",
    "letter_of",
    "state_of",
]

Key = tuple[str, ...]
Position = tuple[int, int]

WHOLE_TABLE = ""
LETTER = (
    "id, route, source, sink, tbl, lsn, seq, home, codes, decision_id, state, attempt, parked_at,"
    " detail"
)
WHOLE = f"{LETTER}, superseded_by IS NOT NULL, (SELECT p.payload FROM payload p WHERE p.id = d.id)"  # noqa: S608 - constants
_COLUMNS = LETTER.count(",") + 1


class Parked(NamedTuple):
    """A row to park; ``payload`` is JSON text, ``parked_at`` seconds since the epoch.

    Without a payload it is not parked but superseded: its own flush has a newer version. ``detail``
    says what the codes leave open, such as the column, and never a value.
    """

    source: str
    sink: str
    table: str
    key_hash: str
    lsn: int
    seq: int
    home: str | None
    codes: str
    decision_id: str
    payload: str
    flush: str
    parked_at: int
    detail: str = ""


class Tombstone(NamedTuple):
    """A key that went away; ``key_hash`` is ``WHOLE_TABLE`` for all of them."""

    sink: str
    table: str
    key_hash: str
    lsn: int
    seq: int
    flush: str
    buried_at: int


class Version(NamedTuple):
    """The newest version of a key that the store knows; ``payload`` only while it is parked."""

    position: Position
    is_pending: bool
    payload: dict[str, str | None] | None


@dataclass(frozen=True, slots=True)
class Letter:
    """A parked row as it is listed; ``payload`` is set by ``show`` and by replay alone.

    ``is_superseded`` is true while a flush that has a newer version is not settled.
    """

    id: int
    route: str
    source: str
    sink: str
    table: str
    lsn: int
    seq: int
    home: str | None
    codes: tuple[str, ...]
    decision_id: str
    state: str
    attempt: int
    parked_at: int
    detail: str = ""
    is_superseded: bool = False
    payload: str = ""

    def document(self) -> dict[str, object]:
        """Return it as JSON, without the payload."""
        return {
            "id": self.id,
            "route": self.route,
            "source": self.source,
            "sink": self.sink,
            "table": self.table,
            "lsn": self.lsn,
            "seq": self.seq,
            "home": self.home,
            "codes": list(self.codes),
            "decision_id": self.decision_id,
            "state": self.state,
            "attempt": self.attempt,
            "parked_at": rfc3339(datetime.fromtimestamp(self.parked_at, UTC)),
            "detail": self.detail,
        }


def letter_of(row: tuple[object, ...]) -> Letter:
    """Build a letter from a row of ``LETTER`` or ``WHOLE``."""
    number, route, source, sink, table, lsn, seq, home, codes, decision, state, attempt, at = row[
        : _COLUMNS - 1
    ]
    is_superseded, payload = row[_COLUMNS:] if len(row) > _COLUMNS else (0, None)
    text = bytes(payload).decode() if isinstance(payload, bytes) else ""
    return Letter(
        int(str(number)),
        str(route),
        str(source),
        str(sink),
        str(table),
        int(str(lsn)),
        int(str(seq)),
        None if home is None else str(home),
        tuple(json.loads(str(codes))),
        str(decision),
        str(state),
        int(str(attempt)),
        int(str(at)),
        str(row[_COLUMNS - 1]),
        bool(is_superseded),
        text if state == "parked" else "",
    )


def state_of(row: Parked) -> str:
    """Return the state that a row has from its flush on."""
    return "parked" if row.payload else "superseded"
