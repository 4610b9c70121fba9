"""The demo's shop with its route to the American lake, deployed: for tests that run it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg2

from dataspine.adapters import route_deploy, schema_publish
from dataspine.adapters.init import init
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.cdc.state import RouteStore
from dataspine.core.workspace import Workspace

NAME = "shop-to-us"
SINK = "us-lake"
ROUTE = "streaming/cdc/data-spine.yaml"
DSN = "SPINE_SHOP_DSN"
MASKS = "".join(
    f"\n      customers.{name}: hmac"
    for name in ("first_name", "last_name", "email", "phone", "street")
)


def deploy(folder: Path, opa: Path) -> Workspace:
    """Scaffold a workspace, publish the shop's schemas and apply its route; reads ``DSN``."""
    workspace = init(folder, name="shop", told=lambda _: None)
    path = workspace.root / ROUTE
    text = path.read_text().replace("homes: [EU, US]", "homes: allowed")
    path.write_text(text.replace("masks: {}", f"masks:{MASKS}"))
    with Session(workspace, opa=opa) as session:
        for subject, name, kind in (
            ("shop.customers", "customers.avsc", "AVRO"),
            ("shop.orders", "orders.proto", "PROTOBUF"),
        ):
            schema = (workspace.root / "schema" / name).read_text()
            schema = schema.replace("receipts are sent.", "receipts are sent. [pii]")
            assert schema_publish.publish(session, Proposal(subject, schema, kind)).version
        assert route_deploy.apply(session, path).applied
    return workspace


def start(workspace: Workspace, *, log: Path | None = None) -> subprocess.Popen[bytes]:
    """Run the route in a process of its own; ``log`` keeps what it says."""
    with (log or Path(os.devnull)).open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "dataspine.cli", "cdc", "run"],
            cwd=workspace.root,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )


def rows(dsn: str, statement: str) -> list[tuple[object, ...]]:
    """Run a statement in a transaction of its own and return its rows."""
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def outcomes(workspace: Workspace) -> dict[str, int]:
    """What the route did at its sink so far."""
    return RouteStore(workspace.database).outcomes(NAME).get(SINK, {})


def total(workspace: Workspace) -> int:
    """How many events the route has an outcome for."""
    return sum(outcomes(workspace).values())


def state(workspace: Workspace) -> tuple[str, str]:
    """The route's state and problem, as it last said."""
    status = RouteStore(workspace.database).get(NAME).status
    return str(status["state"]), str(status.get("problem", ""))


def wait(done: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until a condition holds; fail when it takes too long."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
