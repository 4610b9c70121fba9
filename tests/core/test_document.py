import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataspine.core.canonical import canonical, parse_json
from dataspine.core.document import parse_document
from dataspine.core.errors import InputError

WHOLE = "name: shop\nmode: dev\nrules:\n  pii: warn\n"


def test_file_keeps_the_line_of_each_key() -> None:
    document = parse_document(WHOLE, "spine.yaml", "spine")
    assert document.value == {"name": "shop", "mode": "dev", "rules": {"pii": "warn"}}
    assert document.line("/rules/pii") == 4
    assert document.line("/rules/none") == 3


@pytest.mark.parametrize(
    ("text", "where", "code"),
    [
        (WHOLE + "rulez: {}\n", "spine.yaml:5", "input.unknown_key"),
        (WHOLE + "decisions:\n  opaa: x\n", "spine.yaml:6", "input.unknown_key"),
        (WHOLE + "rules/~1: {}\n", "spine.yaml:5", "input.unknown_key"),
        ("name: shop\nname: shop\nmode: dev\n", "spine.yaml:2", "input.invalid"),
        ("name: shop\nmode: prod\n", "spine.yaml:2", "input.invalid"),
        ("name: [\n", "spine.yaml:2", "input.invalid"),
        ("name: !!python/object:os.system x\nmode: dev\n", "spine.yaml:1", "input.invalid"),
        ("name: &a shop\nmode: *a\n", "spine.yaml:2", "input.invalid"),
        ('name: shop\nmode: "\\ud800"\n', "spine.yaml:2", "input.invalid"),
        ("", "spine.yaml:1", "input.invalid"),
    ],
    ids=[
        "unknown",
        "nested",
        "slash",
        "twice",
        "value",
        "syntax",
        "tag",
        "alias",
        "surrogate",
        "empty",
    ],
)
def test_fault_is_named_with_its_line(text: str, where: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_document(text, "spine.yaml", "spine")
    assert (caught.value.where, caught.value.code) == (where, code)


def test_unknown_key_is_told_what_is_known() -> None:
    with pytest.raises(InputError) as caught:
        parse_document(WHOLE + "decisions:\n  opaa: x\n", "spine.yaml", "spine")
    assert caught.value.remedy == "Known keys: max-policy-age, on-stale, opa."


@given(st.text(max_size=200))
def test_any_text_is_a_document_or_an_input_error(text: str) -> None:
    try:
        parse_document(text, "spine.yaml", "spine")
    except InputError as error:
        assert error.where.startswith("spine.yaml")  # noqa: PT017 - both outcomes are right


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_canonical_form_is_stable_and_parses_back(value: object) -> None:
    assert parse_json(canonical(value)) == value  # type: ignore[arg-type] # any JSON value
    assert canonical(parse_json(canonical(value))) == canonical(value)  # type: ignore[arg-type] # any JSON value


@pytest.mark.parametrize(
    "text",
    ['{"a":1,"a":2}', "[NaN]", "{", "[" * 100_000, "[" * 100 + "]" * 100, b"\xff", "1" * 1_001],
    ids=["twice", "nan", "syntax", "bomb", "deep", "not utf-8", "digits"],
)
def test_bad_json_is_an_input_error(text: str | bytes) -> None:
    with pytest.raises(InputError):
        parse_json(text, where="body")


def test_a_message_repeats_the_beginning_of_a_long_key() -> None:
    key = "k" * 100_000
    with pytest.raises(InputError) as refused:
        parse_json(f'{{"{key}": 1, "{key}": 2}}', where="body")
    assert refused.value.problem == f"the key {key[:200]!r} stands twice in one object"
