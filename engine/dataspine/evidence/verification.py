"""Verify an evidence pack: signature, files, counts, and that bundles are what decided."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataspine.bundles import Trust, content_digest, open_archive
from dataspine.core.errors import IntegrityError, NotFoundError
from dataspine.evidence import standalone
from dataspine.evidence.pack import DECISIONS, FORMAT, LINEAGE

__all__ = ["Report", "verify"]


@dataclass(frozen=True, slots=True)
class Report:
    """What a whole pack holds; ``without_bundle`` names revisions whose bundle was not kept."""

    workspace: str
    key_id: str
    since: str
    until: str
    files: int
    decisions: int
    allowed: int
    denied: int
    lineage: int
    revisions: tuple[str, ...]
    without_bundle: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return the JSON object that the command line prints."""
        return {
            "workspace": self.workspace,
            "key_id": self.key_id,
            "period": {"from": self.since, "until": self.until},
            "files": self.files,
            "decisions": self.decisions,
            "allowed": self.allowed,
            "denied": self.denied,
            "lineage": self.lineage,
            "revisions": list(self.revisions),
            "without_bundle": list(self.without_bundle),
        }


def verify(folder: Path, trust: Trust) -> Report:
    """Return what the pack holds, or raise ``IntegrityError`` naming each thing that is wrong."""
    if not folder.is_dir():
        raise NotFoundError("no such folder", where=str(folder), remedy="Name a pack's folder.")
    keys = {key.id: key.pem.encode() for key in trust.keys}
    try:
        signer, manifest = standalone.check(folder, keys)
        _require_consistent(folder, manifest)
        return _report(signer, manifest)
    except standalone.Altered as altered:
        raise _refused(folder, str(altered)) from None
    except (KeyError, TypeError, ValueError):
        raise _refused(folder, "the manifest is malformed") from None


def _require_consistent(folder: Path, manifest: Mapping[str, Any]) -> None:
    # All files are signed; this finds a signer whose program was wrong.
    if manifest["format"] != FORMAT:
        raise standalone.Altered([f"the format is {manifest['format']!r}, not {FORMAT}"])
    decided, asked = _counted(folder)
    findings = [
        f"{standalone.MANIFEST} counts {manifest['counts'][name]} {name}, there are {number}"
        for name, number in decided.items()
        if manifest["counts"][name] != number
    ]
    listed = {(r["revision"], r["sequence"]): r["decisions"] for r in manifest["revisions"]}
    if listed != asked:
        findings.append(f"{standalone.MANIFEST} does not list the revisions that decided")
    for entry in manifest["revisions"]:
        name = entry["bundle"]
        if name is not None and not _is_content_of(folder / name, entry["revision"]):
            findings.append(f"{name} is not the content of {entry['revision']}")
    if findings:
        raise standalone.Altered(findings)


def _counted(folder: Path) -> tuple[dict[str, int], Mapping[tuple[str, int], int]]:
    counts = dict.fromkeys(("decisions", "allowed", "denied", "lineage"), 0)
    asked: Counter[tuple[str, int]] = Counter()
    with (folder / DECISIONS).open("rb") as file:
        for line in file:
            row = json.loads(line)
            counts["decisions"] += 1
            counts["allowed" if row["allow"] is True else "denied"] += 1
            if row["policy"] is not None:
                asked[row["policy"]["revision"], row["policy"]["sequence"]] += 1
    with (folder / LINEAGE).open("rb") as file:
        counts["lineage"] = sum(1 for _ in file)
    return counts, asked


def _is_content_of(path: Path, revision: str) -> bool:
    try:
        found = content_digest(open_archive(path.read_bytes()))
    except (OSError, IntegrityError):
        return False
    return revision.endswith(found.replace(":", "."))


def _report(signer: str, manifest: Mapping[str, Any]) -> Report:
    counts, period = manifest["counts"], manifest["period"]
    return Report(
        workspace=manifest["workspace"],
        key_id=signer,
        since=period["from"],
        until=period["until"],
        files=len(manifest["files"]) + 2,  # with the manifest and its envelope
        decisions=counts["decisions"],
        allowed=counts["allowed"],
        denied=counts["denied"],
        lineage=counts["lineage"],
        revisions=tuple(entry["revision"] for entry in manifest["revisions"]),
        without_bundle=tuple(
            entry["revision"] for entry in manifest["revisions"] if entry["bundle"] is None
        ),
    )


def _refused(folder: Path, problem: str) -> IntegrityError:
    return IntegrityError(
        problem,
        where=str(folder),
        remedy="Do not rely on this pack; ask its owner for the original.",
        code="evidence.altered",
    )
