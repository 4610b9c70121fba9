"""Canonical JSON and digests: equal values have equal bytes.

Keys sorted bytewise, no spaces, no HTML escaping, U+2028 and U+2029 escaped: the form that OPA
hashes for the signatures of bundles.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dataspine.core.errors import InputError

__all__ = ["Json", "canonical", "digest", "parse_json", "sha256"]

Json = Mapping[str, Any] | Sequence[Any] | str | int | float | bool | None

MAX_DEPTH = 64
MAX_DIGITS = 1_000
# Of a text that a message repeats.
MAX_SHOWN = 200
_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_HALF_BYTES = re.compile(rb"\\u[dD][89a-fA-F]")


def canonical(value: Json) -> bytes:
    """Return the canonical UTF-8 bytes of a JSON value; NaN raises ``ValueError``."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()


def sha256(data: bytes) -> str:
    """Return ``sha256:<hex>`` of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest(value: Json) -> str:
    """Return ``sha256:<hex>`` of a JSON value's canonical bytes."""
    return sha256(canonical(value))


def parse_json(text: str | bytes, *, where: str = "", max_bytes: int = 1_048_576) -> Any:
    """Parse untrusted JSON, or raise ``InputError``.

    Size and depth are limited; duplicate keys and NaN are refused.
    """
    if len(text) > max_bytes:
        raise InputError(
            f"{len(text)} bytes are over the limit of {max_bytes}",
            where=where,
            remedy="Send a smaller document.",
            code="input.too_large",
        )
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=_integer
        )
    except RecursionError:
        raise InputError("nested too deeply", where=where, remedy="Flatten the document.") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 at byte {error.start}", where=where, remedy="Save it as UTF-8."
        ) from None
    except json.JSONDecodeError as error:
        place = f"{where}:{error.lineno}" if where else f"line {error.lineno}"
        raise InputError(
            f"no JSON: {error.msg} (column {error.colno})",
            where=place,
            remedy="Correct the syntax there.",
        ) from None
    except ValueError as error:
        raise InputError(str(error), where=where, remedy="Correct the document.") from None
    if _is_half(text, value):
        raise InputError(
            "half of a character: an escape \\ud800 to \\udfff without its other half",
            where=where,
            remedy="Write whole characters.",
        )
    if _depth(value) > MAX_DEPTH:
        raise InputError(
            f"nested deeper than {MAX_DEPTH}", where=where, remedy="Flatten the document."
        )
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key[:MAX_SHOWN]!r} stands twice in one object")
            seen.add(key)
    return result


def _integer(digits: str) -> int:
    # To read one takes the square of its length, and nothing else runs meanwhile.
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} digits")
    return int(digits)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _is_half(text: str | bytes, value: Any) -> bool:
    """Tell whether a text in it cannot be written: no UTF-8 has half of a surrogate pair."""
    if not (_HALF_BYTES.search(text) if isinstance(text, bytes) else _HALF.search(text)):
        return False
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except RecursionError:
        pass  # the depth is judged next
    return False


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        if deepest > MAX_DEPTH:
            return deepest
        level = [
            child
            for node in level
            for child in (
                node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
            )
            if isinstance(child, dict | list)
        ]
    return deepest
