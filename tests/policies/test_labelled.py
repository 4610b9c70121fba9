"""The labelled fields are whole, and the frozen half is what it was when it was frozen."""

from __future__ import annotations

import hashlib
import itertools

from tests.policies.labelled import FOLDER, read

FROZEN = "6031dbc1edd1e0c560c24cfe1df6b48a941b756d66d042f7c04ae3bbf88f489d"
CATEGORIES = {
    "account", "address", "birth", "card", "contact", "credential", "demographic", "device",
    "health", "identity", "income", "location", "name", "network", "photo", "username", "vehicle",
}  # fmt: skip


def test_frozen_half_is_unchanged() -> None:
    assert hashlib.sha256((FOLDER / "frozen.tsv").read_bytes()).hexdigest() == FROZEN


def test_every_line_is_whole() -> None:
    for field in itertools.chain(read("tuning"), read("frozen")):
        assert field.record
        assert field.path
        assert field.type
        assert field.source.count("/") == 1
        assert field.license
        assert (field.category in CATEGORIES) is field.personal


def test_halves_share_no_source_and_every_language() -> None:
    tuning, frozen = read("tuning"), read("frozen")

    assert not {field.source for field in tuning} & {field.source for field in frozen}
    assert {field.language for field in tuning} == {"de", "en", "es", "fr", "pt"}
    assert {field.language for field in frozen} == {"de", "en", "es", "fr", "pt"}


def test_set_is_large_enough_to_tell() -> None:
    fields = [*read("tuning"), *read("frozen")]

    assert len(fields) >= 1_500
    assert len({(field.source, field.record) for field in fields}) >= 80
    assert sum(field.personal for field in fields) >= 350
