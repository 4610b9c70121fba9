"""What a code means here: a rule's METADATA, and the severity that the workspace gives it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

import yaml

from dataspine.adapters.policy import STABLE, content_of
from dataspine.bundles import BundleStore, open_archive, packaged
from dataspine.cdc.refusal import REFUSALS
from dataspine.core.errors import NotFoundError
from dataspine.core.workspace import Workspace
from dataspine.decisions.fault import FAULTS

__all__ = ["Explanation", "codes", "explain"]

_RULE = re.compile(r"/?dataspine/(rules|custom)/([a-z0-9_]+)/([a-z0-9_]+)/[a-z0-9_]+\.rego")
_METADATA = re.compile(r"^# METADATA\n((?:#[^\n]*\n)+)package\b", re.MULTILINE)
_CONFIG = "dataspine/config/data.json"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A code's words; ``source`` is ``product``, ``custom``, ``engine`` or ``route``."""

    code: str
    title: str
    why: str
    severity: str
    message: str
    remediation: str
    controls: tuple[str, ...]
    source: str

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {**asdict(self), "controls": list(self.controls)}


def explain(code: str, workspace: Workspace | None) -> Explanation:
    """Return what a code means under the workspace's rules, or the packaged ones without one.

    Raises ``NotFoundError`` naming codes like it.
    """
    if code in FAULTS or code in REFUSALS:
        fault, source = (FAULTS[code], "engine") if code in FAULTS else (REFUSALS[code], "route")
        return Explanation(
            code, fault.title, fault.why, "error", fault.title, fault.remedy, (), source
        )
    files = _files(workspace)
    rules = _rules(files)
    if code not in rules:
        near = get_close_matches(code, [*rules, *FAULTS, *REFUSALS], n=3, cutoff=0.5)
        near = near or sorted(c for c in rules if c.partition(".")[0] == code.partition(".")[0])
        listed = f"Did you mean {', '.join(near)}?" if near else "See `spine policy docs`."
        raise NotFoundError(
            f"no rule has the code {code[:80]!r}",
            where="CODE",
            remedy=listed,
            code="input.unknown_code",
        )
    source, text = rules[code]
    words = _words(text)
    custom = words.get("custom") or {}
    labels = words.get("labels") or {}
    served = () if "waits-for" in labels else labels.get("controls") or ()
    return Explanation(
        code,
        title=str(words.get("title", code)),
        why=" ".join(str(words.get("description", "")).split()),
        severity=_severity(files, code, str(custom.get("severity", "error"))),
        message=str(custom.get("message", "")),
        remediation=str(custom.get("remediation", "")),
        controls=tuple(str(each) for each in served),
        source=source,
    )


def codes(workspace: Workspace | None) -> list[str]:
    """Return every code that a decision can have, sorted."""
    return sorted([*_rules(_files(workspace)), *FAULTS, *REFUSALS])


def _files(workspace: Workspace | None) -> Mapping[str, bytes]:
    """Return the files of the policy that decides: the sources in mode ``dev``, else the bundle."""
    if workspace is None:
        return packaged().files
    if workspace.settings.mode == "dev":
        return content_of(workspace).files
    store = BundleStore(workspace.database)
    current = store.current(STABLE)
    return packaged().files if current is None else open_archive(current[1])


def _rules(files: Mapping[str, bytes]) -> dict[str, tuple[str, str]]:
    """Return (source, text) by code; of several files, the one with the package's METADATA."""
    found: dict[str, tuple[str, str]] = {}
    for name, data in files.items():
        match = _RULE.fullmatch(name)
        if match is None:
            continue
        root, domain, fault = match.groups()
        text = data.decode("utf-8", "replace")
        code = f"{domain}.{fault}"
        if code not in found or _METADATA.search(text):
            found[code] = ("product" if root == "rules" else "custom", text)
    return found


def _words(text: str) -> dict[str, Any]:
    match = _METADATA.search(text)
    if match is None:
        return {}
    lines = (line.removeprefix("#").removeprefix(" ") for line in match.group(1).splitlines())
    try:
        words = yaml.safe_load("\n".join(lines))
    except yaml.YAMLError:
        return {}
    return words if isinstance(words, dict) else {}


def _severity(files: Mapping[str, bytes], code: str, own: str) -> str:
    # Said as the bundle's own configuration says it: by code, else by domain, else the rule's.
    config = json.loads(files.get(_CONFIG, b"{}"))
    configured = config.get("rules") or {}
    return str(configured.get(code, configured.get(code.partition(".")[0], own)))
