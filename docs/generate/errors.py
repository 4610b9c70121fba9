"""``errors.md``: every code, collected from where the sources raise it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from docs.generate.text import cell

from dataspine.cdc.refusal import REFUSALS
from dataspine.decisions.fault import FAULTS

__all__ = ["page"]

FOLDERS = ("adapters", "bundles", "engine", "schema", "streaming", "web")
ROOT_ERROR = "DataSpineError"
INTRODUCTION = """\
# Errors

Generated from the sources by `make docs`: each code with what is wrong and what to do. Codes are
stable, words may change. Codes of broken rules are in [rules](rules.md). `…` stands for what only
the error itself can say.
"""


@dataclass
class Kind:
    """An error class as its source declares it."""

    name: str
    base: str
    doc: str
    code: str | None = None
    exit_code: int | None = None
    retry: bool | None = None


@dataclass
class Code:
    """What the sources say about one code: its kinds, and (problem, remedy) of each place."""

    kinds: set[str] = field(default_factory=set)
    places: set[tuple[str, str]] = field(default_factory=set)
    where: str = ""


def page(root: Path) -> str:
    """Return the page; raise ``SystemExit`` for a code that nothing documents."""
    trees = {
        path: ast.parse(path.read_text(encoding="utf-8"))
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*.py"))
    }
    kinds = _kinds(list(trees.values()))
    found: dict[str, Code] = {}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                _collect(node, str(path.relative_to(root)), kinds, found)
    lines = [INTRODUCTION]
    undocumented = []
    for code in REFUSALS:
        found.setdefault(code, Code())
    for code, entry in sorted(found.items()):
        section = list(_section(code, entry, kinds))
        if not section:
            undocumented.append(f"{entry.where}: {code} says nowhere what to do")
        lines += section
    if undocumented:
        raise SystemExit("\n".join([*undocumented, "Give the error a remedy."]))
    return "\n".join(lines).rstrip() + "\n"


def _kinds(trees: list[ast.Module]) -> dict[str, Kind]:
    declared = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    kinds = {ROOT_ERROR: Kind(ROOT_ERROR, "", "", "spine.error", 70, False)}
    # A class is known once its base is; errors are derived at most a few times.
    for _ in range(4):
        for node in declared:
            base = next((b.id for b in node.bases if isinstance(b, ast.Name)), "")
            if base in kinds and node.name not in kinds:
                kinds[node.name] = Kind(node.name, base, ast.get_docstring(node) or "")
                _read_attributes(node, kinds[node.name])
    return kinds


def _read_attributes(node: ast.ClassDef, kind: Kind) -> None:
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            target, value = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, value = statement.target, statement.value
        else:
            continue
        is_ours = isinstance(target, ast.Name) and target.id in ("code", "exit_code", "retry")
        if is_ours and isinstance(value, ast.Constant):
            setattr(kind, ast.unparse(target), value.value)


def _inherited(kinds: dict[str, Kind], name: str, attribute: str) -> object:
    kind = kinds[name]
    value = getattr(kind, attribute)
    return _inherited(kinds, kind.base, attribute) if value is None and kind.base else value


def _collect(node: ast.Call, where: str, kinds: dict[str, Kind], found: dict[str, Code]) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in kinds:
        return
    keywords = {each.arg: each.value for each in node.keywords}
    given = keywords.get("code")
    if given is not None and not (isinstance(given, ast.Constant) and isinstance(given.value, str)):
        return  # it passes on another error's code
    code = given.value if isinstance(given, ast.Constant) else _inherited(kinds, name, "code")
    entry = found.setdefault(str(code), Code(where=f"{where}:{node.lineno}"))
    entry.kinds.add(name)
    problem = _template(node.args[0]) if node.args else "…"
    remedy = keywords.get("remedy")
    entry.places.add((problem, _template(remedy) if remedy is not None else ""))


def _template(node: ast.expr) -> str:
    """Return a text as it stands in the source, what is computed as ``{name}`` or ``…``."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(each) for each in node.values)
    if isinstance(node, ast.FormattedValue):
        name = ast.unparse(node.value).rpartition(".")[2]
        return f"{{{name}}}" if name.isidentifier() and not name.startswith("_") else "…"
    if isinstance(node, ast.IfExp):
        return f"{_template(node.body)} / {_template(node.orelse)}"
    return "…"


def _section(code: str, entry: Code, kinds: dict[str, Kind]) -> Iterator[str]:
    if code in REFUSALS:
        words = REFUSALS[code]
        yield from (
            f"## `{code}`",
            "",
            "Rows park under it; a replay judges them again.",
            "",
        )
        yield from (f"{words.title}. {words.why} {words.remedy}", "")
        return
    fault = FAULTS.get(code)
    defaults = [k for k in sorted(entry.kinds) if kinds[k].code == code]
    said = sorted((problem, remedy) for problem, remedy in entry.places if remedy)
    if not (fault or defaults or said):
        return
    name = min(entry.kinds)
    retry = "a retry may help" if _inherited(kinds, name, "retry") else "a retry does not help"
    yield from (f"## `{code}`", "", f"Exit code {_inherited(kinds, name, 'exit_code')}; {retry}.")
    yield ""
    if fault:
        yield from (f"{fault.title}. {fault.why} {fault.remedy}", "")
    elif defaults:
        yield from (f"{cell(kinds[defaults[0]].doc)} The error says where, and what to do.", "")
    else:
        yield from (f"- {cell(problem)} → {cell(remedy)}" for problem, remedy in said)
        yield ""
