"""A field's words, and what is written about it."""

from __future__ import annotations

import pytest

from dataspine.registry.field import Annotations, Field, Waiver, read_annotations


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("id", ("id",)),
        ("firstName", ("first", "name", "firstname")),
        ("date_of_birth", ("date", "of", "birth", "dateof", "ofbirth", "dateofbirth")),
        ("IPv6Address", ("ipv6", "address", "ipv6address")),
        ("userID", ("user", "id", "userid")),
        ("SSN", ("ssn",)),
        ("IBANCode", ("iban", "code", "ibancode")),
        ("address1", ("address", "1", "address1")),
        ("eMail", ("e", "mail", "email")),
    ],
)
def test_tokens_are_words_and_neighbours_written_as_one(name: str, tokens: tuple[str, ...]) -> None:
    assert _field(name).tokens == tokens


@pytest.mark.parametrize(
    ("path", "context"),
    [
        ("name", ("shop", "customer")),
        ("billing.name", ("shop", "customer", "billing")),
        ("Order/lines[].sku", ("shop", "customer", "lines")),
    ],
)
def test_context_is_the_record_and_what_is_around(path: str, context: tuple[str, ...]) -> None:
    assert _field("name", path).context == context


@pytest.mark.parametrize(
    ("text", "waiver"),
    [
        ("nothing", None),
        ("[not-pii: a shop]", Waiver("a shop")),
        ("[not-pii: ]", Waiver("")),
        ("[not-pii: a shop; until 2027-06-30]", Waiver("a shop", "2027-06-30")),
        ("[not-pii: a shop until 2027-06-30]", Waiver("a shop", "2027-06-30")),
        ("[not-pii: a shop, until soon]", Waiver("a shop", "soon")),
        ("[not-pii: until 2027-06-30]", Waiver("", "2027-06-30")),
        ("[not-pii: valid until the law changes]", Waiver("valid until the law changes")),
    ],
)
def test_waivers_may_end(text: str, waiver: Waiver | None) -> None:
    assert read_annotations([text]).waiver == waiver


@pytest.mark.parametrize(
    "text",
    [
        "[public] [not-pii: a shop]",
        "[not-pii: a shop][Public]",
        "See [1]. [PUBLIC]\n[NOT-PII:a shop]",
    ],
)
def test_a_tag_and_a_waiver_stand_together(text: str) -> None:
    assert read_annotations([text]) == Annotations(("Public",), None, Waiver("a shop"))


def test_facts_name_every_key_but_an_absent_waiver() -> None:
    facts = _field("firstName").facts()

    assert facts == {
        "path": "firstName",
        "type": "string",
        "doc": "",
        "tokens": ["first", "name", "firstname"],
        "context": ["shop", "customer"],
        "classifications": ["Public"],
        "tagged": False,
        "retention": None,
        "line": None,
    }


def _field(name: str, path: str | None = None) -> Field:
    nothing = Annotations()
    return Field.of(
        path or name,
        "string",
        doc="",
        name=name,
        record="ShopCustomer",
        own=nothing,
        inherited=nothing,
        line=None,
    )
