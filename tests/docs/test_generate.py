"""The generated reference says everything, and fails where the sources say nothing."""

from pathlib import Path

import pytest
from docs.generate import cli, errors, files, types
from tests.cli.test_options import COMMANDS

from dataspine.cdc.pgoutput import TYPES
from dataspine.cdc.sink_table import SINK_TYPES

SOURCE = '''\
from dataspine.core.errors import InputError, UnavailableError


class LostError(UnavailableError):
    """It is lost."""

    code = "thing.lost"
    retry = False


def fail(name: str, kept: Exception) -> None:
    if name:
        raise InputError(f"{name} is bad", where=name, {remedy}code="thing.bad")
    raise LostError(str(kept))
'''


def _page(folder: Path, remedy: str) -> str:
    for name in errors.FOLDERS:
        (folder / name).mkdir()
    core = Path(__file__).parents[2] / "engine/dataspine/core/errors.py"
    (folder / "engine/errors.py").write_text(core.read_text())
    (folder / "engine/thing.py").write_text(SOURCE.replace("{remedy}", remedy))
    return errors.page(folder)


def test_code_is_documented_from_where_it_is_raised(tmp_path: Path) -> None:
    page = _page(tmp_path, 'remedy="Name another.", ')
    assert page.partition("## `thing.bad`")[2] == (
        "\n\nExit code 2; a retry does not help.\n\n"
        "- {name} is bad → Name another.\n\n"
        "## `thing.lost`\n\nExit code 3; a retry does not help.\n\n"
        "It is lost. The error says where, and what to do.\n"
    )


def test_code_without_a_remedy_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        _page(tmp_path, "")
    assert "engine/thing.py:13: thing.bad" in str(caught.value)


def test_every_command_stands_in_the_page() -> None:
    page = cli.page()
    assert [name for name in COMMANDS if f"## `spine {name}`\n" not in page] == []


def test_every_key_of_the_settings_stands_in_the_page() -> None:
    page = files.page()
    for key in ("name", "trust[].channels", "lineage.receivers[].url", "transfers{}{}{}.allow"):
        assert f"| `{key}` |" in page


def test_every_type_that_the_stream_names_is_on_the_page() -> None:
    rows = [line.split("|")[1].strip(" `") for line in types.page().split("\n") if "| `" in line]
    assert sorted({row.partition("(")[0] for row in rows}) == sorted(TYPES.values())
    # What the sink would cast and no stream ever names is a mistake in one of the two.
    assert set(SINK_TYPES) <= set(TYPES.values())
    assert set(types.NOTES) <= set(TYPES.values())
