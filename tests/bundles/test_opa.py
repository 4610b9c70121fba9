"""Stock OPA takes our bundles, refuses altered ones, and hashes as we do."""

import base64
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bundles.sample import inputs

from dataspine.bundles import (
    BundleStore,
    ChannelSource,
    Content,
    SigningKey,
    Trust,
    archive,
    build,
    content_digest,
    packaged,
    sign,
    verify,
)
from dataspine.bundles.content import file_hash
from dataspine.decisions.supervisor import OpaChild

pytestmark = pytest.mark.integration

ODD = (
    '{"u": "é\\u2028\\u2029<>&\\u0001\\b\\f\\"\\\\/\\u007f 😀", "n": 1.50e0, "z": null,'
    ' "neg": -0.0, "big": 12345678901234567890123, "e": 1E3,'
    ' "B": [true, {"b": 1, "A": 2, "é": 3, "": []}]}'
)


def _public(folder: Path, key: SigningKey) -> Path:
    (folder / "public.pem").write_text(key.trusted(channels=()).pem)
    return folder / "public.pem"


def _verified(opa: Path, folder: Path, data: bytes, key: SigningKey) -> tuple[int, str]:
    (folder / "bundle.tar.gz").write_bytes(data)
    command = [str(opa), "build", "--bundle", "bundle.tar.gz", "--output", "out.tar.gz"]
    command += ["--verification-key", str(_public(folder, key)), "--verification-key-id", key.id]
    command += ["--signing-alg", "ES256"]
    run = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    return run.returncode, run.stderr


def test_stock_opa_takes_the_products_bundle(opa: Path, tmp_path: Path, key: SigningKey) -> None:
    data = sign(build(packaged(), inputs()), key, sequence=3, channel="dev")
    assert _verified(opa, tmp_path, data, key) == (0, "")


def test_stock_opa_refuses_what_we_refuse(
    opa: Path, tmp_path: Path, content: Content, key: SigningKey
) -> None:
    files = archive.read(sign(content, key, sequence=3, channel="dev"))
    name = "dataspine/matrix/data.json"
    altered = {
        "changed": {**files, name: b"{}"},
        "missing": {n: raw for n, raw in files.items() if n != name},
        "added": {**files, "dataspine/x.rego": b"package dataspine.x\n"},
        "unsigned": {n: raw for n, raw in files.items() if n != ".signatures.json"},
    }
    answers = {
        kind: _verified(opa, tmp_path, archive.write(each), key) for kind, each in altered.items()
    }
    assert {kind: code != 0 for kind, (code, _) in answers.items()} == dict.fromkeys(altered, True)


def test_odd_data_is_hashed_as_opa_hashes_it(
    opa: Path, tmp_path: Path, content: Content, key: SigningKey, trust: Trust
) -> None:
    files = {**content.files, "dataspine/odd/data.json": ODD.encode()}
    data = sign(_content(files), key, sequence=1, channel="dev")
    assert _verified(opa, tmp_path, data, key) == (0, "")
    assert verify(data, trust).sequence == 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=4, derandomize=True, deadline=None)
@given(values=st.lists(JSON, min_size=30, max_size=60))
def test_any_data_is_hashed_as_opa_hashes_it(
    opa: Path, tmp_path_factory: pytest.TempPathFactory, values: list[object]
) -> None:
    # One OPA run for many documents: `opa sign` prints the hash of each file.
    folder = tmp_path_factory.mktemp("hashes")
    texts = [json.dumps({"v": value}, ensure_ascii=n % 2 == 0) for n, value in enumerate(values)]
    for number, text in enumerate(texts):
        (folder / "tree" / f"d{number}").mkdir(parents=True)
        (folder / "tree" / f"d{number}" / "data.json").write_text(text, encoding="utf-8")
    (folder / "tree" / "other.json").write_text('{ "a" : 1 }', encoding="utf-8")
    command = [str(opa), "sign", "--signing-key", "secret", "--signing-alg", "HS256"]
    subprocess.run([*command, "--bundle", "tree"], cwd=folder, check=True, timeout=60)
    (token,) = json.loads((folder / ".signatures.json").read_text())["signatures"]
    theirs = {
        entry["name"].removeprefix("tree/"): entry["hash"] for entry in _payload(token)["files"]
    }
    ours = {f"d{n}/data.json": file_hash("data.json", t.encode()) for n, t in enumerate(texts)}
    assert {n: theirs[n] for n in ours} == ours


def test_a_supervised_opa_follows_the_channel(
    opa: Path, store: BundleStore, key: SigningKey, trust: Trust
) -> None:
    def publish(content: Content) -> str:
        sequence = store.reserve("dev", content.digest)
        data = sign(content, key, sequence=sequence, channel="dev")
        return store.publish(data, trust, channel="dev", actor="ada").revision

    first = publish(build(packaged(), inputs()))
    source = ChannelSource(store, "dev", trust)
    with OpaChild(opa, source, on_logs=lambda _: None, on_status=lambda _: None) as child:
        child.wait_active(first, 20)
        second = publish(build(packaged(), inputs(config={"rules": {"pii": "warn"}})))
        child.wait_active(second, 20)
        active = child.client.data("dataspine/config")["result"]
    assert active == {"rules": {"pii": "warn"}}
    assert first != second


def _payload(token: str) -> dict[str, list[dict[str, str]]]:
    body = token.split(".")[1]
    found: dict[str, list[dict[str, str]]] = json.loads(
        base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    )
    return found


def _content(files: dict[str, bytes]) -> Content:
    digest = content_digest(files)
    return Content(files, digest, f"1.4.0+{digest.replace(':', '.')}")
