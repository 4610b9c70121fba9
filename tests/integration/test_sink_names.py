"""What a sink's names cannot be is said by plan and apply, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests import shop_route as deployed

from dataspine.adapters import route_deploy
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.core.errors import InputError

pytestmark = pytest.mark.integration

ROUTE = """name: names
sources:
  - name: shop
    engine: postgres
    region: eu-west-1
    dsn: env:SPINE_NAMES_DSN
    tables:
      - {name: public.%s, homes: [EU], home: {constant: DE}}
sinks:
  - {name: lake, kind: duckdb, region: eu-west-1, path: lake.duckdb}
dead-letter: {region: eu-west-1}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[DemoCluster]:
    with DemoCluster() as running:
        yield running


@pytest.mark.parametrize("act", [route_deploy.plan, route_deploy.apply])
@pytest.mark.parametrize(
    ("name", "columns", "code"),
    [
        ("_spine", "id int PRIMARY KEY", "cdc.name_reserved"),
        ("people", "id int PRIMARY KEY, _spine_lsn int", "cdc.name_reserved"),
        ("people", 'id int PRIMARY KEY, v int, "V" int', "cdc.names_equal"),
    ],
    ids=["table", "column", "case"],
)
def test_names_are_refused_with_their_line(
    session: Session,
    cluster: DemoCluster,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[Session, Path], object],
    name: str,
    columns: str,
    code: str,
) -> None:
    dsn = cluster.create_database("names")
    monkeypatch.setenv("SPINE_NAMES_DSN", dsn)
    path = session.workspace.root / "names.yaml"
    path.write_text(ROUTE % name, encoding="utf-8")
    try:
        deployed.rows(dsn, f"CREATE TABLE {name} ({columns})")
        with pytest.raises(InputError) as caught:
            act(session, path)
    finally:
        cluster.drop_database("names")
    assert (caught.value.code, caught.value.where) == (code, f"{path}:8")
