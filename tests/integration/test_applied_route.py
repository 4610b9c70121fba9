"""What was applied is what runs, whatever the file or the registry says by now."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests import shop_route as deployed

from dataspine.adapters import dead_letter_replay, route_deploy, row_replicate, schema_publish
from dataspine.adapters.access import DeniedError
from dataspine.adapters.applied_route import LOOK_SECONDS, RouteCheck
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.cdc.state import RouteStore, routes
from dataspine.cli import shop
from dataspine.core.errors import ConflictError, NotFoundError
from dataspine.core.identity import Principal, acting_as
from dataspine.core.workspace import Workspace

pytestmark = pytest.mark.integration

Act = Callable[[Session, Path], object]


def run(session: Session, path: Path) -> object:
    """Run the route, told to stop before it begins."""
    stop = threading.Event()
    stop.set()
    return row_replicate.run(session, path, stop)


TABLES = "sources.shop.tables.public"
HOMES = f"{TABLES}.customers.home.column, {TABLES}.orders.home.column"
SECOND = "sinks.second"
SINK = "  - {name: second, kind: duckdb, region: ap-south-1, path: second.duckdb}\n"
SINK_KEYS = ", ".join(f"{SECOND}.{key}" for key in ("kind", "name", "path", "purpose", "region"))
TABLE = "      - {name: public.more, homes: allowed, home: {constant: DE}}\n"
ADDED = ", ".join(f"{TABLES}.more.{key}" for key in ("home.constant", "homes", "name"))
ACTS: list[Act] = [run, dead_letter_replay.replay]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[Workspace]:
    with DemoCluster() as cluster, pytest.MonkeyPatch.context() as patch:
        dsn = cluster.create_database("shop")
        patch.setenv(deployed.DSN, dsn)
        patch.setenv("SPINE_OPA", str(opa))
        shop.fill(dsn, customers=5, orders=5, told=lambda *_: None)
        yield deployed.deploy(tmp_path_factory.mktemp("applied") / "shop", opa)


@pytest.fixture
def session(workspace: Workspace, opa: Path) -> Iterator[Session]:
    with Session(workspace, opa=opa) as opened:
        yield opened


@pytest.fixture
def path(workspace: Workspace) -> Iterator[Path]:
    """The route's file, which is as it was applied again after the test."""
    file = workspace.root / deployed.ROUTE
    text = file.read_text()
    yield file
    file.write_text(text)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (
            "dead-letter:\n  region: eu-west-1",
            "dead-letter:\n  region: us-east-1",
            "dead-letter.region",
        ),
        ("customers.email: hmac", "customers.email: last4", "sinks.us-lake.masks.customers.email"),
        ("env:SPINE_SHOP_DSN", "env:OTHER_DSN", "sources.shop.dsn"),
        ("us-lake.duckdb", "other.duckdb", "sinks.us-lake.path"),
        ("purpose: analytics", "purpose: other", "sinks.us-lake.purpose"),
        ("home: {column: country}", "home: {column: email}", HOMES),
        ("dead-letter:\n", f"{SINK}dead-letter:\n", SINK_KEYS),
        ("sinks:\n", f"{TABLE}sinks:\n", ADDED),
    ],
)
def test_route_file_that_is_not_what_was_applied_is_refused(
    workspace: Workspace,
    session: Session,
    path: Path,
    act: Act,
    before: str,
    after: str,
    named: str,
) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(ConflictError) as caught:
        act(session, path)
    assert dataclasses.asdict(_Shown.of(caught.value)) == {
        "code": "cdc.route_changed",
        "problem": f"the route file is not what was applied: {named} changed",
        "where": str(path),
        "remedy": f"Apply it again: `spine cdc apply {path}`.",
        "exit_code": 2,
    }
    assert deployed.outcomes(workspace) == {}
    assert not (workspace.state / "dead-letter/us-east-1.db").exists()


@dataclasses.dataclass
class _Shown:
    code: str
    problem: str
    where: str
    remedy: str
    exit_code: int

    @classmethod
    def of(cls, error: ConflictError) -> "_Shown":
        return cls(error.code, error.problem, error.where, error.remedy, error.exit_code)


@pytest.mark.parametrize("act", ACTS)
def test_comments_and_defaults_spelled_out_are_the_same_route(
    session: Session, path: Path, act: Act
) -> None:
    text = path.read_text()
    changed = "# more\n" + text.replace("    purpose: analytics\n", "") + "runner: embedded\n"
    path.write_text(
        changed.replace("runner: embedded\n", "", changed.count("runner: embedded") - 1)
    )
    act(session, path)


@pytest.mark.parametrize("act", ACTS)
def test_route_that_an_older_version_applied_is_applied_again(
    session: Session, path: Path, act: Act
) -> None:
    with session.database.begin() as connection:
        connection.execute(routes.update().values(document=sa.null()))
    with pytest.raises(ConflictError) as caught:
        act(session, path)
    assert (caught.value.code, caught.value.problem) == (
        "cdc.route_changed",
        "the route was applied by a version that did not keep what the file said",
    )
    assert route_deploy.apply(session, path).applied
    act(session, path)


def test_dead_letters_lie_where_the_applied_route_has_them(session: Session, path: Path) -> None:
    path.write_text(path.read_text().replace("region: eu-west-1", "region: us-east-1"))
    with dead_letter_replay.dead_letters(session, path) as letters:
        assert letters.route == deployed.NAME
    assert not (session.workspace.state / "dead-letter/us-east-1.db").exists()


@pytest.mark.parametrize("act", ACTS)
def test_who_may_not_deploy_the_route_may_not_run_or_replay_it(
    session: Session, path: Path, act: Act
) -> None:
    with acting_as(Principal("eve")), pytest.raises(DeniedError):
        act(session, path)


@pytest.mark.parametrize(("name", "act"), [("run", run), ("replay", dead_letter_replay.replay)])
def test_column_that_is_classified_otherwise_by_now_is_refused(
    session: Session, path: Path, name: str, act: Act
) -> None:
    """Stricter by a new version, then looser because that one is deleted: new questions both."""
    before = session.registry.latest("shop.customers")
    assert before is not None
    schema = before.text.replace("Loyalty tier.", f"{name} [internal]")
    newer = schema_publish.publish(session, Proposal("shop.customers", schema, "AVRO")).version
    assert newer is not None
    said = "customers.segment was applied as {} and is {} now (version {} of shop.customers)"
    _require_refused(session, path, act, said.format("Public", "Internal", newer.number))
    with session.database.begin() as connection:
        session.registry.delete(connection, "shop.customers", newer.number, at=session.clock())
    _require_refused(session, path, act, said.format("Internal", "Public", before.number))


def _require_refused(session: Session, path: Path, act: Act, problem: str) -> None:
    with pytest.raises(ConflictError) as caught:
        act(session, path)
    assert dataclasses.asdict(_Shown.of(caught.value)) == {
        "code": "cdc.classification_changed",
        "problem": problem,
        "where": deployed.NAME,
        "remedy": "Apply the route again, so that policy decides on it: `spine cdc apply`.",
        "exit_code": 2,
    }
    assert route_deploy.apply(session, path).applied
    act(session, path)


def test_running_route_ends_when_it_is_applied_anew_or_destroyed(
    session: Session, path: Path
) -> None:
    clock = iter(range(100))
    applied = RouteStore(session.database).get(deployed.NAME)
    check = RouteCheck(session, applied, now=lambda: float(next(clock)))
    check.look()
    assert route_deploy.apply(session, path).applied  # the same once more
    check.look()
    path.write_text(path.read_text().replace("purpose: analytics", "purpose: other"))
    assert route_deploy.apply(session, path).applied
    for _ in range(2):  # for ever, also when it were as before again
        with pytest.raises(ConflictError) as caught:
            check.look()
        assert dataclasses.asdict(_Shown.of(caught.value)) == {
            "code": "cdc.route_changed",
            "problem": "the route was applied again while it ran: sinks.us-lake.purpose changed",
            "where": deployed.NAME,
            "remedy": "Run it again: `spine cdc run`.",
            "exit_code": 2,
        }
    route_deploy.forget(session, path)
    with pytest.raises(NotFoundError, match="was not applied"):
        RouteCheck(session, applied).look()


def test_look_is_as_old_as_it_may_be_and_no_older(session: Session, path: Path) -> None:
    assert route_deploy.apply(session, path).applied
    now = [0.0]
    check = RouteCheck(session, RouteStore(session.database).get(deployed.NAME), now=lambda: now[0])
    check.look()
    route_deploy.forget(session, path)
    now[0] = LOOK_SECONDS - 0.01
    check.look()
    now[0] = LOOK_SECONDS
    with pytest.raises(NotFoundError):
        check.look()
    assert route_deploy.apply(session, path).applied


def test_watch_sets_stop_and_raises_what_it_saw(session: Session, path: Path) -> None:
    stop = threading.Event()
    check = RouteCheck(session, RouteStore(session.database).get(deployed.NAME))

    def work() -> None:
        with check.watch(stop):
            route_deploy.forget(session, path)
            assert stop.wait(60)

    with pytest.raises(NotFoundError):
        work()
    assert route_deploy.apply(session, path).applied
