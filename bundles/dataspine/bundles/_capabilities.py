"""Ship the built-ins that rules may use: ``opa capabilities --current | python -m …_capabilities``.

A list of what is allowed, not of what is not: what a newer OPA adds stays out.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

from dataspine.bundles.confined import CAPABILITIES, is_pure

__all__ = ["pure"]


def pure(current: Mapping[str, Any]) -> dict[str, Any]:
    """Return an OPA's capabilities without the unsafe ones, without words and any address."""
    builtins = [_bare(each) for each in current["builtins"] if is_pure(each["name"])]
    return {**current, "builtins": builtins, "allow_net": []}


def _bare(declared: Any) -> Any:
    if isinstance(declared, list):
        return [_bare(each) for each in declared]
    if not isinstance(declared, dict):
        return declared
    return {k: _bare(v) for k, v in declared.items() if k not in {"description", "categories"}}


def main() -> None:
    """Write ``capabilities.json`` beside this module."""
    shipped = json.dumps(pure(json.load(sys.stdin)), separators=(",", ":"), sort_keys=True)
    CAPABILITIES.write_text(f"{shipped}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
