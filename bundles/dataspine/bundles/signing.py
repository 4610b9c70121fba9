"""Signatures as stock OPA verifies them.

``.signatures.json`` holds one compact JWT over the list of files and their hashes; the key id in
its header picks the key (OPA's bundle signature format).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataspine.bundles import archive
from dataspine.bundles.content import (
    MANIFEST,
    SIGNATURES,
    Content,
    content_digest,
    file_hash,
    is_whole,
    require_files,
    unfiltered_rules,
)
from dataspine.bundles.keys import Signer, Trust, TrustedKey
from dataspine.bundles.origin import Origin
from dataspine.core.canonical import canonical, parse_json
from dataspine.core.errors import InputError, IntegrityError

__all__ = ["Bundle", "pack", "seal", "sign", "signed_by", "unpack", "verify"]

MAX_SIGNATURES = 16 * 1_048_576
IS_WHOLE = "data-is-whole"
_MANIFEST_KEYS = {"revision", "roots", "rego_version", "metadata"}


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

    @property
    def content(self) -> Content:
        """What was signed: to be signed again, for a rollback or for another channel."""
        return Content(
            _unsigned(self.files), self.digest, self.revision, self.metadata.get(IS_WHOLE) is True
        )

    @property
    def origin(self) -> Origin:
        """Who made it, and from what, as far as its manifest says."""
        return Origin.of(self.metadata.get("origin"))


def pack(content: Content) -> bytes:
    """Return the unsigned archive: equal content gives equal bytes."""
    return archive.write({**content.files, MANIFEST: _manifest_of(content, {})})


def unpack(data: bytes) -> Content:
    """Return the content of an archive, signed or not, without believing any signature.

    Raises ``IntegrityError`` when the revision is not the content's or a file is no rule and no
    data.
    """
    files = archive.read(data)
    files.pop(SIGNATURES, None)
    require_files(files)
    try:
        revision = str(parse_json(files.get(MANIFEST, b""), where=MANIFEST)["revision"])
    except (InputError, KeyError, TypeError):
        raise _refused("the manifest names no revision") from None
    contents = _unsigned(files)
    return Content(contents, _digest(contents, revision), revision)


def sign(
    content: Content,
    key: Signer,
    *,
    sequence: int,
    channel: str,
    origin: Origin | None = None,
    order: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the signed archive; ``origin`` and a rollback's ``order`` stand in its manifest.

    Sequence 0 is a local build: it is signed for channel ``dev`` alone.
    """
    if sequence < 0 or (sequence == 0 and channel != "dev"):
        raise InputError(
            f"sequence {sequence} cannot be signed for channel {channel}",
            remedy="Reserve a sequence: `spine bundle publish`.",
            code="bundle.bad_sequence",
        )
    metadata: dict[str, Any] = {"sequence": sequence, "channel": channel}
    if origin is not None and origin != Origin():
        metadata["origin"] = origin.document()
    if order is not None:
        metadata["order"] = dict(order)
    return seal({**content.files, MANIFEST: _manifest_of(content, metadata)}, key)


def seal(files: Mapping[str, bytes], key: Signer) -> bytes:
    """Return the archive of these files with their signature, as stock OPA verifies it."""
    payload = {
        "files": [
            {"name": name, "hash": file_hash(name, files[name]), "algorithm": "SHA-256"}
            for name in sorted(files)
        ],
    }
    header = {"alg": key.algorithm, "kid": key.id, "typ": "JWT"}
    message = b".".join(_encode(canonical(part)) for part in (header, payload))
    token = b".".join((message, _encode(key.signature(message)))).decode("ascii")
    return archive.write({**files, SIGNATURES: canonical({"signatures": [token]})})


def signed_by(data: bytes) -> str | None:
    """Return the key id that an archive's signature names, None without one; nothing is proved."""
    raw = archive.read(data).get(SIGNATURES)
    return None if raw is None else _token(raw)[1]


def verify(
    data: bytes, trust: Trust, *, channel: str | None = None, opa: Path | None = None
) -> Bundle:
    """Open a bundle that may be evaluated, or raise ``IntegrityError`` naming what is wrong.

    With ``opa`` its rules are compiled too, without the built-ins that no rule may use, and what it
    says of its data is found again.
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
    whole = _digest(files, revision)
    if opa is not None:
        _require_safe(files, metadata, opa)
    return Bundle(revision, whole, sequence, signed_for, data, files, metadata, key.id)


def _unsigned(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: raw for name, raw in files.items() if name not in {MANIFEST, SIGNATURES}}


def _digest(files: Mapping[str, bytes], revision: str) -> str:
    try:
        whole = content_digest(files)
    except ValueError:
        raise _refused("a data file is no JSON") from None
    if not revision.endswith("+" + whole.replace(":", ".")):
        raise _refused("the revision is not the content's", "bundle.wrong_revision")
    return whole


def _require_safe(files: Mapping[str, bytes], metadata: Mapping[str, Any], opa: Path) -> None:
    try:
        found = is_whole(files, opa)
    except InputError as error:
        raise _refused(error.problem, error.code) from None
    if IS_WHOLE in metadata and not found:
        raise _refused("the manifest says that the data is whole, and it is not")


def _manifest_of(content: Content, metadata: Mapping[str, Any]) -> bytes:
    whole: dict[str, Any] = {**metadata, "content-digest": content.digest}
    if content.is_whole:
        # Then no decision looks through all of the data again; see `lib.bundle_data`.
        whole[IS_WHOLE] = True
    unfiltered = unfiltered_rules(content.files)
    if unfiltered:
        whole["row-rules-without-filter"] = list(unfiltered)
    return canonical(
        {
            "revision": content.revision,
            "roots": ["dataspine"],
            "rego_version": 1,
            "metadata": whole,
        }
    )


def _manifest(raw: bytes | None) -> tuple[str, Mapping[str, Any]]:
    try:
        manifest = parse_json(raw or b"", where=MANIFEST)
        revision, metadata = manifest["revision"], manifest["metadata"]
        known = set(manifest) == _MANIFEST_KEYS and manifest["rego_version"] == 1
        # Other roots could shadow our rules, or leave room for unsigned ones beside them.
        whole = known and manifest["roots"] == ["dataspine"] and isinstance(revision, str)
        sequence, channel = metadata["sequence"], metadata["channel"]
        dated = type(sequence) is int and sequence >= 0 and isinstance(channel, str)
        Origin.of(metadata.get("origin"))
    except (InputError, KeyError, TypeError, AttributeError):
        whole = dated = False
    if not (whole and dated):
        raise _refused("the manifest is not one of ours: revision, roots, sequence and channel")
    return revision, metadata


def _verified_payload(raw: bytes | None, trust: Trust) -> tuple[dict[str, Any], TrustedKey]:
    if raw is None:
        raise _refused("the bundle is not signed", "bundle.unsigned")
    algorithm, key_id, payload, message, signature = _token(raw)
    key = trust.key(key_id, algorithm)
    if not key.verifies(message, signature):
        raise _refused("the signature does not match", "bundle.bad_signature")
    return payload, key


def _token(raw: bytes) -> tuple[str, str, dict[str, Any], bytes, bytes]:
    try:
        (token,) = _parsed(raw)["signatures"]
        head, body, tail = str(token).split(".")
        header, payload = _parsed(_decode(head)), _parsed(_decode(body))
        algorithm, key_id = str(header["alg"]), str(header["kid"])
        return algorithm, key_id, payload, f"{head}.{body}".encode(), _decode(tail)
    except (InputError, ValueError, KeyError, TypeError, binascii.Error):
        raise _refused("the signature is malformed") from None


def _parsed(raw: bytes) -> Any:
    return parse_json(raw, where=SIGNATURES, max_bytes=MAX_SIGNATURES)


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
