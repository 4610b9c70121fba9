"""The reference of rules, generated from METADATA: the only place for a rule's words."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataspine.core.errors import UnavailableError

__all__ = ["rules_reference"]

RULES = ("dataspine", "rules")
INSPECT_SECONDS = 30


def rules_reference(opa: Path, policies: Path) -> str:
    """Return the Markdown page of every product rule in a ``policies/`` folder."""
    try:
        run = subprocess.run(
            [str(opa), "inspect", "--annotations", "--format", "json", str(policies)],
            capture_output=True,
            text=True,
            timeout=INSPECT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UnavailableError(f"OPA could not read the rules: {error}") from None
    return "\n".join(_page(json.loads(run.stdout)["annotations"])) + "\n"


def _page(annotations: list[dict[str, Any]]) -> Iterator[str]:
    yield "# Rules"
    yield ""
    yield "Generated from the rules' METADATA by `make docs`. `error` denies, `warn` tells;"
    yield "change a severity by code or by domain under `rules` in `spine.yaml`."
    domain = ""
    for path, annotation in sorted(_rules(annotations)):
        if path[0] != domain:
            domain = path[0]
            yield from ("", f"## {domain}")
        found = json.loads(annotation)
        custom = found.get("custom", {})
        yield from ("", f"### `{'.'.join(path)}`", "", f"**{found['title']}.**", "")
        yield found["description"].strip().replace("\n", " ")
        yield from ("", "| | |", "|---|---|")
        yield f"| severity | {custom['severity']} |"
        yield f"| says | {custom['message']} |"
        yield f"| do | {custom['remediation']} |"
        yield f"| controls | {', '.join(found.get('labels', {}).get('controls', []))} |"


def _rules(annotations: list[dict[str, Any]]) -> Iterator[tuple[tuple[str, ...], str]]:
    for entry in annotations:
        found = entry["annotations"]
        path = tuple(str(part["value"]) for part in entry["path"][1:])
        is_rule = path[:2] == RULES and len(path) == 4 and not path[3].endswith("_test")
        if is_rule and found.get("scope") == "package":
            yield path[2:], json.dumps(found)
