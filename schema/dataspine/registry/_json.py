"""JSON that knows on which line each value stands, so that an error can name the place."""

from __future__ import annotations

import bisect
import contextlib
import json
import math
import re
from typing import Any, NamedTuple

from dataspine.core.errors import InputError

__all__ = ["Node", "Scalar", "invalid", "plain", "scan"]

MAX_CHARACTERS = 1_048_576
MAX_DEPTH = 64
MAX_NODES = 100_000
# A number of so many without an exponent is a finite one.
MAX_DIGITS = 300

Scalar = str | int | float | bool | None
Plain = Scalar | list["Plain"] | dict[str, "Plain"]

# One alternative per kind of token; anything else is no JSON. A string without escapes is its own
# value; what else stands in a string is left to the standard library.
_TOKEN = re.compile(
    r'[ \t\r\n]*(?:([{}\[\]:,])|"([^"\\\x00-\x1f]*)"|("(?:[^"\\\n]|\\.)*")'
    r"|(-?(?:0|[1-9][0-9]{0,400})(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,5})?)(?![0-9A-Za-z.+-])"
    r"|(true|false|null)(?![0-9A-Za-z]))"
)
_SPACE = re.compile(r"[ \t\r\n]*")
_WORDS: dict[str, Scalar] = {"true": True, "false": False, "null": None}


class Node(NamedTuple):
    """A JSON value and the 1-based line where it starts."""

    value: Scalar | list[Node] | dict[str, Node]
    line: int

    def get(self, key: str) -> Node | None:
        """Return a member of an object, or None."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def text(self, key: str) -> str | None:
        """Return a member that is a string, or None."""
        member = self.get(key)
        return member.value if member is not None and isinstance(member.value, str) else None


def invalid(problem: str, line: int | None, remedy: str, *, where: str = "") -> InputError:
    """Return the error for text that is no schema."""
    place = f"{where}:{line}" if where and line else f"line {line}" if line else where
    return InputError(problem, where=place, remedy=remedy, code="registry.invalid_schema")


def plain(node: Node) -> Plain:
    """Return the value without its lines."""
    if isinstance(node.value, dict):
        return {key: plain(member) for key, member in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


def scan(text: str, *, where: str = "") -> Node:
    """Parse JSON with lines, or raise ``InputError`` with code ``registry.invalid_schema``.

    Size, depth and number of values are limited; a key that stands twice in one object is refused.
    """
    if len(text) > MAX_CHARACTERS:
        raise invalid(
            f"{len(text)} characters are over the limit of {MAX_CHARACTERS}",
            1,
            "Split the schema and use references.",
            where=where,
        )
    # Clients send a schema as one line: then no value needs to be found.
    if "\n" not in text:
        with contextlib.suppress(ValueError, RecursionError):
            return _one_line(text)
    return _Scan(text, where).document()


def _one_line(text: str) -> Node:
    """Parse what stands on one line with the standard library; ``ValueError`` decides nothing."""
    # Every value but the outermost follows one of these marks.
    values = text.count("[") + text.count(",") + text.count(":") + 1
    if values > MAX_NODES or "\\u" in text:
        raise ValueError("may be too many, or half a character")
    text.encode()
    document = json.loads(
        text,
        object_pairs_hook=_unique,
        parse_int=_integer,
        parse_float=_decimal,
        parse_constant=_no_number,
    )
    return _on_first(document, 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice")
    return members


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("may be too long")
    return int(digits)


def _decimal(number: str) -> float:
    if len(number) > MAX_DIGITS or "e" in number.lower():
        raise ValueError("may be infinite")
    return float(number)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _on_first(value: Any, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        value = {key: _on_first(member, depth + 1) for key, member in value.items()}
    elif isinstance(value, list):
        value = [_on_first(item, depth + 1) for item in value]
    return Node(value, 1)


class _Scan:
    """One pass over a text."""

    def __init__(self, text: str, where: str) -> None:
        self._text = text
        self._where = where
        self._position = 0
        self._nodes = 0
        self._breaks = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> Node:
        try:
            self._text.encode()
        except UnicodeEncodeError as error:
            raise self._error("this is no valid JSON value", error.start) from None
        node = self._value(*self._token(), depth=1)
        end = _SPACE.match(self._text, self._position)
        if end is not None and end.end() != len(self._text):
            raise self._error("something follows the end of the JSON", end.end())
        return node

    def _token(self) -> tuple[str, Scalar, int]:
        """Return the next token's kind (a mark, ``text`` or ``value``), its value and start."""
        match = _TOKEN.match(self._text, self._position)
        if match is None:
            raise self._error("no JSON here", self._start())
        self._position = match.end()
        group = match.lastindex or 0
        token, start = match[group], match.start(group)
        if group == 1:
            return token, None, start
        if group == 2:
            return "text", token, start
        if group == 5:
            return "value", _WORDS[token], start
        try:
            # The standard library decodes escapes and numbers, and refuses control characters.
            value: Scalar = json.loads(token)
            if isinstance(value, str):
                value.encode()  # an escape may name half a character
            elif isinstance(value, float) and not math.isfinite(value):
                raise ValueError("too large")  # noqa: TRY301 - refused as the library would
        except ValueError:
            raise self._error("this is no valid JSON value", start) from None
        return ("text" if group == 3 else "value"), value, start

    def _value(self, kind: str, value: Scalar, start: int, *, depth: int) -> Node:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            limit = f"nested deeper than {MAX_DEPTH}" if depth > MAX_DEPTH else "too many values"
            raise self._error(limit, start, "Split the schema and use references.")
        if kind in {"text", "value"}:
            return Node(value, self._line(start))
        if kind == "{":
            return Node(self._object(depth), self._line(start))
        if kind == "[":
            return Node(self._array(depth), self._line(start))
        raise self._error(f"{kind!r} where a value was expected", start)

    def _object(self, depth: int) -> dict[str, Node]:
        members: dict[str, Node] = {}
        kind, key, start = self._token()
        while kind != "}":
            if kind != "text" or not isinstance(key, str):
                raise self._error("a key in double quotes was expected", start)
            if key in members:
                raise self._error(
                    f"the key {key!r} stands twice in one object", start, "Remove one of the two."
                )
            self._expect(":")
            members[key] = self._value(*self._token(), depth=depth + 1)
            kind, _, start = self._token()
            if kind == ",":
                kind, key, start = self._token()
                if kind == "}":
                    raise self._error("a comma before the closing brace", start)
            elif kind != "}":
                raise self._error("a comma or a closing brace was expected", start)
        return members

    def _array(self, depth: int) -> list[Node]:
        items: list[Node] = []
        kind, value, start = self._token()
        while kind != "]":
            items.append(self._value(kind, value, start, depth=depth + 1))
            kind, value, start = self._token()
            if kind == ",":
                kind, value, start = self._token()
                if kind == "]":
                    raise self._error("a comma before the closing bracket", start)
            elif kind != "]":
                raise self._error("a comma or a closing bracket was expected", start)
        return items

    def _expect(self, mark: str) -> None:
        kind, _, start = self._token()
        if kind != mark:
            raise self._error(f"{mark!r} was expected", start)

    def _start(self) -> int:
        match = _SPACE.match(self._text, self._position)
        return match.end() if match is not None else self._position

    def _line(self, position: int) -> int:
        return bisect.bisect_left(self._breaks, position) + 1

    def _error(
        self, problem: str, position: int, remedy: str = "Correct the JSON there."
    ) -> InputError:
        if position >= len(self._text):
            # The end of a file usually stands on an empty line; the fault is before it.
            position = max(len(self._text.rstrip()) - 1, 0)
            problem = "the JSON ends too early" if self._text.strip() else "the text is empty"
        return invalid(problem, self._line(position), remedy, where=self._where)
