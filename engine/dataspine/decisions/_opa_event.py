"""An event of OPA's decision log: the few values that are read of it, and its items when a batch.

The rest is passed over, and becomes no object of Python's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["NOTHING", "Event", "batch", "item_of", "raw_list"]

NOTHING = msgspec.Raw(b"null")


class Event(msgspec.Struct, frozen=True):
    """What is read; ``erased`` and ``masked`` are the paths of what OPA took out of the event."""

    decision_id: Any = None
    timestamp: Any = None
    path: Any = None
    bundles: msgspec.Raw = NOTHING
    input: msgspec.Raw = NOTHING
    result: msgspec.Raw = NOTHING
    erased: Any = None
    masked: Any = None


# A JSON array as its members, unread; raises ``msgspec.ValidationError`` for another value.
raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def batch(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """Return the members of an array; none of anything else."""
    # Most are objects: they are not parsed in vain.
    return raw_list(raw) if memoryview(raw).tobytes().startswith(b"[") else []


def item_of(event: Mapping[str, Any], item: int) -> dict[str, Any]:
    """Return one decision of a batch, as an event of its own."""
    asked = event.get("input")
    decision_id = f"{event['decision_id']}#{item}"
    found = {**event, "decision_id": decision_id, "result": event["result"][item]}
    if isinstance(asked, list) and len(asked) > item:
        found["input"] = asked[item]
    return found
