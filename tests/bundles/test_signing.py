import json
from pathlib import Path

import pytest

from dataspine.bundles import Content, SigningKey, Trust, archive, generate_key, sign, verify
from dataspine.core.errors import IntegrityError


def test_signed_bundle_is_opened(content: Content, key: SigningKey, trust: Trust) -> None:
    bundle = verify(sign(content, key, sequence=7, channel="dev"), trust, channel="dev")
    assert (bundle.revision, bundle.digest, bundle.sequence, bundle.channel) == (
        content.revision,
        content.digest,
        7,
        "dev",
    )


def _changed(files: dict[str, bytes]) -> None:
    files["dataspine/main/main.rego"] += b"\n# one more line\n"


def _added(files: dict[str, bytes]) -> None:
    files["dataspine/custom/x/y/y.rego"] = b"package dataspine.custom.x.y\n"


def _removed(files: dict[str, bytes]) -> None:
    del files["dataspine/matrix/data.json"]


def _unsigned(files: dict[str, bytes]) -> None:
    del files[".signatures.json"]


def _newer(files: dict[str, bytes]) -> None:
    manifest = json.loads(files[".manifest"])
    manifest["metadata"]["sequence"] += 1
    files[".manifest"] = json.dumps(manifest).encode()


def _no_jwt(files: dict[str, bytes]) -> None:
    files[".signatures.json"] = b'{"signatures": ["a.b.c"]}'


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_changed, "bundle.tampered"),
        (_added, "bundle.tampered"),
        (_removed, "bundle.tampered"),
        (_newer, "bundle.tampered"),
        (_unsigned, "bundle.unsigned"),
        (_no_jwt, "bundle.malformed"),
    ],
)
def test_tampered_bundle_is_refused(
    tamper: object, code: str, content: Content, key: SigningKey, trust: Trust
) -> None:
    files = archive.read(sign(content, key, sequence=1, channel="dev"))
    assert callable(tamper)
    tamper(files)
    with pytest.raises(IntegrityError) as caught:
        verify(archive.write(files), trust)
    assert caught.value.code == code


def test_foreign_key_and_channel_are_refused(
    content: Content, key: SigningKey, trust: Trust, tmp_path: Path
) -> None:
    generate_key(tmp_path / "other.pem")
    other = SigningKey.load(tmp_path / "other.pem", id="dev")
    codes = []
    for signer, channel in ((other, "dev"), (key, "stable")):
        with pytest.raises(IntegrityError) as caught:
            verify(sign(content, signer, sequence=1, channel=channel), trust)
        codes.append(caught.value.code)
    assert codes == ["bundle.bad_signature", "bundle.untrusted"]


@pytest.mark.parametrize("data", [b"", b"no gzip", b"\x1f\x8b" + b"\0" * 20])
def test_what_is_no_archive_is_refused(data: bytes, trust: Trust) -> None:
    with pytest.raises(IntegrityError):
        verify(data, trust)
