"""Evidence packs: what was decided in a period, signed, verifiable by a stranger and offline."""

from dataspine.evidence.pack import Period, Sources, build
from dataspine.evidence.verification import Report, verify

__all__ = ["Period", "Report", "Sources", "build", "verify"]
