"""A pack verifies offline; whatever is changed in it is refused, and named."""

import base64
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dataspine.bundles import Content, SigningKey, Trust, content_digest, generate_key, sign
from dataspine.core.errors import ConflictError, InputError, IntegrityError, NotFoundError
from dataspine.evidence import Period, Report, build, verify

SINCE, UNTIL = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
PERIOD = Period(SINCE, UNTIL)
RULES = {"dataspine/x.rego": b"package dataspine.x\n"}
REVISION = f"1.4.0+{content_digest(RULES).replace(':', '.')}"
LOST = "1.3.0+sha256.00ff"
BUNDLE = f"bundles/41-{REVISION.rpartition('.')[2][:16]}.tar.gz"


def _decision(number: int, *, allow: bool, policy: tuple[str, int] | None) -> dict[str, Any]:
    return {
        "decision_id": f"d-{number}",
        "point": "schema.publish",
        "allow": allow,
        "policy": {"revision": policy[0], "sequence": policy[1]} if policy else None,
        "actor": "ada",
        "evaluated_at": "2026-11-23T09:00:00Z",
    }


class Rows:
    """What three questions left behind."""

    def __init__(self, bundle: bytes) -> None:
        self.kept = bundle
        self.asked: list[Period] = []

    def decisions(self, period: Period) -> Iterable[Mapping[str, Any]]:
        self.asked.append(period)
        yield _decision(1, allow=True, policy=(REVISION, 41))
        yield _decision(2, allow=False, policy=(LOST, 40))
        yield _decision(3, allow=False, policy=None)

    def lineage(self, period: Period) -> Iterable[Mapping[str, Any]]:
        self.asked.append(period)
        yield {"eventType": "COMPLETE", "run": {"runId": "r-1"}}

    def bundle(self, revision: str, sequence: int) -> bytes | None:
        return self.kept if (revision, sequence) == (REVISION, 41) else None


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    path = tmp_path_factory.mktemp("keys") / "key.pem"
    generate_key(path)
    return SigningKey.load(path, id="audit-1")


@pytest.fixture(scope="module")
def trust(key: SigningKey) -> Trust:
    return Trust((key.trusted(channels=()),))


@pytest.fixture(scope="module")
def bundle(key: SigningKey) -> bytes:
    content = Content(RULES, content_digest(RULES), REVISION)
    return sign(content, key, sequence=41, channel="stable")


def _build(out: Path, key: SigningKey, bundle: bytes) -> Path:
    return build(
        out, workspace="shop", period=PERIOD, sources=Rows(bundle), key=key, clock=lambda: UNTIL
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, key: SigningKey, bundle: bytes) -> Path:
    return _build(tmp_path_factory.mktemp("out") / "pack", key, bundle)


@pytest.fixture
def pack(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "pack"))


def names(pack: Path) -> list[str]:
    return sorted(p.relative_to(pack).as_posix() for p in pack.rglob("*") if p.is_file())


NOT_ISOLATED = (
    "run it as `python -I verify.py`: without -I Python runs files that stand beside this one\n"
)
FILES = ["VERIFY.md", BUNDLE, "decisions.jsonl", "lineage.jsonl", "manifest.json", "verify.py"]


def refusal(pack: Path, trust: Trust) -> str:
    with pytest.raises(IntegrityError) as caught:
        verify(pack, trust)
    assert caught.value.code == "evidence.altered"
    return caught.value.problem


def test_a_pack_says_what_it_holds(pack: Path, trust: Trust, bundle: bytes) -> None:
    assert names(pack) == sorted([*FILES, "manifest.dsse.json"])
    assert (pack / BUNDLE).read_bytes() == bundle
    assert verify(pack, trust) == Report(
        workspace="shop",
        key_id="audit-1",
        since="2026-11-01T00:00:00Z",
        until="2026-12-01T00:00:00Z",
        files=7,
        decisions=3,
        allowed=1,
        denied=2,
        lineage=1,
        revisions=(LOST, REVISION),
        without_bundle=(LOST,),
    )


def test_the_manifest_lists_every_other_file(pack: Path) -> None:
    manifest = json.loads((pack / "manifest.json").read_text())
    assert manifest["revisions"] == [
        {"revision": LOST, "sequence": 40, "decisions": 1, "bundle": None},
        {"revision": REVISION, "sequence": 41, "decisions": 1, "bundle": BUNDLE},
    ]
    assert manifest["files"] == [
        {
            "name": name,
            "sha256": hashlib.sha256((pack / name).read_bytes()).hexdigest(),
            "bytes": (pack / name).stat().st_size,
        }
        for name in FILES
        if name != "manifest.json"
    ]


def test_the_envelope_is_dsse_around_an_in_toto_statement(pack: Path, key: SigningKey) -> None:
    # Rebuilt here from the two specifications, not from our own functions.
    envelope = json.loads((pack / "manifest.dsse.json").read_text())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    payload = base64.b64decode(envelope["payload"])
    message = f"DSSEv1 28 application/vnd.in-toto+json {len(payload)} ".encode() + payload
    (signature,) = envelope["signatures"]
    assert signature["keyid"] == "audit-1"
    public = key.private.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(base64.b64decode(signature["sig"]), message, ec.ECDSA(hashes.SHA256()))
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert [subject["name"] for subject in statement["subject"]] == FILES


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_one_changed_byte_is_named(pack: Path, trust: Trust, name: str, place: str) -> None:
    raw = bytearray((pack / name).read_bytes())
    raw[{"first": 0, "middle": len(raw) // 2, "last": -1}[place]] ^= 1
    (pack / name).write_bytes(bytes(raw))
    assert refusal(pack, trust) == f"{name} was changed"


@pytest.mark.parametrize("name", FILES)
def test_a_removed_file_is_named(pack: Path, trust: Trust, name: str) -> None:
    (pack / name).unlink()
    assert refusal(pack, trust) == f"{name} is missing"


@pytest.mark.parametrize("name", ["extra.txt", "bundles/extra.tar.gz", ".hidden", "new/file"])
def test_an_added_file_is_named(pack: Path, trust: Trust, name: str) -> None:
    (pack / name).parent.mkdir(exist_ok=True)
    (pack / name).write_text("x")
    assert refusal(pack, trust) == f"{name} was added"


def test_everything_that_is_wrong_is_named_at_once(pack: Path, trust: Trust) -> None:
    (pack / "lineage.jsonl").unlink()
    (pack / "decisions.jsonl").write_text("")
    (pack / "extra").write_text("")
    assert refusal(pack, trust) == (
        "decisions.jsonl was changed; extra was added; lineage.jsonl is missing"
    )


def test_a_link_is_no_file(pack: Path, trust: Trust, tmp_path: Path) -> None:
    (pack / "lineage.jsonl").rename(tmp_path / "lineage.jsonl")
    (pack / "lineage.jsonl").symlink_to(tmp_path / "lineage.jsonl")
    assert refusal(pack, trust) == "lineage.jsonl is missing; lineage.jsonl is no plain file"


def _resigned(envelope: dict[str, Any]) -> None:
    # The payload of another signer, the signature of ours.
    payload = json.loads(base64.b64decode(envelope["payload"]))
    payload["predicate"]["counts"]["denied"] = 0
    envelope["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()


def _swapped(envelope: dict[str, Any]) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    raw = stranger.sign(base64.b64decode(envelope["payload"]), ec.ECDSA(hashes.SHA256()))
    envelope["signatures"][0]["sig"] = base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_resigned, "the signature in manifest.dsse.json does not match"),
        (_swapped, "the signature in manifest.dsse.json does not match"),
        (lambda e: e["signatures"].clear(), "manifest.dsse.json is malformed"),
        (lambda e: e["signatures"].append(e["signatures"][0]), "manifest.dsse.json is malformed"),
        (
            lambda e: e["signatures"][0].update(keyid="eve"),
            "manifest.dsse.json is signed by 'eve', which is not trusted",
        ),
        (
            lambda e: e.update(payloadType="text/plain"),
            "manifest.dsse.json is signed by 'audit-1', which is not trusted",
        ),
        (lambda e: e.clear(), "manifest.dsse.json is malformed"),
    ],
    ids=["payload", "signature", "none", "two", "key", "type", "empty"],
)
def test_a_forged_envelope_is_refused(
    pack: Path, trust: Trust, change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    envelope = json.loads((pack / "manifest.dsse.json").read_text())
    change(envelope)
    (pack / "manifest.dsse.json").write_text(json.dumps(envelope))
    assert refusal(pack, trust) == problem


def test_without_an_envelope_nothing_is_believed(pack: Path, trust: Trust) -> None:
    (pack / "manifest.dsse.json").unlink()
    assert refusal(pack, trust) == "manifest.dsse.json is missing"
    with pytest.raises(NotFoundError):
        verify(pack / "nowhere", trust)


def test_a_whole_pack_of_a_stranger_is_refused(tmp_path: Path, trust: Trust, bundle: bytes) -> None:
    generate_key(tmp_path / "eve.pem")
    eve = SigningKey.load(tmp_path / "eve.pem", id="audit-1")
    forged = _build(tmp_path / "forged", eve, bundle)
    assert refusal(forged, trust) == "the signature in manifest.dsse.json does not match"


def test_a_bundle_that_is_not_what_decided_is_refused(
    tmp_path: Path, key: SigningKey, trust: Trust
) -> None:
    other = {"dataspine/x.rego": b"package dataspine.x\n\nallow := true\n"}
    lying = sign(Content(other, "", REVISION), key, sequence=41, channel="stable")
    assert refusal(_build(tmp_path / "pack", key, lying), trust) == (
        f"{BUNDLE} is not the content of {REVISION}"
    )


class Broken(Rows):
    """Loses its connection half-way."""

    def lineage(self, period: Period) -> Iterable[Mapping[str, Any]]:
        yield {}
        raise ConnectionError


def test_a_failed_build_leaves_nothing_behind(
    tmp_path: Path, key: SigningKey, bundle: bytes
) -> None:
    with pytest.raises(ConnectionError):
        build(tmp_path / "pack", workspace="shop", period=PERIOD, sources=Broken(bundle), key=key)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_overwritten(
    pack: Path, key: SigningKey, trust: Trust, bundle: bytes
) -> None:
    with pytest.raises(ConflictError):
        _build(pack, key, bundle)
    assert verify(pack, trust).decisions == 3


def test_a_period_ends_after_it_begins() -> None:
    with pytest.raises(InputError):
        Period(UNTIL, SINCE)


def _stranger(
    pack: Path,
    key: SigningKey,
    folder: Path,
    *options: str,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str, str]:
    pem = key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "key.pem").write_bytes(pem)
    # -B, else a file beside it could leave its compiled form there.
    command = [sys.executable, "-B", *(options or ["-I"]), str(pack / "verify.py")]
    run = subprocess.run(
        [*command, str(folder / "key.pem")],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return run.returncode, run.stdout, run.stderr


FORGED = "import sys\nprint('OK: 99 files')\nsys.exit(0)\n"


@pytest.mark.parametrize(
    "name", ["hashlib.py", "base64.py", "__future__.py", "cryptography/__init__.py", "sys.py"]
)
def test_a_file_beside_the_packs_program_is_never_run(
    name: str, pack: Path, key: SigningKey, tmp_path: Path
) -> None:
    (pack / name).parent.mkdir(exist_ok=True)
    (pack / name).write_text(FORGED)

    careless = _stranger(pack, key, tmp_path, "-E")
    careful = _stranger(pack, key, tmp_path)

    assert careless == (2, "", NOT_ISOLATED)
    assert careful == (4, "", f"ALTERED: {name} was added\n")


@pytest.mark.parametrize("name", ["hashlib.py", "sitecustomize.py", "usercustomize.py"])
def test_a_file_that_the_environment_names_is_never_run(
    name: str, pack: Path, key: SigningKey, tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / name).write_text(FORGED)
    environment = {"PYTHONPATH": str(tmp_path / "lib")}
    (pack / "decisions.jsonl").write_text("")

    careful = _stranger(pack, key, tmp_path, environment=environment)

    assert careful == (4, "", "ALTERED: decisions.jsonl was changed\n")


def test_a_python_without_cryptography_names_one_that_has_it(
    pack: Path, key: SigningKey, tmp_path: Path
) -> None:
    assert _stranger(pack, key, tmp_path, "-I", "-S") == (
        2,
        "",
        "this Python has no package cryptography. Use one that has, such as that of a virtual"
        " environment: /path/to/venv/bin/python -I verify.py PUBLIC_KEY.pem\n",
    )


def test_a_stranger_verifies_with_the_packs_own_program(
    pack: Path, key: SigningKey, tmp_path: Path
) -> None:
    assert "dataspine" not in (pack / "verify.py").read_text()
    assert _stranger(pack, key, tmp_path) == (
        0,
        "OK: 5 files, 3 decisions and 1 lineage events from 2026-11-01T00:00:00Z"
        " to 2026-12-01T00:00:00Z, signed by audit-1\n",
        "",
    )
    (pack / "decisions.jsonl").write_text("")
    (pack / "extra").write_text("")
    assert _stranger(pack, key, tmp_path) == (
        4,
        "",
        "ALTERED: decisions.jsonl was changed\nALTERED: extra was added\n",
    )
    generate_key(tmp_path / "other.pem")
    other = SigningKey.load(tmp_path / "other.pem", id="audit-1")
    assert _stranger(pack, other, tmp_path) == (
        4,
        "",
        "ALTERED: the signature in manifest.dsse.json does not match\n",
    )


def test_the_guide_says_how_and_what_is_not_proved(pack: Path) -> None:
    guide = (pack / "VERIFY.md").read_text()

    commands = [line.strip() for line in guide.splitlines() if line.startswith("    ")]
    assert "python -I verify.py KEY.pem" in commands
    assert "/path/to/venv/bin/python -I verify.py KEY.pem" in commands
    assert not re.search(r"python (?!-I)verify\.py", guide)
    assert "**Completeness.**" in guide
    assert "**Origin before signing.**" in guide


def test_a_pack_is_its_owner_s_alone(pack: Path) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in pack.rglob("*") if path.is_file()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in (pack, pack / "bundles")}

    assert (modes, folders) == ({0o600}, {0o700})


def test_the_guide_names_the_key(pack: Path, key: SigningKey) -> None:
    guide = (pack / "VERIFY.md").read_text()
    der = key.private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert hashlib.sha256(der).hexdigest() in guide
    assert "`audit-1`" in guide
    assert "[[" not in guide
