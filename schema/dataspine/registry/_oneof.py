"""Which fields broke their oneof between two versions of a message.

Names of oneofs are not on the wire: one that goes on under another name is the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

__all__ = ["joined", "lost"]

Oneofs = Mapping[str, Sequence[int]]


def lost(old: Oneofs, new: Oneofs, after: Collection[int]) -> frozenset[int]:
    """Return the numbers that are gone from a oneof of which something stays.

    ``old`` and ``new`` are the numbers in each oneof, ``after`` all of the new message.
    """
    found: set[int] = set()
    for name, members in old.items():
        gone = [number for number in members if number not in after]
        if name in new or len(gone) < len(members):
            found.update(gone)
    return frozenset(found)


def joined(old: Oneofs, new: Oneofs, before: Collection[int]) -> frozenset[int]:
    """Return the numbers in a oneof with others that could be set beside them before.

    ``old`` and ``new`` are the numbers in each oneof, ``before`` all of the old message.
    """
    homes = {number: name for name, members in old.items() for number in members}
    found: set[int] = set()
    for name, members in new.items():
        # What stood in no oneof was a choice of its own.
        origins = {number: homes.get(number, number) for number in members if number in before}
        if len(set(origins.values())) > 1:
            stays = _largest(name, origins)
            found.update(number for number, origin in origins.items() if origin != stays)
    return frozenset(found)


def _largest(name: str, origins: Mapping[int, str | int]) -> str | None:
    """Return the oneof that others joined; None when all its fields stood alone."""
    counted: dict[str, int] = {}
    for origin in origins.values():
        if isinstance(origin, str):
            counted[origin] = counted.get(origin, 0) + 1
    return max(counted, key=lambda origin: (counted[origin], origin == name), default=None)
