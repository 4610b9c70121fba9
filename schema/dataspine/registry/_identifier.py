"""The id of a schema: the same content has the same one for ever, under any subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dataspine.core.canonical import digest
from dataspine.core.statement import continue_after, upsert
from dataspine.registry._refusal import taken
from dataspine.registry._tables import schemas
from dataspine.registry.contract import Contract
from dataspine.registry.schema import ParsedSchema

__all__ = ["KNOWN_ID", "identify"]

_ID_OF_IDENTITY = sa.select(schemas.c.id).where(schemas.c.identity == sa.bindparam("identity"))
KNOWN_ID = sa.select(schemas.c.id).where(schemas.c.id == sa.bindparam("id"))


def identify(
    connection: sa.Connection,
    parsed: ParsedSchema,
    references: Sequence[Mapping[str, Any]],
    contract: Contract,
    wanted: int | None,
) -> int:
    """Return the id of this content, a new one when there is none.

    ``wanted`` is the id that another registry gave it; ``ConflictError`` when one of the two is
    taken here.
    """
    told: list[Any] = [parsed.type, parsed.digest, references, dict(contract.properties)]
    if contract.tags or contract.sensitive or contract.rule_set:
        told.append(contract.document())
    identity = digest(told)
    known = connection.scalar(_ID_OF_IDENTITY, {"identity": identity})
    if known is not None:
        if wanted not in (None, known):
            raise taken(f"this content has the id {known}, and {wanted}")
        return int(known)
    if wanted is not None and connection.scalar(KNOWN_ID, {"id": wanted}) is not None:
        raise taken(f"id {wanted}")
    row: dict[str, Any] = {"type": parsed.type, "digest": parsed.digest, "text": parsed.text}
    row["identity"] = identity
    if wanted is not None:
        row["id"] = wanted
    upsert(connection, schemas, row, key=("identity",))
    if wanted is not None:
        continue_after(connection, schemas, "id")
    # Ours, or that of who gave one to the same content of another subject meanwhile.
    return int(connection.execute(_ID_OF_IDENTITY, {"identity": identity}).scalar_one())
