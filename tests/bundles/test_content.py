"""One content has one digest; what may not enter a bundle is refused."""

from pathlib import Path

import pytest
from tests.bundles.sample import MATRIX, PRODUCT, inputs

from dataspine.bundles import Content, Product, build, packaged
from dataspine.bundles.content import unfiltered_rules
from dataspine.core.errors import InputError

CUSTOM = "dataspine/custom/shop/odd/odd.rego"


def test_equal_sources_give_equal_content(content: Content) -> None:
    shuffled = dict(reversed(MATRIX.items()))
    assert build(PRODUCT, inputs(matrix=shuffled)) == content
    assert content.revision == f"1.4.0+{content.digest.replace(':', '.')}"
    assert sorted(content.files) == [
        "dataspine/config/data.json",
        "dataspine/exceptions/data.json",
        "dataspine/matrix/data.json",
        "dataspine/rules/residency/home_not_allowed/home_not_allowed.rego",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"rules": {"pii": "warn"}}},
        {"matrix": {**MATRIX, "version": 2}},
        {"exceptions": [{"rule": "pii.untagged_field"}]},
        {"custom": {CUSTOM: b"package dataspine.custom.shop.odd\n"}},
    ],
    ids=["config", "matrix", "exceptions", "custom"],
)
def test_each_input_changes_the_digest(content: Content, change: dict[str, object]) -> None:
    assert build(PRODUCT, inputs(**change)).digest != content.digest


@pytest.mark.parametrize("kind", ["countries", "regions"])
def test_a_place_in_two_geographies_is_refused(kind: str) -> None:
    geographies = {name: {"countries": [], "regions": [], kind: ["x"]} for name in ("EU", "UK")}
    with pytest.raises(InputError) as caught:
        build(PRODUCT, inputs(matrix={**MATRIX, "geographies": geographies}))
    assert caught.value.code == "bundle.ambiguous_geography"
    assert caught.value.where == f"/geographies/UK/{kind}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dataspine/custom/shop/odd.rego", b"package dataspine.custom.shop.odd\n"),
        ("dataspine/custom/shop/odd/more/odd.rego", b"package dataspine.custom.shop.odd\n"),
        ("dataspine/custom/shop/odd/../../../rules/x.rego", b"package dataspine.custom.shop.odd\n"),
        ("dataspine/rules/shop/odd/odd.rego", b"package dataspine.rules.shop.odd\n"),
        (CUSTOM, b"package dataspine.custom.shop.other\n"),
        (CUSTOM, b"package dataspine.main\n"),
        (CUSTOM, b"x := 1\n"),
        (CUSTOM, b" package dataspine.main\nx := `\npackage dataspine.custom.shop.odd\n`\n"),
    ],
    ids=["shallow", "deep", "climbing", "product", "other", "main", "none", "hidden"],
)
def test_a_custom_rule_at_a_wrong_place_is_refused(name: str, text: bytes) -> None:
    with pytest.raises(InputError) as caught:
        build(PRODUCT, inputs(custom={name: text}))
    assert caught.value.code == "bundle.custom_place"


def test_a_custom_rule_with_a_products_code_is_refused() -> None:
    name = "dataspine/custom/residency/home_not_allowed/home_not_allowed.rego"
    text = b"package dataspine.custom.residency.home_not_allowed\n"
    with pytest.raises(InputError) as caught:
        build(PRODUCT, inputs(custom={name: text}))
    assert caught.value.code == "bundle.custom_code"


def test_a_bundle_without_a_row_rule_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        build(Product({}), inputs())
    assert caught.value.code == "bundle.no_row_rule"


@pytest.mark.parametrize(
    ("body", "listed"),
    [
        ('deny contains "x" if {\n\tinput.point == "schema.publish"\n}\n', ()),
        ('deny contains "x" if {\n\tinput.point == "row.replicate"\n}\n', ("shop.odd",)),
        ('deny contains "x" if input.row.country == "US"\n', ("shop.odd",)),
        (
            'deny contains "x" if {\n\tinput.point == "schema.publish"\n}\n\n'
            'deny contains "y" if {\n\tinput.row\n}\n',
            ("shop.odd",),
        ),
    ],
    ids=["other point", "row", "any point", "one of two"],
)
def test_custom_rules_that_may_judge_rows_are_listed(body: str, listed: tuple[str, ...]) -> None:
    files = {CUSTOM: f"package dataspine.custom.shop.odd\n\n{body}".encode()}
    assert unfiltered_rules(files) == listed


@pytest.mark.integration
def test_the_products_rules_compile_without_unsafe_builtins(opa: Path) -> None:
    rules = packaged()
    assert not [name for name in rules.files if name.endswith("_test.rego")]
    assert build(rules, inputs(), opa=opa).digest == build(rules, inputs()).digest


@pytest.mark.integration
@pytest.mark.parametrize(
    ("config", "is_whole"), [({"rules": {}}, True), ({"rules": {"pii": "loud"}}, False)]
)
def test_opa_finds_whether_the_data_is_whole(
    opa: Path, config: dict[str, object], is_whole: bool
) -> None:
    sources = packaged(), inputs(config=config)
    assert build(*sources, opa=opa).is_whole == is_whole
    assert not build(*sources).is_whole  # nobody was asked


@pytest.mark.integration
@pytest.mark.parametrize(
    "expression",
    [
        "opa.runtime()",
        'http.send({"method": "get", "url": "http://localhost"})',
        'net.lookup_ip_addr("localhost")',
        "time.now_ns()",
        'rand.intn("x", 2)',
        'uuid.rfc4122("x")',
        'io.jwt.decode("x")',
    ],
)
def test_an_unsafe_builtin_is_refused(opa: Path, expression: str) -> None:
    text = f"package dataspine.custom.shop.odd\n\nx := {expression}\n".encode()
    with pytest.raises(InputError) as caught:
        build(PRODUCT, inputs(custom={CUSTOM: text}), opa=opa)
    assert caught.value.code == "bundle.does_not_compile"
    assert f"undefined function {expression.partition('(')[0]}" in caught.value.problem
