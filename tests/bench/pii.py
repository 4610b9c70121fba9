"""How well ``pii.untagged_field`` finds personal fields: precision, recall, F1."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.policies.labelled import Labelled, Score, read, suspected
from tests.policies.support import build

Row = tuple[str, str, str]


def main() -> list[Row]:
    """Measure every part, whole and per language, in one run of OPA each."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    opa = Path(shutil.which("opa") or cache / "data-spine/bin/opa")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        bundle = build(Path(folder))
        for part in ("tuning", "frozen", "later"):
            fields = read(part)
            found = [message is not None for message in suspected(opa, bundle, fields)]
            target = "" if part == "tuning" else "F1 >= 0.85"
            rows.append((f"pii.untagged_field, {part}", _score(fields, found), target))
            for language in sorted({field.language for field in fields}):
                kept = [i for i, field in enumerate(fields) if field.language == language]
                score = _score([fields[i] for i in kept], [found[i] for i in kept])
                rows.append((f"  {language}", score, ""))
    return rows


def _score(fields: list[Labelled], found: list[bool]) -> str:
    score = Score.of(fields, found)
    shown = f"P {score.precision:.3f}, R {score.recall:.3f}, F1 {score.f1:.3f}"
    return f"{shown} of {score.fields:,}"


if __name__ == "__main__":
    for row in main():
        print(*row, sep="\t")
