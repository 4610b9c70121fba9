"""A column whose record contains itself: what it holds is not shipped as public."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy as sa

from dataspine.adapters import route_deploy, schema_publish
from dataspine.adapters.init import init
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.core.database import metadata
from dataspine.core.workspace import Workspace

pytestmark = pytest.mark.integration

EMPLOYEE = json.dumps(
    {
        "type": "record",
        "name": "Employee",
        "namespace": "shop",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "country", "type": "string"},
            {"name": "email", "type": "string", "doc": "[pii]"},
            {"name": "manager", "type": ["null", "Employee"], "default": None},
        ],
    }
)
ROUTE = """name: staff-to-us
sources:
  - name: staff
    engine: postgres
    region: eu-west-1
    dsn: env:SPINE_STAFF_DSN
    tables:
      - name: public.employees
        subject: shop.employees
        homes: [EU]
        home: {column: country}
sinks:
  - name: us-lake
    kind: duckdb
    region: us-east-1
    path: .spine/sinks/us.duckdb
    purpose: analytics
    masks:
      employees.email: hmac
guard:
  on-unknown: park
dead-letter:
  region: eu-west-1
slo:
  cdc-lag-p95: 60s
runner: embedded
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[Workspace]:
    with DemoCluster() as cluster, pytest.MonkeyPatch.context() as patch:
        dsn = cluster.create_database("staff")
        patch.setenv("SPINE_STAFF_DSN", dsn)
        with (
            closing(psycopg2.connect(dsn)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(
                "CREATE TABLE employees (id bigint PRIMARY KEY, country text, email text,"
                " manager jsonb)"
            )
        workspace = init(tmp_path_factory.mktemp("staff") / "shop", name="shop", told=print)
        (workspace.root / "staff.yaml").write_text(ROUTE)
        with Session(workspace, opa=opa) as session:
            proposal = Proposal("shop.employees", EMPLOYEE)
            assert schema_publish.publish(session, proposal).version
        yield workspace


def test_a_column_that_holds_its_own_record_needs_a_mask(workspace: Workspace, opa: Path) -> None:
    assert _plan(workspace, opa, ROUTE) == (False, ["PII"], {"residency.obligation_missing"})

    masked = ROUTE.replace("hmac\n", "hmac\n      employees.manager: hmac\n")
    assert _plan(workspace, opa, masked) == (True, ["PII"], set())


def test_a_version_that_an_older_release_judged_is_read_anew(
    workspace: Workspace, opa: Path
) -> None:
    versions = metadata.tables["schema_versions"]
    with workspace.database.begin() as connection:
        (fields,) = connection.execute(sa.select(versions.c.fields)).scalars()
        older = [{**f, "classifications": ["Public"]} for f in fields if f["path"] == "manager"]
        connection.execute(sa.update(versions).values(fields=[*fields[:-1], *older]))

    assert _plan(workspace, opa, ROUTE) == (False, ["PII"], {"residency.obligation_missing"})


def _plan(workspace: Workspace, opa: Path, text: str) -> tuple[bool, list[str], set[str]]:
    """Return whether the route may go, what its column is, and the codes that deny."""
    path = workspace.root / "staff.yaml"
    path.write_text(text)
    with Session(workspace, opa=opa) as session:
        plan = route_deploy.plan(session, path)
    (table,) = plan.facts["tables"]
    (manager,) = (c["classifications"] for c in table["columns"] if c["path"] == "manager")
    return plan.decision.allow, manager, {v.code for v in plan.decision.violations if v.denies}
