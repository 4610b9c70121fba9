"""Sidecars of a workspace: their files, their tokens, and the discovery bundle that they read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from dataspine.adapters import access
from dataspine.adapters.policy import DEV, STABLE, dev_key, trust_of
from dataspine.adapters.session import Session
from dataspine.bundles import SigningKey
from dataspine.core.clock import rfc3339
from dataspine.core.errors import ConflictError, InputError, NotFoundError, of_system
from dataspine.core.files import write_new
from dataspine.core.statement import upsert
from dataspine.core.token import new_token
from dataspine.decisions._tables import discovery as table
from dataspine.decisions.sidecar import Discovery, Sidecar
from dataspine.decisions.sidecar import access as application_access

__all__ = [
    "discovery_bundle",
    "issue_token",
    "plan",
    "publish_discovery",
    "release",
    "revoke_token",
    "write_files",
    "write_secret",
]


def plan(  # noqa: PLR0913 - what a caller may choose
    session: Session,
    *,
    url: str,
    instance: str,
    labels: Mapping[str, str],
    channel: str | None = None,
    ring: str | None = None,
    authenticated: bool = True,
    folder: Path | None = None,
) -> Sidecar:
    """Return the sidecar that follows a ring, a channel, or without either the workspace's own."""
    if ring is not None and channel is not None:
        raise InputError("a ring chooses the channel", where="--channel", remedy="Name one.")
    trust = trust_of(session.workspace)
    if ring is not None:
        labels = {**labels, "ring": ring}
        wanted = {_fallback(session), *session.workspace.settings.fleet.rings.values()}
    else:
        channel = channel or _fallback(session)
        wanted = {channel}
    keys = [key for key in trust.keys if wanted & set(key.channels)]
    if not keys:
        raise NotFoundError(
            "nobody is trusted to sign for it",
            where=channel or ring or "",
            remedy="Name a key under trust in spine.yaml.",
            code="bundle.untrusted",
        )
    found = Sidecar(url, instance, keys, channel, labels, authenticated)
    if folder is None:
        return found
    return Sidecar(
        **{
            **{name: getattr(found, name) for name in Sidecar.__dataclass_fields__},
            "address": f"unix://{folder.resolve()}/opa.sock",
        }
    )


def write_files(session: Session, sidecar: Sidecar, folder: Path) -> list[str]:
    """Write a sidecar's files into a new folder and return their names; secrets are 0600.

    ``application-token`` lets its application ask it; ``instance-token`` is the sidecar's own.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        empty = not any(folder.iterdir())
    except OSError as error:
        raise of_system(error) or InputError(
            error.strerror or "no folder", where=str(folder), remedy="Name a new folder."
        ) from None
    if not empty:
        raise ConflictError("the folder is not empty", where=str(folder), remedy="Name a new one.")
    token = new_token()
    files = {
        "opa.json": json.dumps(sidecar.configuration(), indent=2),
        "access.json": json.dumps(application_access(token)),
        "application-token": token,
    }
    if sidecar.authenticated:
        files["instance-token"] = issue_token(session, sidecar.instance)
    for name, text in files.items():
        write_secret(folder / name, text)
    return sorted(files)


def issue_token(session: Session, instance: str) -> str:
    """Issue an instance's token, which ends the one before."""
    access.require_unless_local(session, access.CONFIGURE, access.EVERYTHING)
    return session.fleet.tokens.issue(instance, actor=session.actor)


def revoke_token(session: Session, instance: str) -> None:
    """End an instance's token."""
    access.require_unless_local(session, access.CONFIGURE, access.EVERYTHING)
    session.fleet.tokens.revoke(instance)


def write_secret(path: Path, text: str) -> None:
    """Write a new file, mode 0600; one that is there is never overwritten."""
    try:
        write_new(path, text.encode())
    except OSError as error:
        raise of_system(error) or InputError(
            error.strerror or "cannot be written", where=str(path), remedy="Name a new file."
        ) from None


def release(session: Session, channel: str, sequence: int, *, reason: str) -> None:
    """Offer a bundle again to the sidecars that it was held from."""
    access.require(session, access.CONFIGURE, access.channel(channel))
    session.fleet.holds.release(channel, sequence, actor=session.actor, reason=reason)


def publish_discovery(session: Session, key: SigningKey) -> str:
    """Sign and store what rings follow now, and return its digest."""
    found = _discovery(session)
    values = {
        "digest": found.digest,
        "published_at": rfc3339(session.clock()),
        "actor": session.actor,
        "bundle": found.signed(key),
    }
    with session.database.begin() as connection:
        upsert(connection, table, values, key=("digest",), change=values)
    return found.digest


def discovery_bundle(session: Session) -> tuple[str, bytes]:
    """Return ETag and bytes of the newest discovery bundle; mode ``dev`` signs it by itself."""
    if session.workspace.settings.mode == DEV:
        wanted = _discovery(session).digest
        newest = _newest(session)
        if newest is None or newest[0] != wanted:
            publish_discovery(session, dev_key(session.workspace))
    newest = _newest(session)
    if newest is None:
        raise NotFoundError(
            "no discovery bundle was published",
            where=session.workspace.name,
            remedy="Run `spine opa discovery --key FILE --key-id ID`.",
        )
    return newest[0].removeprefix("sha256:"), newest[1]


def _newest(session: Session) -> tuple[str, bytes] | None:
    with session.database.read() as connection:
        row = connection.execute(
            sa.select(table.c.digest, table.c.bundle)
            .order_by(table.c.published_at.desc(), table.c.digest)
            .limit(1)
        ).one_or_none()
    return None if row is None else (row.digest, row.bundle)


def _discovery(session: Session) -> Discovery:
    rings = session.workspace.settings.fleet.rings
    return Discovery(rings, _fallback(session), trust_of(session.workspace).keys)


def _fallback(session: Session) -> str:
    return DEV if session.workspace.settings.mode == DEV else STABLE
