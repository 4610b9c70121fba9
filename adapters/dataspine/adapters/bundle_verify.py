"""Verify an archive as whoever would use it here: all of it, and that it is not outdated."""

from __future__ import annotations

from collections.abc import Sequence

from dataspine.adapters.given_bundle import verified_by
from dataspine.adapters.session import Session
from dataspine.bundles import Bundle, verify
from dataspine.core.errors import IntegrityError

__all__ = ["verified"]


def verified(
    session: Session, data: bytes, *, channel: str | None = None, keys: Sequence[str] = ()
) -> Bundle:
    """Return the bundle of an archive, or raise ``IntegrityError`` naming what is wrong.

    ``keys`` (public keys by reference) count instead of the workspace's own. A bundle is outdated
    when its channel serves a newer one in this workspace; a local build, sequence 0, never is.
    """
    if keys:
        bundle = verified_by(data, keys, session.opa_path, channel=channel)
    else:
        bundle = verify(data, session.trust, channel=channel, opa=session.opa_path)
    if bundle.sequence and session.workspace.database.exists:
        active = session.bundles.active(bundle.channel)
        if active is not None and bundle.sequence < active.sequence:
            raise IntegrityError(
                f"sequence {bundle.sequence} is older than {active.sequence}, which is active",
                where=bundle.channel,
                remedy="Use the active one; `spine bundle rollback` makes an old content newer.",
                code="bundle.older",
            )
    return bundle
