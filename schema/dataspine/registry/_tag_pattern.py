"""Patterns of full names, as the tags of a data contract name fields: ``**.ssn``, ``*.email``."""

from __future__ import annotations

import functools
import re
from collections import defaultdict

__all__ = ["TagPattern", "tag_pattern"]

_WILD = re.compile(r"\*\*|\*|\?")


class TagPattern:
    """``?`` is one character, ``*`` any number within a name, ``**`` any number.

    As stock clients read them: ``**.*`` is ``**``. A regular expression would try what a hostile
    pattern leaves open, again and again; this one looks at each character of a name once.
    """

    def __init__(self, text: str) -> None:
        text = text.replace("**.*", "**")
        wild = list(_WILD.finditer(text))
        self._head = text[: wild[0].start()] if wild else text
        self._tail = text[wild[-1].end() :] if wild else text
        # One bit for each place in the pattern: what may stand there, and where many may.
        self._one: dict[str, int] = defaultdict(int)
        self._within = self._any = self._character = 0
        self._end = 1
        for part in re.findall(r"\*\*|.", text, re.DOTALL):
            if part == "**":
                self._any |= self._end
            elif part == "*":
                self._within |= self._end
            elif part == "?":
                self._character |= self._end
            else:
                self._one[part] |= self._end
            self._end <<= 1

    def may_match(self, name: str) -> bool:
        """Tell whether the ends of a name are those of the pattern: mostly they are not."""
        return name.startswith(self._head) and name.endswith(self._tail)

    def matches(self, name: str) -> bool:
        """Tell whether a full name is one that the pattern names."""
        places = self._skipped(1)
        for character in name:
            single, stay = self._one.get(character, 0), self._any
            if character != ".":
                single, stay = single | self._character, stay | self._within
            places = self._skipped((places & single) << 1 | (places & stay))
        return bool(places & self._end)

    def _skipped(self, places: int) -> int:
        """Add the places behind a ``*``, which may stand for nothing."""
        while (more := places | (places & (self._any | self._within)) << 1) != places:
            places = more
        return places


@functools.lru_cache(maxsize=1_000)
def tag_pattern(text: str) -> TagPattern:
    """Return the pattern of a text."""
    return TagPattern(text)
