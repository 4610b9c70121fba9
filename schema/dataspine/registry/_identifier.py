"""The id of a schema: the same content has the same one for ever, under any subject.

An id is 32 bits with a sign in every message that is written with it. Numbers that another registry
gave are taken over from the lower half alone, so that no import leaves this registry without any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from dataspine.core.canonical import digest
from dataspine.core.statement import continue_after, upsert
from dataspine.registry._refusal import out_of_numbers, taken, too_high
from dataspine.registry._tables import schemas
from dataspine.registry.contract import Contract
from dataspine.registry.schema import ParsedSchema

__all__ = ["KNOWN_ID", "MAX_CHOSEN", "MAX_ID", "Chosen", "identify", "require_near"]

MAX_ID = 2**31 - 1
MAX_CHOSEN = 2**30 - 1
# How far above the greatest one a single version may lie.
MAX_LEAP = 1_000_000

_ID_OF_IDENTITY = sa.select(schemas.c.id).where(schemas.c.identity == sa.bindparam("identity"))
_GREATEST_ID = sa.select(sa.func.max(schemas.c.id))
KNOWN_ID = sa.select(schemas.c.id).where(schemas.c.id == sa.bindparam("id"))


class Chosen(NamedTuple):
    """The id and the number that another registry gave a version.

    Those of a ``whole`` registry may lie as far above as they do there.
    """

    id: int
    number: int
    whole: bool = False


def require_near(what: str, number: int, greatest: int, *, whole: bool) -> None:
    """Raise ``InputError`` for a number that no import may choose."""
    limit = MAX_CHOSEN if whole else min(MAX_CHOSEN, greatest + MAX_LEAP)
    if not 1 <= number <= limit:
        raise too_high(f"{what} {number}", limit, whole=whole)


def identify(
    connection: sa.Connection,
    parsed: ParsedSchema,
    references: Sequence[Mapping[str, Any]],
    contract: Contract,
    chosen: Chosen | None,
) -> int:
    """Return the id of this content, a new one when there is none.

    Raises ``ConflictError`` when the ``chosen`` id is taken here, or the content has another one,
    and when no id is left; ``InputError`` for an id that no import may choose.
    """
    told: list[Any] = [parsed.type, parsed.digest, references, dict(contract.properties)]
    if contract.tags or contract.sensitive or contract.rule_set:
        told.append(contract.document())
    identity = digest(told)
    wanted = chosen.id if chosen is not None else None
    known = connection.scalar(_ID_OF_IDENTITY, {"identity": identity})
    if known is not None:
        if wanted not in (None, known):
            raise taken(f"this content has the id {known}, and {wanted}")
        return int(known)
    _require_free(connection, chosen)
    row: dict[str, Any] = {"type": parsed.type, "digest": parsed.digest, "text": parsed.text}
    row["identity"] = identity
    if wanted is not None:
        row["id"] = wanted
    upsert(connection, schemas, row, key=("identity",))
    if wanted is not None:
        continue_after(connection, schemas, "id")
    # Ours, or that of who gave one to the same content of another subject meanwhile.
    identifier = int(connection.execute(_ID_OF_IDENTITY, {"identity": identity}).scalar_one())
    if identifier > MAX_ID:  # the transaction ends with this error, so nothing has it
        raise out_of_numbers("ids")
    return identifier


def _require_free(connection: sa.Connection, chosen: Chosen | None) -> None:
    greatest = int(connection.scalar(_GREATEST_ID) or 0)
    if chosen is None:
        if greatest >= MAX_ID:
            raise out_of_numbers("ids")
        return
    require_near("the id", chosen.id, greatest, whole=chosen.whole)
    if connection.scalar(KNOWN_ID, {"id": chosen.id}) is not None:
        raise taken(f"id {chosen.id}")
