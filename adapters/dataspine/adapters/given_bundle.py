"""A bundle from outside the workspace, with the keys that may have signed it.

A change under review must not choose the rules that judge it, so both come from elsewhere.
"""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dataspine.bundles import Bundle, Trust, TrustedKey, signed_by, verify
from dataspine.bundles.archive import MAX_PACKED
from dataspine.core import secret
from dataspine.core.download import UnsafeAddressError, fetch
from dataspine.core.errors import InputError, IntegrityError, UnavailableError, placed
from dataspine.core.files import read_bytes

__all__ = ["GivenBundle", "read_archive", "verified_by"]

# Signed for whichever of these: the caller chose the bundle and the keys.
_CHANNELS = ("dev", "candidate", "canary", "stable")
_FETCH_SECONDS = 30.0
_TOO_LARGE = "Give a bundle that `spine bundle build` made."


@dataclass(frozen=True, slots=True)
class GivenBundle:
    """One verified archive, served to a supervised OPA from memory."""

    bundle: Bundle
    trust: Trust

    @classmethod
    def load(cls, reference: str, keys: Sequence[str], *, opa: Path) -> GivenBundle:
        """Read and verify a bundle (file or URL) by public keys (``file:``, ``env:``, or a path).

        Raises ``IntegrityError`` unless one of the keys signed it and all of it holds.
        """
        if not keys:
            raise InputError(
                "a given bundle needs the key that signed it",
                where="--trust",
                remedy="Name the public key, from outside the change that is judged.",
                code="input.no_trust",
            )
        with placed(reference):
            bundle, trust = _verified(read_archive(reference), keys, opa)
        return cls(bundle, trust)

    def current(self) -> tuple[str, bytes] | None:
        """Return the ETag and the bytes."""
        return self.bundle.digest.removeprefix("sha256:")[:16], self.bundle.data

    def wait(self, etag: str | None, seconds: float) -> tuple[str, bytes] | None:
        """Return the bundle to who has another, None after ``seconds`` to who has this one."""
        current = self.current()
        if current is not None and current[0] != etag:
            return current
        threading.Event().wait(seconds)
        return None

    def trusted_keys(self) -> Sequence[TrustedKey]:
        """Return the keys that may have signed it."""
        return self.trust.keys


def verified_by(data: bytes, keys: Sequence[str], opa: Path, *, channel: str | None) -> Bundle:
    """Return the bundle of an archive that one of the keys signed."""
    return _verified(data, keys, opa, channel)[0]


def read_archive(reference: str) -> bytes:
    """Return the bytes of a bundle: a file, or an address (https, or http on loopback)."""
    if urlsplit(reference).scheme in {"http", "https"}:
        return _fetch(reference)
    return read_bytes(Path(reference), MAX_PACKED, remedy=_TOO_LARGE)


def _verified(
    data: bytes, keys: Sequence[str], opa: Path, channel: str | None = None
) -> tuple[Bundle, Trust]:
    # The id in a signature only picks a key; whoever gives keys means whichever fits.
    key_id = signed_by(data) or ""
    trusts = [Trust((_trusted(key_id, each),)) for each in keys]
    for trust in trusts[:-1]:
        with contextlib.suppress(IntegrityError):
            return verify(data, trust, channel=channel, opa=opa), trust
    return verify(data, trusts[-1], channel=channel, opa=opa), trusts[-1]


def _trusted(key_id: str, reference: str) -> TrustedKey:
    try:
        return TrustedKey.of_pem(key_id, _pem(reference), _CHANNELS)
    except IntegrityError as error:
        raise IntegrityError(
            "no P-256 or RSA public key in PEM form",
            where=f"--trust {reference}",
            remedy="Name the public key; `spine bundle keys new` prints it beside the private one.",
            code=error.code,
        ) from None


def _pem(reference: str) -> str:
    if reference.startswith(("file:", "env:")):
        return secret.resolve(reference)
    return secret.resolve(f"file:{reference}")


def _fetch(url: str) -> bytes:
    data = io.BytesIO()
    try:
        fetch(url, data, limit=MAX_PACKED, end=time.monotonic() + _FETCH_SECONDS)
    except UnsafeAddressError:
        raise InputError(
            "a bundle is fetched over HTTPS, or from loopback",
            where=url.partition("?")[0],
            remedy="Use https://…, or give a file.",
        ) from None
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"the bundle cannot be fetched: {error}",
            where=url.partition("?")[0],
            remedy="Check the address, or give a file.",
            code="bundle.not_fetched",
        ) from None
    return data.getvalue()
