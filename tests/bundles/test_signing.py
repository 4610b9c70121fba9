"""What was signed opens; anything else is refused, and named."""

import base64
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.bundles.sample import inputs

from dataspine.bundles import (
    Content,
    SigningKey,
    Trust,
    TrustedKey,
    archive,
    build,
    content_digest,
    generate_key,
    packaged,
    sign,
    verify,
)
from dataspine.core.errors import ConflictError, InputError, IntegrityError

Files = dict[str, bytes]
RULE = "dataspine/rules/residency/home_not_allowed/home_not_allowed.rego"
DATA = "dataspine/matrix/data.json"
SIGNATURES = ".signatures.json"


@pytest.fixture
def data(content: Content, key: SigningKey) -> bytes:
    return sign(content, key, sequence=7, channel="stable")


def refusal(data: bytes, trust: Trust, *, channel: str | None = None) -> tuple[str, str]:
    with pytest.raises(IntegrityError) as caught:
        verify(data, trust, channel=channel)
    return caught.value.code, caught.value.problem


def test_what_was_signed_opens(content: Content, data: bytes, trust: Trust) -> None:
    bundle = verify(data, trust, channel="stable")
    assert (bundle.revision, bundle.digest) == (content.revision, content.digest)
    assert (bundle.sequence, bundle.channel, bundle.key_id) == (7, "stable", "release-1")
    assert bundle.metadata == {
        "sequence": 7,
        "channel": "stable",
        "content-digest": content.digest,
    }
    assert {n: bundle.files[n] for n in content.files} == content.files
    assert set(bundle.files) - set(content.files) == {".manifest"}
    assert content_digest(archive.read(data)) == content.digest


def test_whole_data_is_stated_and_signed_on(
    content: Content, key: SigningKey, trust: Trust
) -> None:
    checked = replace(content, is_whole=True)
    bundle = verify(sign(checked, key, sequence=7, channel="stable"), trust)
    assert bundle.metadata["data-is-whole"] is True
    assert (bundle.content, bundle.content.is_whole) == (content, True)


@pytest.mark.integration
def test_a_lie_about_the_data_is_found(opa: Path, key: SigningKey, trust: Trust) -> None:
    lie = replace(build(packaged(), inputs(config={"rules": {"pii": "loud"}})), is_whole=True)
    data = sign(lie, key, sequence=7, channel="stable")
    assert verify(data, trust).metadata["data-is-whole"] is True
    with pytest.raises(IntegrityError, match="says that the data is whole, and it is not"):
        verify(data, trust, opa=opa)


def _changed(files: Files) -> None:
    files[RULE] = files[RULE].replace(b"DE", b"US")


def _put(name: str, raw: bytes) -> Callable[[Files], None]:
    return lambda files: files.update({name: raw})


def _drop(name: str) -> Callable[[Files], object]:
    return lambda files: files.pop(name)


NO_SIGNATURE = ("bundle.malformed", "the signature is malformed")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_changed, ("bundle.tampered", f"{RULE} was changed")),
        (_put(DATA, b"{"), ("bundle.tampered", f"{DATA} was changed")),
        (_drop(RULE), ("bundle.tampered", f"{RULE} is missing")),
        (_put("dataspine/x.rego", b""), ("bundle.tampered", "dataspine/x.rego was added")),
        (_drop(".manifest"), ("bundle.tampered", ".manifest is missing")),
        (_drop(SIGNATURES), ("bundle.unsigned", "the bundle is not signed")),
        (_put(SIGNATURES, b"[]"), NO_SIGNATURE),
        (_put(SIGNATURES, b"[" * 9999), NO_SIGNATURE),
    ],
    ids=["changed", "no json", "missing", "added", "manifest", "unsigned", "empty", "deep"],
)
def test_what_was_altered_is_named(
    data: bytes, trust: Trust, change: Callable[[Files], object], expected: tuple[str, str]
) -> None:
    files = archive.read(data)
    change(files)
    assert refusal(archive.write(files), trust) == expected


def test_a_swapped_signature_does_not_match(
    content: Content, data: bytes, key: SigningKey, trust: Trust
) -> None:
    files = archive.read(data)
    other = archive.read(sign(content, key, sequence=8, channel="stable"))
    files[".signatures.json"] = other[".signatures.json"]
    assert refusal(archive.write(files), trust) == ("bundle.tampered", ".manifest was changed")
    (token,) = json.loads(files[".signatures.json"])["signatures"]
    head, body, _ = token.split(".")
    for tail in ("", base64.urlsafe_b64encode(bytes(64)).rstrip(b"=").decode()):
        files[".signatures.json"] = json.dumps({"signatures": [f"{head}.{body}.{tail}"]}).encode()
        assert refusal(archive.write(files), trust)[0] in {
            "bundle.bad_signature",
            "bundle.malformed",
        }


def test_only_trusted_keys_count_and_only_for_their_channels(
    content: Content, data: bytes, key: SigningKey, tmp_path: Path
) -> None:
    generate_key(tmp_path / "other.pem")
    other = SigningKey.load(tmp_path / "other.pem", id="release-1")
    stranger = SigningKey.load(tmp_path / "other.pem", id="other")
    assert refusal(data, Trust((stranger.trusted(channels=("stable",)),)))[0] == "bundle.untrusted"
    impostor = Trust((other.trusted(channels=("stable",)),))
    assert refusal(data, impostor)[0] == "bundle.bad_signature"
    narrow = Trust((key.trusted(channels=("dev",)),))
    assert refusal(data, narrow) == (
        "bundle.untrusted",
        "key 'release-1' may not sign for channel stable",
    )
    wide = Trust((key.trusted(channels=("dev", "stable")),))
    assert refusal(data, wide, channel="dev") == (
        "bundle.wrong_channel",
        "signed for channel stable, not dev",
    )
    faulty = Trust((TrustedKey("release-1", "ES256", "no key", ("stable",)),))
    assert refusal(data, faulty)[0] == "bundle.bad_key"


@pytest.mark.parametrize(
    "extra",
    ["dataspine/policy.wasm", "dataspine/plan.json", "dataspine/x/data.yaml", "other/x.rego"],
)
def test_what_is_no_rule_and_no_data_is_refused_even_when_signed(
    content: Content, key: SigningKey, trust: Trust, extra: str
) -> None:
    files = {**content.files, extra: b"{}"}
    signed = Content(files, content_digest(files), content.revision)
    code, problem = refusal(sign(signed, key, sequence=1, channel="dev"), trust)
    assert code == "bundle.foreign_file"
    assert problem.startswith(extra)


def test_a_revision_of_other_content_is_refused(
    content: Content, key: SigningKey, trust: Trust
) -> None:
    lying = Content(content.files, content.digest, "1.4.0+sha256.0000")
    assert refusal(sign(lying, key, sequence=1, channel="dev"), trust)[0] == "bundle.wrong_revision"


def test_a_local_build_enters_no_channel_but_dev(content: Content, key: SigningKey) -> None:
    assert sign(content, key, sequence=0, channel="dev")
    for sequence, channel in ((0, "stable"), (-1, "dev")):
        with pytest.raises(InputError) as caught:
            sign(content, key, sequence=sequence, channel=channel)
        assert caught.value.code == "bundle.bad_sequence"


def test_a_key_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    generate_key(path)
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConflictError):
        generate_key(path)
    assert path.read_bytes() == before
