"""The keys that sign bundles and the ones that verify them: ES256 and RS256.

A private key is a file, an environment variable, or a command that asks whoever holds it, such as
a KMS; it is always named by reference.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from dataspine.core.errors import (
    ConflictError,
    DataSpineError,
    InputError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
    of_system,
)
from dataspine.core.files import write_new
from dataspine.core.process import run

__all__ = ["CommandKey", "Signer", "SigningKey", "Trust", "TrustedKey", "generate_key"]

ALGORITHMS = ("ES256", "RS256")
_HALF = 32
_RSA_BITS = 3072
_RSA_LEAST = 2048
_COMMAND_SECONDS = 30.0

Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Public = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class Signer(Protocol):
    """What signs a bundle."""

    @property
    def id(self) -> str:
        """The key's id, as those who trust it call it."""
        ...

    @property
    def algorithm(self) -> str:
        """``ES256`` or ``RS256``."""
        ...

    def signature(self, message: bytes) -> bytes:
        """Return the signature as a JWT has it: ``r || s`` for ES256, PKCS #1 for RS256."""
        ...


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key (PEM) and the channels it may sign for."""

    id: str
    algorithm: str
    pem: str
    channels: tuple[str, ...]

    @classmethod
    def of_pem(cls, id: str, pem: str, channels: tuple[str, ...]) -> TrustedKey:  # noqa: A002 - the word of trust
        """Return a key whose algorithm its kind says; raise ``IntegrityError`` for another."""
        for algorithm in ALGORITHMS:
            key = cls(id, algorithm, pem, channels)
            if _fits(_read(pem), algorithm):
                return key
        raise _bad_key(id, "P-256 or RSA")

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the key (DER), in hex; raises ``IntegrityError`` for one that is none."""
        return _fingerprint(self._public())

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Tell whether a JWT's signature of a message is this key's."""
        public = self._public()
        try:
            if isinstance(public, rsa.RSAPublicKey):
                public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            elif len(signature) != 2 * _HALF:
                return False
            else:
                r, s = (int.from_bytes(p, "big") for p in (signature[:_HALF], signature[_HALF:]))
                der = utils.encode_dss_signature(r, s)
                public.verify(der, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def _public(self) -> Public:
        public = _read(self.pem)
        if not _fits(public, self.algorithm):
            kind = "RSA" if self.algorithm == "RS256" else "P-256"
            raise _bad_key(self.id, kind)
        return cast("Public", public)


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count. Several keys of a channel count at once: that is a rotation."""

    keys: tuple[TrustedKey, ...]

    def key(self, key_id: str, algorithm: str) -> TrustedKey:
        """Return a key by its id; raise ``IntegrityError`` when nobody trusts it."""
        for key in self.keys:
            # The key says which algorithm it is for; a signature cannot choose another.
            if (key.id, key.algorithm) == (key_id, algorithm):
                return key
        raise IntegrityError(
            f"signed by {key_id!r} ({algorithm}), which nobody here trusts",
            remedy="See `spine bundle keys`; a key is trusted by its entry in spine.yaml.",
            code="bundle.untrusted",
        )

    def for_channel(self, channel: str) -> tuple[TrustedKey, ...]:
        """Return the keys that may sign for a channel."""
        return tuple(key for key in self.keys if channel in key.channels)

    def id_of(self, fingerprint: str) -> str | None:
        """Return the id that a public key is trusted by, or None."""
        return next((key.id for key in self.keys if key.fingerprint == fingerprint), None)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, P-256 or RSA, with its id."""

    id: str
    private: Private

    @classmethod
    def load(cls, path: Path, *, id: str) -> SigningKey:  # noqa: A002 - the field's name
        """Read a PEM file."""
        try:
            pem = path.read_bytes()
        except FileNotFoundError:
            raise NotFoundError(
                "no such key", where=str(path), remedy="Run `spine init` there."
            ) from None
        except OSError as error:
            raise UnavailableError(
                error.strerror or "unreadable",
                where=str(path),
                remedy="Check the file's owner and mode.",
            ) from None
        return cls.parse(pem, id=id, where=str(path))

    @classmethod
    def parse(cls, pem: bytes, *, id: str, where: str) -> SigningKey:  # noqa: A002 - the word of trust
        """Read a key in PEM form; raise ``IntegrityError``, which never shows it."""
        try:
            key = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise IntegrityError(
                "no private key in PEM form",
                where=where,
                remedy="Name an unencrypted PEM key; `spine bundle keys new` makes one.",
                code="bundle.bad_key",
            ) from None
        if not any(_fits(key.public_key(), algorithm) for algorithm in ALGORITHMS):
            raise IntegrityError(
                f"neither a P-256 key nor an RSA key of {_RSA_LEAST} bits or more",
                where=where,
                remedy="`spine bundle keys new` makes one.",
                code="bundle.bad_key",
            )
        return cls(id, cast("Private", key))

    @property
    def algorithm(self) -> str:
        """``ES256`` or ``RS256``."""
        return "RS256" if isinstance(self.private, rsa.RSAPrivateKey) else "ES256"

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the public half (DER), in hex."""
        return _fingerprint(self.private.public_key())

    def trusted(self, *, channels: tuple[str, ...]) -> TrustedKey:
        """Return the public half, trusted for some channels."""
        pem = self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return TrustedKey(self.id, self.algorithm, pem.decode("ascii"), channels)

    def der_signature(self, message: bytes) -> bytes:
        """Return the signature as DSSE and openssl have it: ASN.1 for ES256."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))

    def signature(self, message: bytes) -> bytes:
        """Return the signature as a JWT has it."""
        return _as_jwt(self.der_signature(message), self.algorithm)


@dataclass(frozen=True, slots=True)
class CommandKey:
    """A key that a command holds, such as a KMS client.

    The command gets the message, or its SHA-256 when ``input`` is ``digest``, on standard input. It
    answers the signature on standard output, binary or in base64: ASN.1 for ES256, PKCS #1 for
    RS256, as KMS clients and ``openssl dgst`` write it.
    """

    id: str
    algorithm: str
    command: tuple[str, ...]
    input: Literal["message", "digest"] = "message"
    seconds: float = _COMMAND_SECONDS

    def signature(self, message: bytes) -> bytes:
        """Return the signature as a JWT has it, or raise ``UnavailableError``."""
        data = message if self.input == "message" else hashlib.sha256(message).digest()
        try:
            ended = run(self.command, seconds=self.seconds, data=data)
        except OSError as error:
            raise self._failed(str(error) or type(error).__name__) from None
        if ended.code != 0:
            said = ended.complaint[-300:].decode("utf-8", "replace").strip()
            raise self._failed(f"it ended with {ended.code}: {said or 'it said nothing'}")
        try:
            return _as_jwt(_binary(ended.output), self.algorithm)
        except (ValueError, OverflowError):
            raise self._failed(f"its answer is no {self.algorithm} signature") from None

    def _failed(self, problem: str) -> DataSpineError:
        return UnavailableError(
            f"the command of key {self.id!r} did not sign: {problem}",
            where=self.command[0],
            remedy="Correct `keys` in your own data-spine/config.yaml.",
            code="bundle.key_command",
        )


def generate_key(path: Path, algorithm: str = "ES256") -> None:
    """Write a new key, mode 0600; an existing file is never overwritten."""
    if algorithm not in ALGORITHMS:
        raise InputError(
            f"{algorithm!r} is no algorithm of a key", remedy=f"Use {' or '.join(ALGORITHMS)}."
        )
    key: Private
    if algorithm == "RS256":
        key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        write_new(path, pem)
    except FileExistsError:
        raise ConflictError(
            "a key is there already",
            where=str(path),
            remedy="Keep it, or choose another file.",
            code="bundle.key_exists",
        ) from None
    except OSError as error:
        raise of_system(error) or InputError(
            error.strerror or "cannot be written", where=str(path), remedy="Choose another file."
        ) from None


def _read(pem: str) -> object:
    try:
        return serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None


def _fits(public: object, algorithm: str) -> bool:
    if algorithm == "ES256":
        return isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name == "secp256r1"
    return isinstance(public, rsa.RSAPublicKey) and public.key_size >= _RSA_LEAST


def _bad_key(key_id: str, kind: str) -> IntegrityError:
    return IntegrityError(
        f"the trusted key {key_id!r} is no {kind} public key in PEM form",
        where="trust",
        remedy="Correct its entry; `spine bundle keys new` prints a whole one.",
        code="bundle.bad_key",
    )


def _fingerprint(public: Public) -> str:
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def _as_jwt(signature: bytes, algorithm: str) -> bytes:
    if algorithm == "RS256":
        if len(signature) < _RSA_LEAST // 8:
            raise ValueError("too short")
        return signature
    r, s = utils.decode_dss_signature(signature)
    return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")


def _binary(answer: bytes) -> bytes:
    # A binary signature is never base64 from its first to its last byte.
    try:
        return base64.b64decode(b"".join(answer.split()), validate=True)
    except binascii.Error:
        return answer
