"""How well ``pii.untagged_field`` finds personal fields: precision, recall, F1."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.policies.labelled import Labelled, read, suspected
from tests.policies.support import build

Row = tuple[str, str, str]


def main() -> list[Row]:
    """Measure both halves, whole and per language, in one run of OPA each."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    opa = Path(shutil.which("opa") or cache / "data-spine/bin/opa")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        bundle = build(Path(folder))
        for part in ("tuning", "frozen"):
            fields = read(part)
            found = [message is not None for message in suspected(opa, bundle, fields)]
            target = "F1 >= 0.85" if part == "frozen" else ""
            rows.append((f"pii.untagged_field, {part}", _score(fields, found), target))
            for language in sorted({field.language for field in fields}):
                kept = [i for i, field in enumerate(fields) if field.language == language]
                score = _score([fields[i] for i in kept], [found[i] for i in kept])
                rows.append((f"  {language}", score, ""))
    return rows


def _score(fields: list[Labelled], found: list[bool]) -> str:
    right = sum(f.personal and was for f, was in zip(fields, found, strict=True))
    precision = right / max(1, sum(found))
    recall = right / max(1, sum(f.personal for f in fields))
    both = 2 * precision * recall / max(precision + recall, 1e-9)
    return f"P {precision:.3f}, R {recall:.3f}, F1 {both:.3f} of {len(fields):,}"


if __name__ == "__main__":
    for row in main():
        print(*row, sep="\t")
