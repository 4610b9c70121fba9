"""Lineage: events written with the fact they report, delivered later, kept and walked here."""

from dataspine.lineage.delivery import Delivery
from dataspine.lineage.outbox import Counts, Outbox
from dataspine.lineage.store import LineageStore
from dataspine.lineage.validate import validate

__all__ = ["Counts", "Delivery", "LineageStore", "Outbox", "validate"]
