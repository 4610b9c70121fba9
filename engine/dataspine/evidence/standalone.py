"""Verify an evidence pack: ``python -I verify.py PUBLIC_KEY.pem [FOLDER]``.

Every pack carries this file as ``verify.py``. It needs Python 3.11 and ``cryptography`` alone, and
neither network nor Data Spine. Exit code 0: whole; 2: wrong use; 4: something was changed.
"""

# ruff: noqa: E402 - an import may be what it refuses to run
import sys  # part of the interpreter itself: no file can stand in for it

OK, WRONG_USE, ALTERED = 0, 2, 4
if __name__ == "__main__" and not sys.flags.isolated:
    sys.stderr.write(
        "run it as `python -I verify.py`: without -I Python runs files that stand beside this one\n"
    )
    sys.exit(WRONG_USE)

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError:
    sys.stderr.write(
        "this Python has no package cryptography. Use one that has, such as that of a virtual"
        " environment: /path/to/venv/bin/python -I verify.py PUBLIC_KEY.pem\n"
    )
    sys.exit(WRONG_USE)

__all__ = [
    "ENVELOPE",
    "MANIFEST",
    "PAYLOAD_TYPE",
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "Altered",
    "check",
    "file_digest",
    "pre_authentication",
]

ENVELOPE = "manifest.dsse.json"
MANIFEST = "manifest.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:data-spine:evidence:v1"
MAX_ENVELOPE = 64 * 1_048_576
MAX_FILES = 100_000


class Altered(Exception):  # noqa: N818 - it is a finding
    """The pack is not what was signed; ``findings`` names each thing that is wrong."""

    def __init__(self, findings: list[str]) -> None:
        super().__init__("; ".join(findings))
        self.findings = findings


def check(folder: Path, keys: Mapping[str, bytes]) -> tuple[str, dict[str, Any]]:
    """Return who signed and the signed manifest, or raise ``Altered``.

    ``keys`` are the public keys (PEM) whose signatures count, by key id; the id ``*`` stands for
    any.
    """
    # 1. The signature, before anything that it covers is believed.
    signer, statement = _signed_statement(folder / ENVELOPE, keys)
    # 2. Exactly the signed files, each unchanged.
    signed = _subjects(statement)
    findings = _differences(folder, signed)
    if findings:
        raise Altered(findings)
    # 3. The manifest is one of those files: only now is it read.
    manifest = _object((folder / MANIFEST).read_bytes(), MANIFEST)
    listed = {entry["name"]: entry["sha256"] for entry in manifest["files"]}
    rest = {name: digest for name, digest in signed.items() if name != MANIFEST}
    if listed != rest or statement.get("predicateType") != PREDICATE_TYPE:
        raise Altered([f"{MANIFEST} does not list the signed files"])
    return signer, manifest


def file_digest(path: Path) -> str:
    """Return a file's SHA-256 in hex, reading it in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pre_authentication(payload: bytes) -> bytes:
    """Return what a DSSE signature signs: the PAE of the type and the payload."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _signed_statement(path: Path, keys: Mapping[str, bytes]) -> tuple[str, dict[str, Any]]:
    if not path.is_file() or path.is_symlink():
        raise Altered([f"{ENVELOPE} is missing"])
    if path.stat().st_size > MAX_ENVELOPE:
        raise Altered([f"{ENVELOPE} is too large"])
    envelope = _object(path.read_bytes(), ENVELOPE)
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        (signature,) = envelope["signatures"]
        key_id, raw = str(signature["keyid"]), base64.b64decode(signature["sig"], validate=True)
        kind = envelope["payloadType"]
    except (KeyError, TypeError, ValueError):
        raise Altered([f"{ENVELOPE} is malformed"]) from None
    pem = keys.get(key_id, keys.get("*"))
    if pem is None or kind != PAYLOAD_TYPE:
        raise Altered([f"{ENVELOPE} is signed by {key_id!r}, which is not trusted"])
    _require_signature(pem, raw, pre_authentication(payload))
    return key_id, _object(payload, ENVELOPE)


def _require_signature(pem: bytes, signature: bytes, message: bytes) -> None:
    try:
        public = serialization.load_pem_public_key(pem)
    except ValueError:
        raise Altered(["the trusted key is no public key in PEM form"]) from None
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp256r1":
        raise Altered(["the trusted key is no P-256 key"])
    try:
        public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Altered([f"the signature in {ENVELOPE} does not match"]) from None


def _subjects(statement: Mapping[str, Any]) -> dict[str, str]:
    if statement.get("_type") != STATEMENT_TYPE:
        raise Altered([f"{ENVELOPE} holds no in-toto statement"])
    try:
        pairs = [(str(s["name"]), str(s["digest"]["sha256"])) for s in statement["subject"]]
    except (KeyError, TypeError):
        raise Altered([f"{ENVELOPE} lists no files"]) from None
    if len(dict(pairs)) != len(pairs) or MANIFEST not in dict(pairs):
        raise Altered([f"{ENVELOPE} lists a file twice, or no {MANIFEST}"])
    return dict(pairs)


def _differences(folder: Path, signed: Mapping[str, str]) -> list[str]:
    present: set[str] = set()
    findings: list[str] = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            findings.append(f"{name} is no plain file")
        elif path.is_file() and name != ENVELOPE:
            present.add(name)
        if len(present) > MAX_FILES:
            raise Altered(["there are too many files"])
    findings += [f"{name} is missing" for name in signed.keys() - present]
    findings += [f"{name} was added" for name in present - signed.keys()]
    findings += [
        f"{name} was changed"
        for name in present & signed.keys()
        if file_digest(folder / name) != signed[name]
    ]
    return sorted(findings)


def _object(raw: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Altered([f"{name} is no JSON object"])
    return value


def main(arguments: list[str]) -> int:
    """Check the pack in a folder (default: beside this file) against a public key."""
    if len(arguments) not in {1, 2}:
        sys.stderr.write("usage: python -I verify.py PUBLIC_KEY.pem [FOLDER]\n")
        return WRONG_USE
    folder = Path(arguments[1]) if len(arguments) == 2 else Path(__file__).resolve().parent
    try:
        signer, manifest = check(folder, {"*": Path(arguments[0]).read_bytes()})
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}\n")
        return WRONG_USE
    except Altered as altered:
        sys.stderr.writelines(f"ALTERED: {finding}\n" for finding in altered.findings)
        return ALTERED
    counts, period = manifest["counts"], manifest["period"]
    sys.stdout.write(
        f"OK: {len(manifest['files'])} files, {counts['decisions']} decisions and"
        f" {counts['lineage']} lineage events from {period['from']} to {period['until']},"
        f" signed by {signer}\n"
    )
    return OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
