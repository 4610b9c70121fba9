"""Whether a service can decide, and which part keeps it from that."""

from __future__ import annotations

from dataspine.adapters.session import Session
from dataspine.core.errors import DataSpineError, UnavailableError

__all__ = ["require_ready"]


def require_ready(session: Session) -> None:
    """Raise ``UnavailableError`` unless the database is up and a bundle was active in OPA once.

    Its ``where`` is the part that is not ready: ``database``, ``opa`` or ``bundle``.
    """
    try:
        session.database.require_current()
    except DataSpineError as error:
        raise _of("database", error) from error
    try:
        if session.was_active():
            return
    except DataSpineError as error:
        # The first use of mode `dev` builds the bundle: what it finds wrong is not OPA's.
        raise _of("opa" if isinstance(error, UnavailableError) else "bundle", error) from error
    if session.revision is None:
        raise UnavailableError(
            f"no bundle was published to channel {session.channel}",
            where="bundle",
            remedy=f"Run `spine bundle publish --channel {session.channel}`.",
            code="bundle.none_active",
        )
    raise UnavailableError(
        "OPA answers, but has no bundle of Data Spine",
        where="bundle",
        remedy="Start it with what `spine opa config` writes; its log says what it refused.",
        code="engine.not_activated",
    )


def _of(part: str, error: DataSpineError) -> UnavailableError:
    # Anyone may ask, so the place is the part alone: no path and no address.
    told = UnavailableError(error.problem, where=part, remedy=error.remedy, code=error.code)
    told.retry = error.retry
    return told
