"""Who a sidecar is: known by its token, or claiming a name without one."""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlalchemy as sa

from dataspine.core.clock import Clock, rfc3339
from dataspine.core.database import Database
from dataspine.core.errors import InputError, NotFoundError
from dataspine.core.statement import upsert
from dataspine.core.token import new_token, token_hash
from dataspine.decisions._tables import fleet_failures, fleet_instances, fleet_tokens

__all__ = ["Caller", "FleetTokens", "TokenError", "is_name"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_MAX_TEXT = 200
_MAX_SHOWN = 40


class TokenError(InputError):
    """A token was sent that nobody was given, or that was replaced."""

    code = "fleet.unknown_token"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls; without a token, ``name`` is only what the caller says, and may be empty."""

    name: str
    authenticated: bool


class FleetTokens:
    """The tokens of instances; of each the hash alone is kept."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def issue(self, name: str, *, actor: str) -> str:
        """Return a new token of an instance; the one that it had before ends. Kept is its hash."""
        _require_name(name)
        token = new_token()
        values = {
            "digest": token_hash(token),
            "instance": name,
            "issued_at": rfc3339(self._clock()),
            "actor": actor,
        }
        with self._database.begin() as connection:
            upsert(connection, fleet_tokens, values, key=("instance",), change=values)
        return token

    def revoke(self, name: str) -> None:
        """End an instance's token and forget the instance, or raise ``NotFoundError``."""
        with self._database.begin() as connection:
            mine = (fleet_instances.c.name == name, fleet_instances.c.authenticated)
            connection.execute(fleet_instances.delete().where(*mine))
            connection.execute(fleet_failures.delete().where(fleet_failures.c.instance == name))
            ended = connection.execute(fleet_tokens.delete().where(fleet_tokens.c.instance == name))
        if ended.rowcount != 1:
            raise NotFoundError(
                "no such instance has a token",
                where=name[:_MAX_TEXT],
                remedy="See `spine opa status`.",
            )

    def identify(self, authorization: str | None, claimed: str | None) -> Caller:
        """Return who calls, by the headers of a request; raise ``TokenError`` for a wrong token."""
        if claimed:
            _require_name(claimed)
        if not authorization:
            return Caller(claimed or "", authenticated=False)
        scheme, _, token = authorization.partition(" ")
        with self._database.read() as connection:
            name = connection.execute(
                sa.select(fleet_tokens.c.instance).where(fleet_tokens.c.digest == token_hash(token))
            ).scalar_one_or_none()
        if scheme.lower() != "bearer" or name is None:
            raise TokenError("nobody was given this token", remedy="Issue one: `spine opa token`.")
        return Caller(str(name), authenticated=True)


def is_name(text: str) -> bool:
    """Tell whether an instance can be called so."""
    return _NAME.fullmatch(text) is not None


def _require_name(name: str) -> None:
    if not is_name(name):
        raise InputError(
            f"{name[:_MAX_SHOWN]!r} cannot name an instance",
            where="instance",
            remedy="Use letters, digits, dots, dashes, underscores and colons, at most 128.",
        )
