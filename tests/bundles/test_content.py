import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataspine.bundles import Content, Inputs, Product, SigningKey, archive, build, packaged, sign
from dataspine.bundles.content import file_hash
from dataspine.core.canonical import canonical
from dataspine.core.errors import InputError


def _inputs(**changes: object) -> Inputs:
    matrix = {"version": 1, "geographies": {}, "transfers": {}}
    return Inputs(**{"config": {"rules": {}}, "matrix": matrix, "version": "1.0.0", **changes})  # type: ignore[arg-type]


def test_equal_sources_give_equal_content() -> None:
    first, second = build(packaged(), _inputs()), build(packaged(), _inputs())
    assert first == second
    assert first.revision == f"1.0.0+{first.digest.replace(':', '.')}"
    assert build(packaged(), _inputs(config={"rules": {"pii": "warn"}})).digest != first.digest


def test_product_has_rules_and_no_tests() -> None:
    names = set(packaged().files)
    assert "dataspine/rules/pii/untagged_field/untagged_field.rego" in names
    assert {name for name in names if name.endswith("_test.rego")} == set()


CUSTOM = "dataspine/custom/naming/upper_case/upper_case.rego"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (
            {"matrix": {"geographies": {"A": {"countries": ["DE"]}, "B": {"countries": ["DE"]}}}},
            "bundle.ambiguous_geography",
        ),
        ({"custom": {CUSTOM: b"package dataspine.custom.other\n"}}, "bundle.custom_place"),
        ({"custom": {"dataspine/custom/a.rego": b"package x\n"}}, "bundle.custom_place"),
        (
            {
                "custom": {
                    "dataspine/custom/pii/untagged_field/x.rego": b"package "
                    b"dataspine.custom.pii.untagged_field\n"
                }
            },
            "bundle.custom_code",
        ),
    ],
    ids=["country twice", "package", "depth", "product's code"],
)
def test_faulty_inputs_are_refused(changes: dict[str, object], code: str) -> None:
    with pytest.raises(InputError) as caught:
        build(packaged(), _inputs(**changes))
    assert caught.value.code == code


def test_bundle_without_row_rule_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        build(Product({}), _inputs())
    assert caught.value.code == "bundle.no_row_rule"


@pytest.mark.integration
@pytest.mark.parametrize("call", ["http.send({})", "time.now_ns()", 'io.jwt.decode("x")'])
def test_unsafe_built_in_is_refused(opa: Path, call: str) -> None:
    text = f"package dataspine.custom.naming.upper_case\n\nx := {call}\n"
    with pytest.raises(InputError) as caught:
        build(packaged(), _inputs(custom={CUSTOM: text.encode()}), opa=opa)
    assert caught.value.code == "bundle.does_not_compile"


@given(st.recursive(st.none() | st.booleans() | st.text(), st.lists, max_leaves=8))
def test_data_hash_does_not_depend_on_spacing(value: object) -> None:
    spaced = json.dumps({"b": value, "a": 1}, indent=3).encode()
    assert file_hash("x/data.json", spaced) == file_hash(
        "x/data.json",
        canonical({"a": 1, "b": value}),
    )


@pytest.mark.integration
def test_stock_opa_accepts_the_bundle_and_refuses_a_changed_one(
    opa: Path, content: Content, key: SigningKey, tmp_path: Path
) -> None:
    data = sign(content, key, sequence=1, channel="dev")
    files = archive.read(data)
    files["dataspine/main/main.rego"] += b"\n"
    results = []
    public = tmp_path / "dev.pub"
    public.write_text(key.trusted(channels=("dev",)).pem)
    for name, bundle in (("good", data), ("bad", archive.write(files))):
        path = tmp_path / f"{name}.tar.gz"
        path.write_bytes(bundle)
        argv = [str(opa), "build", "--bundle", str(path), "-o", str(tmp_path / "o.tar.gz")]
        argv += ["--verification-key", str(public), "--verification-key-id", "dev"]
        run = subprocess.run(
            [*argv, "--signing-alg", "ES256"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        results.append((run.returncode, "mismatch" in run.stdout + run.stderr))
    assert results == [(0, False), (1, True)]
