"""JSON with lines: one line is read by the standard library, and means the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataspine.core.errors import InputError
from dataspine.registry._json import Node, plain, scan

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)
TEXTS = st.builds(json.dumps, VALUES, ensure_ascii=st.booleans())
# What a slip of the keyboard makes of a text.
SLIPS = st.sampled_from(
    [*'{}[]:,"\\ \t\r0123456789-.eE+', "null", "NaN", "\x01", "\ufeff", "\ud800"]
)


@st.composite
def slipped(draw: st.DrawFn) -> str:
    text = draw(TEXTS)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(SLIPS) + text[place + draw(st.integers(0, 1)) :]
    return text


def outcome(text: str) -> Any:
    try:
        return plain(scan(text))
    except InputError as error:
        return error.problem, error.remedy


@settings(deadline=None)  # 100,000 values take a second
@given(slipped())
@example('{"a": 1, "a": 2}')
@example('["\\ud800"]')
@example("[NaN]")
@example("[-Infinity]")
@example("[1e400]")
@example("[1e0000001]")
@example(f"[{'9' * 301}]")
@example(f"[{'9' * 401}]")
@example(f"[{'9' * 400}.5]")
@example("[" * 64 + "]" * 64)
@example("[" * 64 + "0" + "]" * 64)
@example("[" * 65 + "]" * 65)
@example("[" * 100_000)
@example("[" + "0," * 99_998 + "0]")
@example("[" + "0," * 99_999 + "0]")
@example("")
@example(" ")
def test_one_line_means_what_it_means_among_others(text: str) -> None:
    assert repr(outcome(text)) == repr(outcome(f"\n{text}"))


@pytest.mark.parametrize("before", ["", "\n", " \n\n"])
def test_each_value_knows_its_line(before: str) -> None:
    line = before.count("\n") + 1
    assert scan(before + '{"a": [1, "b"]}') == Node(
        {"a": Node([Node(1, line), Node("b", line)], line)}, line
    )
