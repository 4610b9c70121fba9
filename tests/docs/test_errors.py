"""Every error that the sources raise says what to do next."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("adapters", "bundles", "engine", "schema", "streaming", "web")
KINDS = {"DataSpineError", "InputError", "NotFoundError", "ConflictError"} | {
    "UnavailableError",
    "IntegrityError",
}


def _raised() -> Iterator[tuple[str, ast.Call]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id in KINDS
                ):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def _is_empty(remedy: ast.expr | None) -> bool:
    return remedy is None or (isinstance(remedy, ast.Constant) and not remedy.value)


def test_every_error_says_what_to_do() -> None:
    raised = dict(_raised())
    silent = [
        place
        for place, call in raised.items()
        if _is_empty(next((k.value for k in call.keywords if k.arg == "remedy"), None))
    ]
    assert len(raised) > 100
    assert silent == []
