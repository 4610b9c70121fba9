"""ES256 signatures as stock OPA verifies them, and whose signatures count.

``.signatures.json`` holds one compact JWT over the list of files and their hashes; the key id in
its
header picks the key (OPA's bundle signature format).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from dataspine.bundles import archive
from dataspine.bundles.content import (
    MANIFEST,
    SIGNATURES,
    Content,
    check,
    content_digest,
    file_hash,
    require_files,
    unfiltered_rules,
)
from dataspine.core.canonical import canonical, parse_json
from dataspine.core.errors import ConflictError, InputError, IntegrityError, NotFoundError

__all__ = ["Bundle", "SigningKey", "Trust", "TrustedKey", "generate_key", "seal", "sign", "verify"]

ALGORITHM = "ES256"
_HALF = 32
MAX_SIGNATURES = 16 * 1_048_576
_MANIFEST_KEYS = {"revision", "roots", "rego_version", "metadata"}


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key (PEM) and the channels it may sign for."""

    id: str
    algorithm: str
    pem: str
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count."""

    keys: tuple[TrustedKey, ...]

    def key(self, key_id: str) -> TrustedKey:
        """Return a key by its id; raise ``IntegrityError`` when nobody trusts it."""
        for key in self.keys:
            if key.id == key_id and key.algorithm == ALGORITHM:
                return key
        raise _refused(f"signed by {key_id!r}, which nobody here trusts", "bundle.untrusted")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private P-256 key with its id."""

    id: str
    private: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, path: Path, *, id: str) -> SigningKey:  # noqa: A002 - the field's name
        """Read a PEM file."""
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except FileNotFoundError:
            raise NotFoundError(
                "no such key", where=str(path), remedy="Run `spine init` there."
            ) from None
        except (ValueError, TypeError):
            raise IntegrityError(
                "no private key in PEM form", where=str(path), code="bundle.bad_key"
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise IntegrityError("not a P-256 key", where=str(path), code="bundle.bad_key")
        return cls(id, key)

    def trusted(self, *, channels: tuple[str, ...]) -> TrustedKey:
        """Return the public half, trusted for some channels."""
        pem = self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return TrustedKey(self.id, ALGORITHM, pem.decode("ascii"), channels)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the public half (DER), in hex."""
        der = self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return hashlib.sha256(der).hexdigest()

    def der_signature(self, message: bytes) -> bytes:
        """Return the signature as ASN.1, as DSSE and openssl have it."""
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))

    def signature(self, message: bytes) -> bytes:
        """Return the raw ``r || s`` of a message, 64 bytes."""
        r, s = utils.decode_dss_signature(self.der_signature(message))
        return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle; ``metadata`` is its manifest's, ``key_id`` names who signed."""

    revision: str
    digest: str
    sequence: int
    channel: str
    data: bytes
    files: Mapping[str, bytes]
    metadata: Mapping[str, Any]
    key_id: str


def generate_key(path: Path) -> None:
    """Write a new P-256 key, mode 0600; an existing file is never overwritten."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConflictError(
            "a key is there already",
            where=str(path),
            remedy="Keep it, or choose another file.",
            code="bundle.key_exists",
        ) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)


def sign(
    content: Content,
    key: SigningKey,
    *,
    sequence: int,
    channel: str,
    order: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the signed archive; ``order`` is a rollback's, kept in the manifest's metadata.

    Sequence 0 is a local build: it is signed for channel ``dev`` alone.
    """
    if sequence < 0 or (sequence == 0 and channel != "dev"):
        raise InputError(
            f"sequence {sequence} cannot be signed for channel {channel}",
            remedy="Reserve a sequence: `spine bundle publish`.",
            code="bundle.bad_sequence",
        )
    metadata: dict[str, Any] = {
        "sequence": sequence,
        "channel": channel,
        "content-digest": content.digest,
    }
    unfiltered = unfiltered_rules(content.files)
    if unfiltered:
        metadata["row-rules-without-filter"] = list(unfiltered)
    if order is not None:
        metadata["order"] = dict(order)
    manifest = {
        "revision": content.revision,
        "roots": ["dataspine"],
        "rego_version": 1,
        "metadata": metadata,
    }
    return seal({**content.files, MANIFEST: canonical(manifest)}, key)


def seal(files: Mapping[str, bytes], key: SigningKey) -> bytes:
    """Return the archive of these files with their signature, as stock OPA verifies it."""
    payload = {
        "files": [
            {"name": name, "hash": file_hash(name, files[name]), "algorithm": "SHA-256"}
            for name in sorted(files)
        ],
    }
    header = {"alg": ALGORITHM, "kid": key.id, "typ": "JWT"}
    message = b".".join(_encode(canonical(part)) for part in (header, payload))
    token = b".".join((message, _encode(key.signature(message)))).decode("ascii")
    return archive.write({**files, SIGNATURES: canonical({"signatures": [token]})})


def verify(
    data: bytes, trust: Trust, *, channel: str | None = None, opa: Path | None = None
) -> Bundle:
    """Open a bundle that may be evaluated, or raise ``IntegrityError`` naming what is wrong.

    With ``opa`` its rules are compiled too; ``InputError`` names an unsafe built-in.
    """
    files = archive.read(data)
    # 1. The signature, by a key that is trusted.
    payload, key = _verified_payload(files.pop(SIGNATURES, None), trust)
    # 2. Exactly the signed files, each unchanged.
    _require_same(files, payload)
    # 3. Only now is anything believed that the files say.
    require_files(files)
    revision, metadata = _manifest(files.get(MANIFEST))
    sequence, signed_for = metadata["sequence"], metadata["channel"]
    if signed_for not in key.channels:
        raise _refused(f"key {key.id!r} may not sign for channel {signed_for}", "bundle.untrusted")
    if channel is not None and signed_for != channel:
        raise _refused(f"signed for channel {signed_for}, not {channel}", "bundle.wrong_channel")
    whole = content_digest(files)
    if not revision.endswith("+" + whole.replace(":", ".")):
        raise _refused("the revision is not the content's", "bundle.wrong_revision")
    if opa is not None:
        check(files, opa)
    return Bundle(revision, whole, sequence, signed_for, data, files, metadata, key.id)


def _manifest(raw: bytes | None) -> tuple[str, Mapping[str, Any]]:
    try:
        manifest = parse_json(raw or b"", where=MANIFEST)
        revision, metadata = manifest["revision"], manifest["metadata"]
        known = set(manifest) == _MANIFEST_KEYS and manifest["rego_version"] == 1
        # Other roots could shadow our rules, or leave room for unsigned ones beside them.
        whole = known and manifest["roots"] == ["dataspine"] and isinstance(revision, str)
        sequence, channel = metadata["sequence"], metadata["channel"]
        dated = type(sequence) is int and sequence >= 0 and isinstance(channel, str)
    except (InputError, KeyError, TypeError):
        whole = dated = False
    if not (whole and dated):
        raise _refused("the manifest is not one of ours: revision, roots, sequence and channel")
    return revision, metadata


def _verified_payload(raw: bytes | None, trust: Trust) -> tuple[dict[str, Any], TrustedKey]:
    if raw is None:
        raise _refused("the bundle is not signed", "bundle.unsigned")
    try:
        (token,) = _parsed(raw)["signatures"]
        head, body, tail = str(token).split(".")
        header, payload = _parsed(_decode(head)), _parsed(_decode(body))
        signature = _decode(tail)
        key_id, algorithm = str(header["kid"]), header["alg"]
    except (InputError, ValueError, KeyError, TypeError, binascii.Error):
        raise _refused("the signature is malformed") from None
    key = trust.key(key_id)
    public = _public(key)
    if algorithm != ALGORITHM or len(signature) != 2 * _HALF:
        raise _refused("only ES256 signatures count")
    r, s = (int.from_bytes(part, "big") for part in (signature[:_HALF], signature[_HALF:]))
    try:
        der = utils.encode_dss_signature(r, s)
        public.verify(der, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise _refused("the signature does not match", "bundle.bad_signature") from None
    return payload, key


def _parsed(raw: bytes) -> Any:
    return parse_json(raw, where=SIGNATURES, max_bytes=MAX_SIGNATURES)


def _public(key: TrustedKey) -> ec.EllipticCurvePublicKey:
    try:
        public = serialization.load_pem_public_key(key.pem.encode())
    except ValueError:
        public = None
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp256r1":
        raise IntegrityError(
            f"the trusted key {key.id!r} is no P-256 public key in PEM form",
            where="spine.yaml",
            remedy="Correct its entry under trust.",
            code="bundle.bad_key",
        )
    return public


def _require_same(files: Mapping[str, bytes], payload: Mapping[str, Any]) -> None:
    try:
        listed = [(str(e["name"]), e["hash"], e["algorithm"]) for e in payload["files"]]
    except (KeyError, TypeError):
        raise _refused("the signature lists no files") from None
    signed = {name: hashed for name, hashed, algorithm in listed if algorithm == "SHA-256"}
    if len(signed) != len(listed):
        raise _refused("the signature lists a file twice, or with another hash than SHA-256")
    for name in sorted(set(signed) | set(files)):
        if name not in files:
            raise _refused(f"{name} is missing", "bundle.tampered")
        if name not in signed:
            raise _refused(f"{name} was added", "bundle.tampered")
        if _hash_or_none(name, files[name]) != signed[name]:
            raise _refused(f"{name} was changed", "bundle.tampered")


def _hash_or_none(name: str, raw: bytes) -> str | None:
    try:
        return file_hash(name, raw)
    except ValueError:  # no JSON any more
        return None


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _refused(problem: str, code: str = "bundle.malformed") -> IntegrityError:
    return IntegrityError(problem, remedy="Do not use it; publish it again.", code=code)
