"""ES256 and RS256 keys sign from a file or a command, and several count at once."""

import hashlib
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from dataspine.bundles import (
    BundleStore,
    ChannelSource,
    CommandKey,
    Content,
    SigningKey,
    Trust,
    TrustedKey,
    archive,
    generate_key,
    sign,
    verify,
)
from dataspine.core.errors import InputError, IntegrityError, UnavailableError
from dataspine.decisions.supervisor import OpaChild

ALGORITHMS = ["ES256", "RS256"]
SIGNS = """
import base64, sys
from pathlib import Path
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from dataspine.bundles import SigningKey
path, form, kind = sys.argv[1:]
key = SigningKey.load(Path(path), id="").private
data = sys.stdin.buffer.read()
hashed = utils.Prehashed(hashes.SHA256()) if kind == "digest" else hashes.SHA256()
if isinstance(key, rsa.RSAPrivateKey):
    signature = key.sign(data, padding.PKCS1v15(), hashed)
else:
    signature = key.sign(data, ec.ECDSA(hashed))
sys.stdout.buffer.write(signature if form == "binary" else base64.encodebytes(signature))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    made = {algorithm: folder / f"{algorithm}.pem" for algorithm in ALGORITHMS}
    for algorithm, path in made.items():
        generate_key(path, algorithm)
    (folder / "signs.py").write_text(SIGNS)
    return made


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_file_is_private_and_signs_by_its_algorithm(
    files: dict[str, Path], content: Content, algorithm: str
) -> None:
    path = files[algorithm]
    key = SigningKey.load(path, id="k")
    trusted = key.trusted(channels=("dev",))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (key.algorithm, trusted.algorithm) == (algorithm, algorithm)
    assert key.fingerprint == trusted.fingerprint
    assert TrustedKey.of_pem("k", trusted.pem, ("dev",)) == trusted
    bundle = verify(sign(content, key, sequence=1, channel="dev"), Trust((trusted,)))
    assert bundle.content == content


@pytest.mark.integration
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_stock_opa_verifies_each_algorithm(
    opa: Path, tmp_path: Path, files: dict[str, Path], content: Content, algorithm: str
) -> None:
    key = SigningKey.load(files[algorithm], id="k")
    (tmp_path / "public.pem").write_text(key.trusted(channels=()).pem)
    command = [str(opa), "build", "--bundle", "b.tar.gz", "--output", "out.tar.gz"]
    command += ["--verification-key", "public.pem", "--verification-key-id", "k"]
    command += ["--signing-alg", algorithm]
    data = sign(content, key, sequence=1, channel="dev")
    altered = {**archive.read(data), "dataspine/matrix/data.json": b"{}"}
    codes = []
    for each in (data, archive.write(altered)):
        (tmp_path / "b.tar.gz").write_bytes(each)
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
        codes.append(run.returncode == 0)
    assert codes == [True, False]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("form", ["binary", "base64"])
@pytest.mark.parametrize("kind", ["message", "digest"])
def test_a_command_signs_like_the_key_that_it_holds(
    files: dict[str, Path],
    content: Content,
    algorithm: str,
    form: str,
    kind: Literal["message", "digest"],
) -> None:
    path = files[algorithm]
    command = (sys.executable, str(path.with_name("signs.py")), str(path), form, kind)
    key = CommandKey("kms", algorithm, command, input=kind)
    trusted = SigningKey.load(path, id="kms").trusted(channels=("dev",))
    data = sign(content, key, sequence=1, channel="dev")
    assert verify(data, Trust((trusted,))).key_id == "kms"


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("import sys; sys.exit('no such key')", "it ended with 1: no such key"),
        ("print('not a signature')", "its answer is no ES256 signature"),
        ("pass", "its answer is no ES256 signature"),
        ("import time; time.sleep(60)", "no end after 0.5 seconds"),
    ],
    ids=["fails", "nonsense", "silent", "hangs"],
)
def test_a_command_that_does_not_sign_is_told(program: str, problem: str) -> None:
    key = CommandKey("kms", "ES256", (sys.executable, "-c", program), seconds=0.5)
    if "sleep" not in program:
        key = CommandKey("kms", "ES256", (sys.executable, "-c", program))
    with pytest.raises(UnavailableError) as caught:
        key.signature(b"message")
    assert caught.value.code == "bundle.key_command"
    assert caught.value.problem == f"the command of key 'kms' did not sign: {problem}"


def test_a_missing_command_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        CommandKey("kms", "ES256", (str(tmp_path / "none"),)).signature(b"message")
    assert (caught.value.code, caught.value.where) == (
        "bundle.key_command",
        str(tmp_path / "none"),
    )


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    "pem",
    [
        b"no key",
        _pem(ec.generate_private_key(ec.SECP384R1())),
        _pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),  # noqa: S505 - weak on purpose
        _pem(ed25519.Ed25519PrivateKey.generate()),
    ],
    ids=["text", "P-384", "short RSA", "Ed25519"],
)
def test_a_key_of_another_kind_is_refused_and_never_shown(pem: bytes) -> None:
    with pytest.raises(IntegrityError) as caught:
        SigningKey.parse(pem, id="k", where="env:KEY")
    assert (caught.value.code, caught.value.where) == ("bundle.bad_key", "env:KEY")
    assert pem.decode() not in json.dumps(caught.value.document())


def test_an_unknown_algorithm_makes_no_key(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        generate_key(tmp_path / "k.pem", "HS256")
    assert not (tmp_path / "k.pem").exists()


def test_a_signature_cannot_choose_the_algorithm_of_a_key(
    files: dict[str, Path], content: Content
) -> None:
    rsa_key = SigningKey.load(files["RS256"], id="k")
    es_key = SigningKey.load(files["ES256"], id="k").trusted(channels=("dev",))
    data = sign(content, rsa_key, sequence=1, channel="dev")
    with pytest.raises(IntegrityError) as untrusted:
        verify(data, Trust((es_key,)))
    lying = TrustedKey("k", "RS256", es_key.pem, ("dev",))
    with pytest.raises(IntegrityError) as faulty:
        verify(data, Trust((lying,)))
    assert (untrusted.value.code, faulty.value.code) == ("bundle.untrusted", "bundle.bad_key")


@pytest.mark.integration
def test_a_running_opa_follows_a_channel_through_a_rotation(
    opa: Path, files: dict[str, Path], store: BundleStore, content: Content
) -> None:
    old, new = (SigningKey.load(files[a], id=f"release-{a}") for a in ALGORITHMS)
    trust = Trust(tuple(key.trusted(channels=("stable",)) for key in (old, new)))

    def publish(key: SigningKey) -> str:
        sequence = store.reserve("stable", content.digest)
        data = sign(content, key, sequence=sequence, channel="stable")
        store.publish(data, trust, channel="stable", actor="ada")
        found = store.current("stable")
        assert found is not None
        return found[0]

    first = publish(old)
    source = ChannelSource(store, "stable", trust)
    with OpaChild(opa, source) as child:
        child.wait_active(timeout=20, etag=first)
        child.wait_active(timeout=20, etag=publish(new))
    # Whoever has dropped the old key takes the new bundle and refuses the old one.
    narrow = Trust((new.trusted(channels=("stable",)),))
    assert verify(store.bytes_of("stable", 2), narrow).key_id == new.id
    with pytest.raises(IntegrityError):
        verify(store.bytes_of("stable", 1), narrow)


def test_a_fingerprint_is_the_digest_of_the_public_key(files: dict[str, Path]) -> None:
    key = SigningKey.load(files["ES256"], id="k")
    der = key.private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert key.fingerprint == hashlib.sha256(der).hexdigest()
    assert Trust((key.trusted(channels=()),)).id_of(key.fingerprint) == "k"
    assert Trust(()).id_of(key.fingerprint) is None
