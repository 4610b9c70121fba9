"""Columns that are renamed into each other: no value reaches a sink under another's name."""

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from tests import shop_route as deployed

from dataspine.adapters import dead_letter_replay, row_replicate
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.cli import shop
from dataspine.core.errors import ConflictError
from dataspine.core.workspace import Workspace

pytestmark = pytest.mark.integration

SWAP = (
    "ALTER TABLE customers RENAME segment TO held; ALTER TABLE customers RENAME email TO segment;"
    " ALTER TABLE customers RENAME held TO email"
)
TAKE = "ALTER TABLE customers DROP segment; ALTER TABLE customers RENAME email TO segment"
TOUCH = "UPDATE customers SET phone = '1' WHERE id <= 3"
BACK = SWAP
_numbers = itertools.count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[DemoCluster]:
    with DemoCluster() as running:
        yield running


@pytest.fixture
def dsn(cluster: DemoCluster) -> str:
    return cluster.create_database(f"shop_{next(_numbers)}")


@pytest.fixture
def workspace(dsn: str, tmp_path: Path, opa: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A route that took its snapshot and was ended."""
    monkeypatch.setenv(deployed.DSN, dsn)
    monkeypatch.setenv("SPINE_OPA", str(opa))
    shop.fill(dsn, customers=5, orders=5, told=lambda *_: None)
    workspace = deployed.deploy(tmp_path / "shop", opa)
    with Session(workspace, opa=opa) as session:
        assert run(session, 10) is None
    return workspace


def run(session: Session, events: int) -> ConflictError | None:
    """Run the route until it has had so many events, or ends by itself."""
    stop = threading.Event()

    def told(_status: object) -> None:
        if deployed.total(session.workspace) >= events:
            stop.set()

    try:
        row_replicate.run(session, session.workspace.root / deployed.ROUTE, stop, told=told)
    except ConflictError as error:
        return error
    return None


def at_sink(workspace: Workspace) -> str:
    """Every text in the sink's table, in clear or not."""
    with duckdb.connect(str(workspace.root / ".spine/sinks/us-lake.duckdb")) as sink:
        return str(sink.execute("SELECT * EXCLUDE updated_at FROM customers").fetchall())


@pytest.mark.parametrize(
    ("statements", "column"),
    [
        ([SWAP, TOUCH], "email"),
        ([TAKE, TOUCH], "email"),
        ([SWAP, TOUCH, BACK], "email"),
        ([TOUCH, SWAP], "email"),
    ],
    ids=["swapped", "dropped and taken", "swapped and back", "swapped after the rows"],
)
def test_rows_after_a_rename_stay_where_they_are(
    workspace: Workspace, dsn: str, opa: Path, statements: list[str], column: str
) -> None:
    before = at_sink(workspace)
    for statement in statements:
        deployed.rows(dsn, statement)
    with Session(workspace, opa=opa) as session:
        error = run(session, 13)
        assert error is not None
        assert error.document() == {
            "code": "cdc.table_changed",
            "problem": f"the column {column!r} is not the one that was decided on:"
            " columns were renamed",
            "where": "route shop-to-us, source shop, table public.customers",
            "remedy": "Destroy the route, apply it and run it again: it takes a new snapshot.",
            "retry": False,
        }
    assert "@" not in before
    assert at_sink(workspace) == before


def test_added_and_dropped_columns_do_not_end_the_route(
    workspace: Workspace, dsn: str, opa: Path
) -> None:
    for statement in (
        "ALTER TABLE customers ADD more text",
        TOUCH,
        "ALTER TABLE customers DROP phone",
        "UPDATE customers SET street = '2' WHERE id <= 3",
    ):
        deployed.rows(dsn, statement)
    with Session(workspace, opa=opa) as session:
        assert run(session, 16) is None
    assert deployed.total(workspace) == 16


def test_replay_judges_no_row_of_a_renamed_table(workspace: Workspace, dsn: str, opa: Path) -> None:
    before = at_sink(workspace)
    deployed.rows(dsn, SWAP)
    with Session(workspace, opa=opa) as session, pytest.raises(ConflictError) as caught:
        dead_letter_replay.replay(session, workspace.root / deployed.ROUTE)
    assert caught.value.code == "cdc.table_changed"
    assert at_sink(workspace) == before
