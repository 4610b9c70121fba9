"""Masks: keyed, deterministic per purpose, null stays null, unknown refused."""

import hashlib
import hmac

import pytest

from dataspine.cdc.mask import Masker
from dataspine.core.errors import InputError

KEY = b"k" * 32
VALUES = ["anna@example.org", None, "Åsa", "", "anna@example.org", "4111111111111111"]


def test_hmac_is_hmac_sha256_under_the_purposes_key() -> None:
    derived = hmac.digest(KEY, b"spine.mask:analytics", "sha256")
    expected = [
        v if v is None else hmac.new(derived, v.encode(), "sha256").hexdigest() for v in VALUES
    ]
    assert Masker(KEY, "analytics").column("hmac", VALUES) == expected


def test_purposes_do_not_join() -> None:
    assert Masker(KEY, "a").hmac("x") != Masker(KEY, "b").hmac("x")
    assert Masker(KEY, "a").hmac("x") != hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("redact", ["[redacted]", None] + ["[redacted]"] * 4),
        ("null", [None] * 6),
        ("last4", ["****.org", None, "****", "****", "****.org", "****1111"]),
    ],
)
def test_methods(method: str, expected: list[str | None]) -> None:
    assert Masker(KEY, "a").column(method, VALUES) == expected


def test_unknown_method_and_short_key_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        Masker(KEY, "a").column("md5", VALUES)
    assert caught.value.code == "cdc.unknown_mask"
    with pytest.raises(InputError):
        Masker(b"short", "a")
