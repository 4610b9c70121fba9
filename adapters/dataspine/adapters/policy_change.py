"""What a change of the policy's sources means, beside the bundle that decides elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dataspine.adapters.bundle_diff import Difference, difference
from dataspine.adapters.given_bundle import GivenBundle
from dataspine.adapters.opened_bundle import Opened
from dataspine.adapters.policy import content_of
from dataspine.adapters.policy_impact import Impact, Told, impact
from dataspine.adapters.session import Session
from dataspine.bundles import unpack
from dataspine.core.errors import UnavailableError

__all__ = ["PolicyChange", "policy_change"]


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What differs, and which decisions; ``impact`` is None where nothing was ever decided."""

    difference: Difference
    impact: Impact | None

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "difference": self.difference.document(),
            "impact": None if self.impact is None else self.impact.document(),
        }


def policy_change(
    session: Session, given: GivenBundle, *, told: Told = lambda _done, _of: None
) -> PolicyChange:
    """Compare what the workspace's sources would build with a given bundle.

    The impact is on the decisions that this workspace recorded, and on what it stores. A fresh
    clone has neither.
    """
    content = content_of(session.workspace, opa=session.opa_path)
    found = difference(unpack(given.bundle.data), content)
    try:
        _ = session.database
    except UnavailableError:
        return PolicyChange(found, None)
    base = Opened(given.bundle, given.trust.keys[0])
    candidate = Opened.unsigned(content, session.opa_path)
    return PolicyChange(found, impact(session, candidate, base, told=told))
