"""`plan` and `apply` look into the sinks: whose they are, and how what is in them is masked."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
import sqlalchemy as sa
from tests import shop_route as deployed

from dataspine.adapters import route_deploy, row_replicate, schema_publish
from dataspine.adapters.route_deploy import Plan
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.cdc.state import routes
from dataspine.cli import shop
from dataspine.core.errors import ConflictError
from dataspine.core.workspace import Workspace

pytestmark = pytest.mark.integration

LAKE = ".spine/sinks/us-lake.duckdb"
MORE = "masks:\n      customers.segment: redact"
Decide = Callable[[Session, Path], Plan]
DECIDE: list[Decide] = [route_deploy.plan, route_deploy.apply]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[Workspace]:
    """A workspace whose route ran through its snapshot and was ended."""
    with DemoCluster() as cluster, pytest.MonkeyPatch.context() as patch:
        dsn = cluster.create_database("shop")
        patch.setenv(deployed.DSN, dsn)
        patch.setenv("SPINE_OPA", str(opa))
        shop.fill(dsn, customers=5, orders=5, told=lambda *_: None)
        workspace = deployed.deploy(tmp_path_factory.mktemp("sinks") / "shop", opa)
        with Session(workspace, opa=opa) as session:
            run(session, 10)
        workspace.database.close()
        yield workspace


def run(session: Session, events: int) -> None:
    """Run the route until it has had so many events."""
    stop = threading.Event()

    def told(_status: object) -> None:
        if deployed.total(session.workspace) >= events:
            stop.set()

    row_replicate.run(session, session.workspace.root / deployed.ROUTE, stop, told=told)


@pytest.fixture
def session(filled: Workspace, tmp_path: Path, opa: Path) -> Iterator[Session]:
    """A session in a copy of the workspace, which is the test's own."""
    root = tmp_path / "shop"
    shutil.copytree(filled.root, root)
    with Session(Workspace.open(root), opa=opa) as opened:
        yield opened


@pytest.fixture
def path(session: Session) -> Path:
    return session.workspace.root / deployed.ROUTE


def change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def refused(decide: Decide, session: Session, path: Path) -> tuple[str, str]:
    with pytest.raises(ConflictError) as caught:
        decide(session, path)
    return caught.value.code, caught.value.problem


def ask_sink(session: Session, statement: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(session.workspace.root / LAKE)) as sink:
        return sink.execute(statement).fetchall()


@pytest.mark.parametrize("decide", DECIDE)
@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("masks:", MORE, "segment by nothing, not redact"),
        ("customers.email: hmac", "customers.email: redact", "email by hmac, not redact"),
        ("purpose: analytics", "purpose: support", "email by hmac with another key or purpose"),
    ],
    ids=["added", "changed", "purpose"],
)
def test_mask_that_the_rows_at_the_sink_do_not_have_is_refused(
    session: Session, path: Path, decide: Decide, before: str, after: str, words: str
) -> None:
    change(path, before, after)
    code, problem = refused(decide, session, path)
    assert code == "cdc.at_rest_differs"
    assert problem.startswith("rows of customers at the sink are masked otherwise: ")
    assert words in problem


def classify(session: Session, words: str) -> None:
    """Publish the customers' schema with other words about one column."""
    known = session.registry.latest("shop.customers")
    assert known is not None
    schema = known.text.replace("Loyalty tier.", words)
    assert schema_publish.publish(session, Proposal("shop.customers", schema, "AVRO")).version


@pytest.mark.parametrize("decide", DECIDE)
def test_classification_that_needs_a_mask_is_refused_where_rows_have_none(
    session: Session, path: Path, decide: Decide
) -> None:
    classify(session, "[pii] retain=P2Y")
    code, problem = refused(decide, session, path)
    assert code == "cdc.at_rest_differs"
    assert problem.startswith(
        "columns of customers are classified otherwise than when its rows went to the sink,"
        " and rows of home "
    )
    assert problem.endswith(" may not be there: residency.home_not_allowed")
    ask_sink(session, "DELETE FROM customers")
    assert decide(session, path).decision.allow


def test_classification_that_changes_nothing_for_the_rows_is_applied(
    session: Session, path: Path
) -> None:
    classify(session, "[internal]")
    assert route_deploy.apply(session, path).applied


UNREADABLE = (
    "columns of customers are classified otherwise than when its rows went to the sink,"
    " and their homes cannot be read there"
)


def test_rows_whose_homes_are_masked_are_not_vouched_for(session: Session, path: Path) -> None:
    text = path.read_text()
    route_deploy.destroy(session, path)
    ask_sink(session, "DROP TABLE customers")
    path.write_text(text.replace("masks:", "masks:\n      customers.country: hmac"))
    assert route_deploy.apply(session, path).applied
    run(session, 20)
    classify(session, "[internal]")
    assert refused(route_deploy.apply, session, path) == ("cdc.at_rest_differs", UNREADABLE)


def test_rows_without_their_homes_are_not_vouched_for(session: Session, path: Path) -> None:
    ask_sink(session, "ALTER TABLE customers DROP COLUMN country")
    classify(session, "[internal]")
    assert refused(route_deploy.plan, session, path) == ("cdc.at_rest_differs", UNREADABLE)


def test_remedy_is_what_it_takes(session: Session, path: Path) -> None:
    change(path, "masks:", MORE)
    assert refused(route_deploy.apply, session, path)[0] == "cdc.at_rest_differs"
    route_deploy.destroy(session, path)
    assert refused(route_deploy.apply, session, path)[0] == "cdc.at_rest_differs"
    ask_sink(session, "DROP TABLE customers")
    assert route_deploy.apply(session, path).applied
    run(session, 20)
    assert set(ask_sink(session, "SELECT segment FROM customers")) <= {("[redacted]",)}


def test_rows_that_nobody_knows_about_are_refused(session: Session, path: Path) -> None:
    """After `destroy` only the sink can say how they are masked."""
    route_deploy.destroy(session, path)
    assert route_deploy.plan(session, path).decision.allow
    ask_sink(session, "DROP TABLE _spine_record")
    assert refused(route_deploy.plan, session, path) == (
        "cdc.at_rest_differs",
        "nobody knows how the rows of customers at the sink are masked",
    )


def test_sink_and_route_of_an_older_version_are_taken_over(session: Session, path: Path) -> None:
    ask_sink(session, "DROP TABLE _spine_record")
    with session.database.begin() as connection:
        connection.execute(routes.update().values(document=sa.null(), columns=sa.null()))
    text = path.read_text()
    change(path, "customers.email: hmac", "customers.email: redact")
    assert refused(route_deploy.apply, session, path)[0] == "cdc.at_rest_differs"
    path.write_text(text)
    assert route_deploy.apply(session, path).applied
    deployed.rows(os.environ[deployed.DSN], "UPDATE customers SET phone = '1'")
    run(session, 11)
    recorded = ask_sink(session, "SELECT name FROM _spine_record")
    assert {("owner",), ("masks:customers",)} <= set(recorded)


@pytest.mark.parametrize("decide", DECIDE)
@pytest.mark.parametrize(
    ("spelled", "ran"),
    [
        (LAKE, True),
        (LAKE, False),
        ("./.spine/../" + LAKE, False),
        ("{root}/" + LAKE, False),
        ("link.duckdb", True),
        ("hard.duckdb", True),
        ("folder/us-lake.duckdb", False),
    ],
)
def test_file_of_another_route_is_refused_by_whatever_name(
    session: Session, path: Path, decide: Decide, spelled: str, ran: bool
) -> None:
    root = session.workspace.root
    if not ran:
        (root / LAKE).unlink()
    (root / "link.duckdb").symlink_to(root / LAKE)
    (root / "folder").symlink_to((root / LAKE).parent)
    if ran:
        (root / "hard.duckdb").hardlink_to(root / LAKE)
    other = path.with_name("other.yaml")
    text = path.read_text().replace("name: shop-to-us", "name: other")
    other.write_text(text.replace(LAKE, spelled.format(root=root)))
    assert refused(decide, session, other) == (
        "cdc.sink_foreign",
        "the sink file is that of the sink shop-to-us/us-lake",
    )


def test_two_sinks_of_a_route_have_two_files(session: Session, path: Path) -> None:
    sinks = path.read_text().partition("sinks:\n")[2].partition("dead-letter:")[0]
    second = sinks.replace("us-lake\n", "second\n").replace(
        LAKE, str(session.workspace.root / LAKE)
    )
    change(path, "dead-letter:", second + "dead-letter:")
    assert refused(route_deploy.plan, session, path)[0] == "cdc.sink_foreign"


@pytest.mark.parametrize("decide", DECIDE)
def test_file_of_another_workspace_or_region_is_refused(
    session: Session, path: Path, decide: Decide
) -> None:
    change(path, "region: us-east-1", "region: us-west-2")
    assert refused(decide, session, path) == (
        "cdc.sink_foreign",
        "the sink file lies in us-east-1, and the route says us-west-2",
    )
    change(path, "region: us-west-2", "region: us-east-1")
    (session.workspace.state / "keys/slot.key").unlink()
    assert refused(decide, session, path) == (
        "cdc.sink_foreign",
        "the sink file is that of the route 'shop-to-us' of another workspace",
    )
