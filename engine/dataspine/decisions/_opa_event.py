"""An event of OPA's decision log: the few values that are read of it, and its items when a batch.

The rest is passed over, and becomes no object of Python's: of what a sender chooses, only what has
the shape that is looked for is built, and no more of it than the caller takes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

__all__ = ["NOTHING", "Answer", "Event", "Several", "batch", "item_of", "raw_list", "word"]

NOTHING = msgspec.Raw(b"null")
# In the questions of a batch, of which each has some.
_MAX_COMMAS = 500_000


class Event(msgspec.Struct, frozen=True):
    """What is read; ``erased`` and ``masked`` are the paths of what OPA took out of the event."""

    decision_id: msgspec.Raw = NOTHING
    timestamp: msgspec.Raw = NOTHING
    path: msgspec.Raw = NOTHING
    bundles: msgspec.Raw = NOTHING
    input: msgspec.Raw = NOTHING
    result: msgspec.Raw = NOTHING
    erased: msgspec.Raw = NOTHING
    masked: msgspec.Raw = NOTHING


class Answer(msgspec.Struct, frozen=True):
    """What is read of an answer."""

    allow: msgspec.Raw = NOTHING
    violations: msgspec.Raw = NOTHING


T = TypeVar("T", bound=msgspec.Struct)


class _Left(threading.local):
    number = 0


class Several(Generic[T]):
    """Reads an array of one shape, and builds at most as many of it as the caller takes.

    Raises ``msgspec.ValidationError`` for another value, and where there are more.
    """

    def __init__(self, shape: type[T]) -> None:
        left = _Left()

        def count(_: object) -> None:
            left.number -= 1
            if left.number < 0:
                raise ValueError("more than are taken")

        counted = type(f"Counted{shape.__name__}", (shape,), {"__post_init__": count}, frozen=True)
        self._left = left
        self._plain: Callable[[Any], list[T]] = msgspec.json.Decoder(list[shape]).decode  # type: ignore[valid-type] # a type of this moment
        self._counted: Callable[[Any], list[T]] = msgspec.json.Decoder(list[counted]).decode  # type: ignore[valid-type] # the same

    def __call__(self, raw: bytes | bytearray, most: int) -> list[T]:
        # To count costs more than to read; there are no more objects than there are braces.
        if raw.count(b"{") <= most:
            return self._plain(raw)
        self._left.number = most
        return self._counted(raw)


# A JSON array as its members, unread; raises ``msgspec.ValidationError`` for another value.
raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode


def word(raw: msgspec.Raw) -> str | None:
    """Return a text; None for any other value."""
    try:
        return _text(raw)
    except msgspec.ValidationError:
        return None


def batch(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """Return the members of an array; none of anything else, or of one that may have too many."""
    text = memoryview(raw).tobytes()
    # Most are objects: they are not parsed in vain.
    return raw_list(raw) if text[:1] == b"[" and text.count(b",") <= _MAX_COMMAS else []


def item_of(event: Mapping[str, Any], item: int) -> dict[str, Any]:
    """Return one decision of a batch, as an event of its own."""
    asked = event.get("input")
    decision_id = f"{event['decision_id']}#{item}"
    found = {**event, "decision_id": decision_id, "result": event["result"][item]}
    if isinstance(asked, list) and len(asked) > item:
        found["input"] = asked[item]
    return found
