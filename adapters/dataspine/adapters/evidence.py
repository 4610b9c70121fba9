"""Evidence packs of a workspace: what was decided and what moved in a period."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from dataspine.adapters.policy import dev_key, trust_of
from dataspine.adapters.session import Session
from dataspine.core.clock import parse_rfc3339
from dataspine.core.workspace import Workspace
from dataspine.decisions.journal import Search
from dataspine.evidence import Period, Report, build, verify

__all__ = ["build_pack", "verify_pack"]

PAGE = 1_000


def build_pack(session: Session, out: Path, *, since: datetime, until: datetime) -> Path:
    """Build and sign a pack of the period with this clone's key."""
    return build(
        out,
        workspace=session.workspace.name,
        period=Period(since, until),
        sources=_Sources(session),
        key=dev_key(session.workspace),
        clock=session.clock,
    )


def verify_pack(workspace: Workspace, folder: Path) -> Report:
    """Check a pack against the keys that the workspace trusts; nothing needs to run."""
    return verify(folder, trust_of(workspace))


class _Sources:
    """The workspace's journal, outbox and bundles."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def decisions(self, period: Period) -> Iterable[Mapping[str, Any]]:
        pages = list(self._pages(period))
        return (entry for page in reversed(pages) for entry in reversed(page))

    def lineage(self, period: Period) -> Iterable[Mapping[str, Any]]:
        return (
            event
            for event in self._session.outbox.events()
            if period.since <= parse_rfc3339(event["eventTime"]) < period.until
        )

    def bundle(self, revision: str, sequence: int) -> bytes | None:
        return self._session.bundles.find(revision, sequence)

    def _pages(self, period: Period) -> Iterator[list[dict[str, Any]]]:
        before: int | None = None
        while True:
            search = Search(since=period.since, until=period.until, before=before)
            page = self._session.journal.list(search, limit=PAGE)
            if not page:
                return
            yield [entry.document() for entry in page]
            before = page[-1].number
