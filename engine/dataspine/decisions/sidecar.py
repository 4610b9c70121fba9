"""A stock OPA beside an application: its configuration, its command line, its discovery bundle.

Flags and file belong together: authentication, authorisation and addresses are flags of OPA.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataspine.bundles import SigningKey, TrustedKey
from dataspine.bundles.signing import seal
from dataspine.core.canonical import canonical, digest
from dataspine.core.errors import InputError
from dataspine.core.token import token_hash
from dataspine.decisions.control import BUNDLE

__all__ = ["INSTANCE_HEADER", "Discovery", "Sidecar"]

INSTANCE_HEADER = "X-Spine-Instance"
_SERVICE = "spine"
_UPLOAD_BYTES = 1_048_576
_LONG_POLL_SECONDS = 30
_ROOT = "spine"

# Unlike a policy bundle, this one reads the OPA that it runs in: its labels choose the channel.
_REGO = b"""package spine.discovery

ring := object.get(opa.runtime(), ["config", "labels", "ring"], "")

channel := object.get(data.spine.rings, ring, data.spine.fallback)

config := {
	"bundles": {data.spine.name: object.union(
		data.spine.bundle,
		{"resource": sprintf("bundles/%s.tar.gz", [channel])},
	)},
	"keys": data.spine.keys[channel],
}
"""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One OPA that follows a channel, or the ring in its labels when ``channel`` is None.

    ``url`` is where `spine serve` listens; paths in the files are relative to the folder that
    holds them, where OPA is started. ``authenticated`` sends the token in ``instance-token``.
    """

    url: str
    instance: str
    keys: Sequence[TrustedKey]
    channel: str | None
    labels: Mapping[str, str] = field(default_factory=dict)
    authenticated: bool = True
    address: str = "unix://opa.sock"
    diagnostic: str = "127.0.0.1:8282"

    def __post_init__(self) -> None:
        """Refuse what OPA would read as a variable of its environment."""
        for value in (self.url, self.instance, *self.labels, *self.labels.values()):
            if "${" in value or not value.isprintable():
                raise InputError(
                    f"{value!r} has characters that a configuration of OPA may not have",
                    remedy="Use plain words.",
                )

    def configuration(self) -> dict[str, Any]:
        """Return OPA's configuration file."""
        service: dict[str, Any] = {
            "url": self.url,
            "headers": {INSTANCE_HEADER: self.instance},
            "response_header_timeout_seconds": _LONG_POLL_SECONDS * 2,
        }
        if self.authenticated:
            service["credentials"] = {"bearer": {"token_path": "instance-token"}}
        return {
            "labels": {"app": self.instance, **self.labels},
            "persistence_directory": "state",
            "services": {_SERVICE: service},
            "keys": keys(self.keys),
            **self._policy(),
            "decision_logs": {
                "service": _SERVICE,
                "reporting": {
                    # OPA refuses an immediate log beside a periodic discovery.
                    "trigger": "periodic" if self.channel is None else "immediate",
                    "min_delay_seconds": 1,
                    "max_delay_seconds": 5,
                    "upload_size_limit_bytes": _UPLOAD_BYTES,
                },
                # Inside our signed root: whoever may write system.log can silence the log.
                "mask_decision": "/dataspine/log/mask",
                "drop_decision": "/dataspine/log/drop",
            },
            "default_authorization_decision": "/dataspine/authz/allow",
            "status": {"service": _SERVICE},
        }

    def command(self, opa: str = "opa") -> list[str]:
        """Return the arguments that start OPA in the folder of its files."""
        return [
            *(opa, "run", "--server", "--config-file", "opa.json"),
            *("--authentication=token", "--authorization=basic"),
            *("--addr", self.address, "--diagnostic-addr", self.diagnostic),
            *("--skip-version-check", "--log-level", "error", "access.json"),
        ]

    def _policy(self) -> dict[str, Any]:
        if self.channel is not None:
            resource = {"resource": f"bundles/{self.channel}.tar.gz"}
            return {"bundles": {BUNDLE: {**_bundle(), **resource}}}
        return {
            "discovery": {
                **_bundle(),
                "resource": "discovery/bundle.tar.gz",
                "decision": "spine/discovery/config",
            }
        }


@dataclass(frozen=True, slots=True)
class Discovery:
    """Which channel each ring follows, and whose signatures count there.

    A ring that is not named follows ``fallback``.
    """

    rings: Mapping[str, str]
    fallback: str
    keys: Sequence[TrustedKey]

    @property
    def digest(self) -> str:
        """Return ``sha256:<hex>`` of what is said; signatures differ each time."""
        return digest(self._data())

    def signed(self, key: SigningKey) -> bytes:
        """Return the signed bundle."""
        manifest = {
            "revision": self.digest,
            "roots": [_ROOT],
            "rego_version": 1,
        }
        files = {
            ".manifest": canonical(manifest),
            f"{_ROOT}/data.json": canonical(self._data()),
            f"{_ROOT}/discovery/discovery.rego": _REGO,
        }
        return seal(files, key)

    def _data(self) -> dict[str, Any]:
        channels = sorted({self.fallback, *self.rings.values()})
        return {
            "name": BUNDLE,
            "rings": dict(self.rings),
            "fallback": self.fallback,
            "bundle": _bundle(),
            "keys": {c: keys([k for k in self.keys if c in k.channels]) for c in channels},
        }


def access(token: str) -> dict[str, Any]:
    """Return the file that lets callers with this token in; it holds the token's hash alone."""
    return {"sidecar": {"tokens": [token_hash(token)]}}


def keys(trusted: Sequence[TrustedKey]) -> dict[str, Any]:
    """Return public keys as OPA's configuration has them."""
    return {key.id: {"algorithm": key.algorithm, "key": key.pem} for key in trusted}


def _bundle() -> dict[str, Any]:
    return {
        "service": _SERVICE,
        "persist": True,
        "signing": {},  # present: a signature by one of `keys` is required
        "polling": {
            "min_delay_seconds": 1,
            "max_delay_seconds": 5,
            "long_polling_timeout_seconds": _LONG_POLL_SECONDS,
        },
    }
