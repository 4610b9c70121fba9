"""Which fields left their oneof, or joined one with others, between two versions of a message."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

__all__ = ["JOINED", "LEFT", "moves"]

LEFT = "left"
JOINED = "joined"

Oneofs = Mapping[str, Sequence[int]]


def moves(
    old: Oneofs, new: Oneofs, before: Collection[int], after: Collection[int]
) -> dict[int, str]:
    """Return the numbers that break a reader of ``new``, and whether they left or joined.

    ``old`` and ``new`` are the numbers in each oneof, ``before`` and ``after`` all of the message.
    A field may leave a oneof only with all the others; a oneof may get at most one of the fields
    that could be set together before. Names of oneofs are not on the wire: one that goes on under
    another name is the same.
    """
    found: dict[int, str] = {}
    for name, members in old.items():
        heir = _heir(name, members, new)
        inherited = frozenset(new[heir]) if heir is not None else frozenset(members)
        for number in members:
            if number not in inherited and (heir == name or number not in after):
                found[number] = LEFT
    homes = {number: name for name, members in old.items() for number in members}
    for name, members in new.items():
        # What stood in no oneof was a choice of its own.
        origins = {number: homes.get(number, number) for number in members if number in before}
        if len(set(origins.values())) > 1:
            stays = _largest(name, origins)
            found.update({n: JOINED for n, origin in origins.items() if origin != stays})
    return found


def _heir(name: str, members: Sequence[int], new: Oneofs) -> str | None:
    """Return the oneof that goes on with another's fields, or at least with its name."""
    ranked = {
        other: (len({*members} & {*numbers}), other == name) for other, numbers in new.items()
    }
    best = max(ranked, key=ranked.__getitem__, default=None)
    return best if best is not None and ranked[best] > (0, False) else None


def _largest(name: str, origins: Mapping[int, str | int]) -> str | None:
    """Return the oneof that others joined; None when all its fields stood alone."""
    counted: dict[str, int] = {}
    for origin in origins.values():
        if isinstance(origin, str):
            counted[origin] = counted.get(origin, 0) + 1
    return max(counted, key=lambda origin: (counted[origin], origin == name), default=None)
