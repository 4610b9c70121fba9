"""A column is known by its number, whichever of catalog and stream shows a rename first."""

import pytest

from dataspine.cdc.column_identity import Attribute, require_columns
from dataspine.cdc.event import Column, Relation
from dataspine.core.errors import ConflictError

APPLIED: list[Attribute] = [("id", 1, "integer"), ("email", 2, "text"), ("hobby", 3, "text")]


def relation(names: str) -> Relation:
    columns = tuple(Column(name, "text", name == "id") for name in names.split())
    return Relation(7, "public", "people", columns, "default")


def catalog(described: str) -> list[Attribute]:
    """``id:1 email:2`` as the catalog gives it."""
    pairs = (each.split(":") for each in described.split())
    return [(name, int(number), "text") for name, number in pairs]


@pytest.mark.parametrize(
    ("stream", "current"),
    [
        ("id email hobby", "id:1 email:2 hobby:3"),
        ("id email hobby more", "id:1 email:2 hobby:3 more:4"),
        ("id email", "id:1 email:2"),
        ("id hobby", "id:1 hobby:3"),
        # Rows under way may be older than what the catalog says.
        ("id email hobby", "id:1 email:2"),
        ("id email hobby", "id:1 email:2 hobby:3 more:4"),
        ("id email hobby more", "id:1 email:2 hobby:3"),
        ("id email", "id:1 email:2 hobby:3"),
    ],
)
def test_column_that_keeps_its_number_passes(stream: str, current: str) -> None:
    require_columns(relation(stream), APPLIED, catalog(current), where="r/shop/public.people")


@pytest.mark.parametrize(
    ("stream", "current", "named"),
    [
        ("id hobby email", "id:1 hobby:2 email:3", "email"),
        ("id other hobby", "id:1 other:2 hobby:3", "email"),
        # To and fro: the catalog is as it was, the rows are not.
        ("id hobby email", "id:1 email:2 hobby:3", "email"),
        ("id other hobby", "id:1 email:2 hobby:3", "email"),
        # Renamed since: these rows are still right, the next ones are not.
        ("id email hobby", "id:1 hobby:2 email:3", "email"),
        # One was dropped to make room for the name.
        ("id hobby", "id:1 hobby:2", "email"),
        ("id hobby", "id:1 email:2", "email"),
        ("id hobby email", "id:1 hobby:2 email:4", "email"),
        ("id email hobby", "id:1 email:2 hobby:4", "hobby"),
        ("id email hobby", "id:2 email:3 hobby:4", "id"),
    ],
)
def test_column_under_the_name_of_another_ends_the_route(
    stream: str, current: str, named: str
) -> None:
    with pytest.raises(ConflictError) as caught:
        require_columns(relation(stream), APPLIED, catalog(current), where="r/shop/public.people")
    assert caught.value.document() == {
        "code": "cdc.table_changed",
        "problem": f"the column {named!r} is not the one that was decided on: columns were renamed",
        "where": "r/shop/public.people",
        "remedy": "Destroy the route, apply it and run it again: it takes a new snapshot.",
        "retry": False,
    }
