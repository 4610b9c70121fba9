"""One version of a subject, its number, and which versions are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from dataspine.core.errors import InputError
from dataspine.registry.contract import Contract

__all__ = ["DELETED", "Deleted", "Version", "version_number"]

# Whether versions that were deleted are left out, shown beside others, or shown alone.
Deleted = Literal["hidden", "shown", "only"]
DELETED: tuple[Deleted, ...] = get_args(Deleted)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a subject.

    ``fields`` are the facts by which it was judged; ``digest`` names the canonical text, and
    ``guid`` the whole content: the same in every registry of ours.
    """

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
    guid: str
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


def version_number(text: int | str) -> int:
    """Return the number that is written, or raise ``InputError``."""
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
