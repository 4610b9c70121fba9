"""What tests said of changed rules before, in the user's cache.

A verdict is found by all that it rests on, the bytes of the rules, tests, data and OPA: where any
of them differs there is none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path
from types import TracebackType

from dataspine.core.canonical import digest, sha256
from dataspine.core.files import private, replacing
from dataspine.decisions.program import cached_opa

__all__ = ["Verdicts"]


class Verdicts:
    """The verdicts about one folder of rules. Leaving the context keeps those that were asked for.

    A file that is not there or cannot be read holds none.
    """

    def __init__(self, path: Path, opa: Path) -> None:
        self._path = path
        with opa.open("rb") as program:
            self._opa = file_digest(program, "sha256").hexdigest()
        self._known = _read(path)
        self._asked: dict[str, str] = {}

    @classmethod
    def of_folder(
        cls, root: Path, opa: Path, environment: Mapping[str, str] = os.environ
    ) -> Verdicts:
        """Return those of a folder, kept in ``data-spine/mutants`` in the user's cache."""
        name = sha256(str(root).encode()).removeprefix("sha256:")[:16]
        return cls(cached_opa(environment).parents[1] / "mutants" / f"{name}.json", opa)

    def basis(self, files: Mapping[str, bytes], tests: tuple[str, ...]) -> str:
        """Return a digest of what many verdicts rest on: OPA, files, and which of them judge."""
        digests = {name: sha256(raw) for name, raw in files.items()}
        return digest({"opa": self._opa, "files": digests, "tests": list(tests)})

    def of(self, basis: str, name: str, changed: bytes, judged: Callable[[bytes], str]) -> str:
        """Return the verdict about a changed file, asked of ``judged`` unless it is known."""
        key = digest([basis, name, sha256(changed)])
        self._asked[key] = self._known.get(key) or judged(changed)
        return self._asked[key]

    def __enter__(self) -> Verdicts:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What a broken run did not come to ask may still hold.
        kept = self._asked if kind is None else {**self._known, **self._asked}
        with suppress(OSError):  # the next run is slower, that is all
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._path, opener=private) as file:
                file.write(json.dumps(kept).encode())


def _read(path: Path) -> dict[str, str]:
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
