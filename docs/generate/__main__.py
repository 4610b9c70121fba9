"""``python -m docs.generate [--check]``: write the reference, or say what is out of date."""

import difflib
import sys
from pathlib import Path

from docs.generate import cli, errors, files, http, types

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/reference"


def main(arguments: list[str]) -> int:
    """Write each page, or with ``--check`` compare it; return the exit code."""
    pages = {
        "cli.md": cli.page(),
        "http.md": http.page(),
        "files.md": files.page(),
        "errors.md": errors.page(ROOT),
        "types.md": types.page(),
    }
    stale = 0
    for name, text in pages.items():
        path = FOLDER / name
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
            continue
        known = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = list(difflib.unified_diff(known.split("\n"), text.split("\n"), name, "now", n=1))
        if lines:
            stale = 1
            sys.stderr.write("\n".join([*lines[:40], "Run `make docs`.\n"]))
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
