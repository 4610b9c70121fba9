"""A sink file says whose it is and how its rows are masked; nobody else writes into it."""

import dataclasses
from pathlib import Path

import duckdb
import pytest
from tests.cdc.world import MASKER, PEOPLE

from dataspine.cdc.duckdb_sink import DuckDbSink, Upserts
from dataspine.cdc.mask import Masker
from dataspine.cdc.sink_record import SinkOwner
from dataspine.core.errors import ConflictError

OWNER = SinkOwner("w1", "r", "us-east-1")
OTHER_KEY = Masker(b"x" * 32, "analytics")
OTHER_PURPOSE = Masker(b"k" * 32, "support")


def sink(
    folder: Path,
    masks: dict[str, str] | None = None,
    masker: Masker = MASKER,
    owner: SinkOwner | None = OWNER,
) -> DuckDbSink:
    return DuckDbSink("us", folder / "us.duckdb", {"people": masks or {}}, masker, owner)


def fill(one: DuckDbSink, *, rows: bool = True, route: str = "r") -> None:
    with one.open() as session:
        session.ensure(PEOPLE)
        if rows:
            session.apply(PEOPLE, Upserts([("1", "DE", "n")], [(1, 0)]))
        session.commit(route, "shop", 1)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"route": "other"}, "the sink file is that of the route 'r'"),
        ({"workspace": "w2"}, "the sink file is that of the route 'r' of another workspace"),
        ({"region": "eu-west-1"}, "the sink file lies in us-east-1, and the route says eu-west-1"),
    ],
)
def test_file_of_another_route_workspace_or_region_is_refused(
    tmp_path: Path, changed: dict[str, str], problem: str
) -> None:
    fill(sink(tmp_path), rows=False)
    with pytest.raises(ConflictError) as caught:
        fill(sink(tmp_path, owner=dataclasses.replace(OWNER, **changed)))
    assert caught.value.document() == {
        "code": "cdc.sink_foreign",
        "problem": problem,
        "where": str(tmp_path / "us.duckdb"),
        "remedy": "Give the sink a file of its own, or remove this one if nobody needs it.",
        "retry": False,
    }
    fill(sink(tmp_path))


def test_file_that_an_older_version_filled_is_its_route_s(tmp_path: Path) -> None:
    fill(sink(tmp_path, owner=None), route="old")
    with pytest.raises(ConflictError, match="the route 'old'"):
        fill(sink(tmp_path))
    own = dataclasses.replace(OWNER, route="old")
    fill(sink(tmp_path, owner=own), route="old")


def test_look_without_a_commit_claims_nothing(tmp_path: Path) -> None:
    fill(sink(tmp_path, owner=None), rows=False)
    with sink(tmp_path).open():
        pass
    fill(sink(tmp_path, owner=dataclasses.replace(OWNER, workspace="w2")))


@pytest.mark.parametrize(
    ("before", "after", "masker", "words"),
    [
        ({}, {"note": "hmac"}, MASKER, "note by nothing, not hmac"),
        ({"note": "hmac"}, {}, MASKER, "note by hmac, not nothing"),
        ({"note": "redact"}, {"note": "last4"}, MASKER, "note by redact, not last4"),
        ({"id": "hmac"}, {"id": "hmac"}, OTHER_KEY, "id by hmac with another key or purpose"),
        ({"id": "hmac"}, {"id": "hmac"}, OTHER_PURPOSE, "id by hmac with another key or purpose"),
    ],
)
def test_rows_that_are_masked_otherwise_are_not_added_to(
    tmp_path: Path, before: dict[str, str], after: dict[str, str], masker: Masker, words: str
) -> None:
    fill(sink(tmp_path, before))
    with pytest.raises(ConflictError) as caught:
        fill(sink(tmp_path, after, masker))
    assert caught.value.document() == {
        "code": "cdc.at_rest_differs",
        "problem": f"rows of people at the sink are masked otherwise: {words}",
        "where": str(tmp_path / "us.duckdb"),
        "remedy": "Destroy the route, remove the table people at the sink, then apply it.",
        "retry": False,
    }


@pytest.mark.parametrize(
    ("before", "after", "masker"),
    [
        ({"note": "hmac"}, {"note": "hmac"}, MASKER),
        ({"note": "redact"}, {"note": "redact"}, OTHER_KEY),
        # A column that no row has yet.
        ({}, {"more": "hmac"}, MASKER),
    ],
    ids=["same", "method without a key", "new column"],
)
def test_rows_that_are_masked_the_same_way_are_added_to(
    tmp_path: Path, before: dict[str, str], after: dict[str, str], masker: Masker
) -> None:
    fill(sink(tmp_path, before))
    fill(sink(tmp_path, after, masker))


def test_emptied_or_dropped_table_may_be_masked_otherwise(tmp_path: Path) -> None:
    for statement in ("DELETE FROM people", "DROP TABLE people"):
        fill(sink(tmp_path, {}))
        with duckdb.connect(str(tmp_path / "us.duckdb")) as connection:
            connection.execute(statement)
        fill(sink(tmp_path, {"note": "hmac"}))
        (tmp_path / "us.duckdb").unlink()


@pytest.mark.parametrize(
    ("known", "problem"),
    [
        (None, "nobody knows how the rows of people at the sink are masked"),
        ({}, "rows of people at the sink are masked otherwise: note by nothing, not redact"),
        ({"note": "redact"}, None),
    ],
)
def test_what_the_file_does_not_say_is_what_was_applied(
    tmp_path: Path, known: dict[str, str] | None, problem: str | None
) -> None:
    fill(sink(tmp_path, {"note": "redact"}))
    with duckdb.connect(str(tmp_path / "us.duckdb")) as connection:
        connection.execute("DROP TABLE _spine_record")
    with sink(tmp_path, {"note": "redact"}).open() as session:
        if problem is None:
            session.require_masks("people", known)
            return
        with pytest.raises(ConflictError) as caught:
            session.require_masks("people", known)
    assert caught.value.problem == problem
