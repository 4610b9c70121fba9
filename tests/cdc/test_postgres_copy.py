"""COPY's text form, read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataspine.cdc._copy import parse_rows
from dataspine.cdc.pgoutput import MalformedMessageError

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
ESCAPES = {
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def write(row: tuple[str | None, ...]) -> bytes:
    """Write a row as PostgreSQL's CopyAttributeOutText does."""
    fields = [
        "\\N" if value is None else "".join(ESCAPES.get(char, char) for char in value)
        for value in row
    ]
    return ("\t".join(fields) + "\n").encode()


@given(st.lists(st.tuples(TEXT, st.none() | TEXT, TEXT), max_size=20))
def test_every_row_survives(rows: list[tuple[str | None, ...]]) -> None:
    assert parse_rows([write(row) for row in rows], 3) == rows


def test_one_empty_text_is_a_row() -> None:
    assert parse_rows([b"\n", b"\\N\n"], 1) == [("",), (None,)]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [([b"a\tb"], "no end"), ([b"a\n"], "number of columns"), ([b"\xff\tb\n"], "not UTF-8")],
)
def test_another_form_is_refused(lines: list[bytes], problem: str) -> None:
    with pytest.raises(MalformedMessageError, match=problem):
        parse_rows(lines, 2)
