"""A tiny bundle source for tests: builds and signs snapshots of a few rules in memory."""

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from dataspine.bundles import TrustedKey
from dataspine.core.canonical import canonical, parse_json, sha256
from dataspine.core.errors import InputError
from dataspine.decisions.control import gunzip

RULES = """
package dataspine.main

_policy := {"revision": manifest.revision, "sequence": manifest.metadata.sequence} if {
	some bundle in data.system.bundles
	manifest := bundle.manifest
	"dataspine" in manifest.roots
}

schema_publish := {
	"allow": count(_violations) == 0,
	"violations": [violation | some violation in _violations],
	"obligations": [{"type": "mask", "path": "/facts", "field": "email", "method": "hmac"}],
	"policy": _policy,
	"valid_until": "2027-03-31T00:00:00Z",
}

_violations contains {
	"code": "contract.owner_missing", "severity": "error", "message": "no owner",
	"path": "/facts/metadata", "remediation": "Name an owner.", "controls": ["C-1"], "line": 3,
} if not input.facts.metadata.owner

# Wrong in one way each, chosen by a fact.
route_deploy := input.facts.answer

query_release := 1 if input.facts.conflict
query_release := 2 if input.facts.conflict

# METADATA
# scope: document
# compile:
#   unknowns: [input.row]
row_replicate_filter if input.row.country in input.facts.allowed

row_replicate_filter if input.facts.everywhere == true

row_replicate_filter if {
	input.facts.outside
	lower(input.row.country) == "de"
}
"""


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def events_of(chunk: bytes) -> list[dict[str, Any]]:
    """Return a chunk's events but for looks at OPA's own state; raise as the decision log does."""
    events = parse_json(bytes(gunzip(chunk, 64 * 1_048_576)), max_bytes=64 * 1_048_576)
    if not isinstance(events, list):
        raise InputError("no array")
    return [each for each in events if not str(each.get("path", "")).startswith("system/")]


class MemorySource:
    """Publishes bundles to one waiting OPA."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self._changed = threading.Condition()
        self._bundle: tuple[str, bytes] | None = None

    def current(self) -> tuple[str, bytes] | None:
        with self._changed:
            return self._bundle

    def wait(self, etag: str | None, seconds: float) -> tuple[str, bytes] | None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._bundle is not None and self._bundle[0] != etag, seconds
            )
            found = self._bundle
        return found if found is not None and found[0] != etag else None

    def trusted_keys(self) -> Sequence[TrustedKey]:
        public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return [TrustedKey("test", "ES256", public.decode(), ("dev",))]

    def publish(
        self,
        revision: str,
        sequence: int,
        rules: str = RULES,
        *,
        key: ec.EllipticCurvePrivateKey | None = None,
        signed: bool = True,
    ) -> str:
        manifest = {
            "revision": revision,
            "roots": ["dataspine"],
            "rego_version": 1,
            "metadata": {"sequence": sequence, "channel": "dev"},
        }
        files = {".manifest": canonical(manifest), "dataspine/main/main.rego": rules.encode()}
        if signed:
            files[".signatures.json"] = self._signatures(files, key or self.key)
        data = _archive(files)
        etag = sha256(data)
        with self._changed:
            self._bundle = (etag, data)
            self._changed.notify_all()
        return etag

    def _signatures(self, files: Mapping[str, bytes], key: ec.EllipticCurvePrivateKey) -> bytes:
        payload = {
            "files": [
                {"name": n, "hash": hashlib.sha256(d).hexdigest(), "algorithm": "SHA-256"}
                for n, d in sorted(files.items())
            ]
        }
        head = {"alg": "ES256", "kid": "test", "typ": "JWT"}
        text = f"{_b64(json.dumps(head).encode())}.{_b64(json.dumps(payload).encode())}"
        r, s = utils.decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return json.dumps({"signatures": [f"{text}.{_b64(signature)}"]}).encode()


def _archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in sorted(files.items()):
            info = tarfile.TarInfo(f"/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)
