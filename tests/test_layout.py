"""The layout itself is a contract; these tests keep it."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOTS = {"adapters", "bundles", "engine", "schema", "streaming", "web"}


def test_namespace_has_no_init() -> None:
    # One __init__.py here would hide every other part in an editable install.
    assert list(ROOT.glob("*/dataspine/__init__.py")) == []


def test_each_package_is_typed_and_each_root_is_configured_everywhere() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    wheel = tool["hatch"]["build"]["targets"]["wheel"]
    folders = [p for root in ROOTS for p in (ROOT / root / "dataspine").iterdir() if p.is_dir()]
    packages = {p for p in folders if p.name != "__pycache__"}
    assert {p for p in packages if not (p / "py.typed").is_file()} == set()
    assert {p for p in packages if not (p / "__init__.py").is_file()} == set()
    names = {f"dataspine.{p.name}" for p in packages}
    assert names == set(tool["importlinter"]["root_packages"])
    assert names == set(tool["importlinter"]["contracts"][0]["layers"])
    assert set(wheel["dev-mode-dirs"]) == ROOTS
    assert set(wheel["packages"]) == {f"{root}/dataspine" for root in ROOTS}
    assert set(tool["coverage"]["run"]["source"]) == ROOTS
    assert set(tool["ruff"]["src"]) == ROOTS
    assert set(tool["ruff"]["namespace-packages"]) == {f"{root}/dataspine" for root in ROOTS}
    paths = {p.rpartition("/")[2] for p in tool["mypy"]["mypy_path"].split(":")}
    assert paths == ROOTS == set(tool["mypy"]["files"]) - {"docs/generate", "tests"}


def test_lock_has_hashes_and_no_addresses() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--hash=sha256:" in text


def test_each_silenced_check_has_a_code_and_a_reason() -> None:
    silenced = re.compile(r"# (?:noqa|type: ignore|pragma)")
    excused = re.compile(r"# (?:noqa: [A-Z]+\d+ - |type: ignore\[[a-z-]+\] +# )\w+")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _sources()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for each in silenced.finditer(line)
        if not excused.match(line, each.start())
    ]
    assert found == []


def test_no_text_has_the_marks_of_an_unfinished_merge() -> None:
    mark = re.compile(r"^(?:<{7} |={7}$|>{7} )", re.MULTILINE)
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("adr/*.md"), *_sources()]
    assert [p for p in texts if mark.search(p.read_text(encoding="utf-8"))] == []


def _sources() -> Iterator[Path]:
    for folder in sorted(ROOTS | {"docs", "tests"}):
        yield from sorted(p for p in (ROOT / folder).rglob("*.py") if p != Path(__file__))
