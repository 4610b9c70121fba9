"""Build an evidence pack: files, a manifest that lists them, and one signature over all."""

from __future__ import annotations

import base64
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

from dataspine.bundles import SigningKey
from dataspine.core.canonical import canonical
from dataspine.core.clock import Clock, rfc3339, utc_now
from dataspine.core.errors import ConflictError, InputError
from dataspine.evidence import standalone

__all__ = ["BUNDLES", "DECISIONS", "FORMAT", "LINEAGE", "Period", "Sources", "build"]

FORMAT = "data-spine-evidence/1"
DECISIONS = "decisions.jsonl"
LINEAGE = "lineage.jsonl"
BUNDLES = "bundles"
VERIFIER = "verify.py"
GUIDE = "VERIFY.md"


@dataclass(frozen=True, slots=True)
class Period:
    """From ``since`` (inside) to ``until`` (outside); both aware."""

    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        if self.since >= self.until:
            raise InputError(
                "the period ends before it begins",
                where=f"{rfc3339(self.since)} to {rfc3339(self.until)}",
                remedy="Give an earlier --from or a later --to.",
            )

    def document(self) -> dict[str, str]:
        """Return the JSON object that the manifest holds."""
        return {"from": rfc3339(self.since), "until": rfc3339(self.until)}


class Sources(Protocol):
    """What a pack is made of. Rows come in the order in which they happened."""

    def decisions(self, period: Period) -> Iterable[Mapping[str, Any]]:
        """Return every journal row of the period: the decision's document and who asked."""
        ...

    def lineage(self, period: Period) -> Iterable[Mapping[str, Any]]:
        """Return every lineage event of the period."""
        ...

    def bundle(self, revision: str, sequence: int) -> bytes | None:
        """Return the published bundle that gave decisions, or None when it is not kept here."""
        ...


def build(
    out: Path,
    *,
    workspace: str,
    period: Period,
    sources: Sources,
    key: SigningKey,
    clock: Clock = utc_now,
) -> Path:
    """Write a signed pack to the folder ``out``, which must not exist, and return it.

    Nothing is left behind when it fails: the pack appears whole or not at all.
    """
    if out.exists() or out.is_symlink():
        raise ConflictError("is there already", where=str(out), remedy="Choose another folder.")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700, parents=True)
    try:
        facts = {
            "format": FORMAT,
            "workspace": workspace,
            "period": period.document(),
            "built_at": rfc3339(clock()),
            **_contents(part, period, sources),
        }
        _write_guide(part, facts, key)
        _seal(part, facts, key)
        for path in part.rglob("*"):  # a pack names people
            path.chmod(0o700 if path.is_dir() else 0o600)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _contents(folder: Path, period: Period, sources: Sources) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    asked: dict[tuple[str, int], int] = {}
    with (folder / DECISIONS).open("wb") as file:
        for row in sources.decisions(period):
            file.write(canonical(row) + b"\n")
            counts["decisions"] += 1
            counts["allowed" if row["allow"] is True else "denied"] += 1
            if row["policy"] is not None:
                revision = (str(row["policy"]["revision"]), int(row["policy"]["sequence"]))
                asked[revision] = asked.get(revision, 0) + 1
    with (folder / LINEAGE).open("wb") as file:
        for event in sources.lineage(period):
            file.write(canonical(event) + b"\n")
            counts["lineage"] += 1
    names = ("decisions", "allowed", "denied", "lineage")
    return {
        "counts": {name: counts[name] for name in names},
        "revisions": _bundles(folder, asked, sources),
    }


def _bundles(
    folder: Path, asked: Mapping[tuple[str, int], int], sources: Sources
) -> list[dict[str, Any]]:
    # A revision whose bundle is gone is listed without one: the gap is shown, never hidden.
    (folder / BUNDLES).mkdir()
    found: list[dict[str, Any]] = []
    for (revision, sequence), decisions in sorted(asked.items(), key=lambda each: each[0][::-1]):
        data = sources.bundle(revision, sequence)
        name = f"{BUNDLES}/{sequence}-{revision.rpartition('.')[2][:16]}.tar.gz"
        if data is not None:
            (folder / name).write_bytes(data)
        found.append(
            {
                "revision": revision,
                "sequence": sequence,
                "decisions": decisions,
                "bundle": name if data is not None else None,
            }
        )
    return found


def _write_guide(folder: Path, facts: Mapping[str, Any], key: SigningKey) -> None:
    package = files("dataspine.evidence")
    (folder / VERIFIER).write_bytes(package.joinpath("standalone.py").read_bytes())
    guide = package.joinpath("guide.md").read_text(encoding="utf-8")
    words = {
        "workspace": facts["workspace"],
        "from": facts["period"]["from"],
        "until": facts["period"]["until"],
        "key": key.id,
        "fingerprint": key.fingerprint,
    }
    for word, value in words.items():
        guide = guide.replace(f"[[{word}]]", value)
    (folder / GUIDE).write_text(guide, encoding="utf-8")


def _seal(folder: Path, facts: Mapping[str, Any], key: SigningKey) -> None:
    manifest = {**facts, "files": _listed(folder)}
    (folder / standalone.MANIFEST).write_bytes(canonical(manifest) + b"\n")
    payload = canonical(
        {
            "_type": standalone.STATEMENT_TYPE,
            "subject": [
                {"name": entry["name"], "digest": {"sha256": entry["sha256"]}}
                for entry in _listed(folder)
            ],
            "predicateType": standalone.PREDICATE_TYPE,
            "predicate": dict(facts),
        }
    )
    signature = key.der_signature(standalone.pre_authentication(payload))
    envelope = {
        "payloadType": standalone.PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode("ascii"),
        "signatures": [{"keyid": key.id, "sig": base64.b64encode(signature).decode("ascii")}],
    }
    (folder / standalone.ENVELOPE).write_bytes(canonical(envelope) + b"\n")


def _listed(folder: Path) -> list[dict[str, Any]]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return [
        {
            "name": path.relative_to(folder).as_posix(),
            "sha256": standalone.file_digest(path),
            "bytes": path.stat().st_size,
        }
        for path in sorted(paths)
    ]
