"""The labelled fields are whole, what is only measured is unchanged, and the rule finds them."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import pytest
from tests.policies.labelled import FOLDER, Score, read, suspected
from tests.policies.support import build

DIGESTS = {
    "frozen": "6031dbc1edd1e0c560c24cfe1df6b48a941b756d66d042f7c04ae3bbf88f489d",
    "later": "26c0424d15f2cb637a581c99601f5312ab23bbe702c17cc364d7d2cbaa328772",
}
PARTS = ("tuning", "frozen", "later")
CATEGORIES = {
    "account", "address", "birth", "card", "contact", "credential", "demographic", "device",
    "health", "identity", "income", "location", "name", "network", "photo", "username", "vehicle",
}  # fmt: skip


@pytest.mark.parametrize("part", sorted(DIGESTS))
def test_what_is_only_measured_is_unchanged(part: str) -> None:
    content = (FOLDER / f"{part}.tsv").read_bytes()

    assert hashlib.sha256(content).hexdigest() == DIGESTS[part]


def test_every_line_is_whole() -> None:
    for field in itertools.chain.from_iterable(map(read, PARTS)):
        assert field.record
        assert field.path
        assert field.type
        assert field.source.count("/") == 1
        assert field.license
        assert (field.category in CATEGORIES) is field.personal


def test_parts_share_no_source_and_halves_every_language() -> None:
    tuning, frozen = read("tuning"), read("frozen")
    sources = [{field.source for field in read(part)} for part in PARTS]

    assert len(set().union(*sources)) == sum(map(len, sources))
    assert {field.language for field in tuning} == {"de", "en", "es", "fr", "pt"}
    assert {field.language for field in frozen} == {"de", "en", "es", "fr", "pt"}


def test_set_is_large_enough_to_tell() -> None:
    fields = [*read("tuning"), *read("frozen")]

    assert len(fields) >= 1_500
    assert len({(field.source, field.record) for field in fields}) >= 80
    assert sum(field.personal for field in fields) >= 350


@pytest.mark.integration
@pytest.mark.parametrize("part", sorted(DIGESTS))
def test_unseen_personal_fields_are_found(part: str, opa: Path, tmp_path: Path) -> None:
    fields = read(part)

    messages = suspected(opa, build(tmp_path), fields)

    assert Score.of(fields, [message is not None for message in messages]).f1 >= 0.85
