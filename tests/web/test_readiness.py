"""What ``/readyz`` says: each part that keeps a service from deciding, by its name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient
from tests import sidecar, store
from tests.sidecar import short_folder

from dataspine.adapters.session import Session
from dataspine.core.workspace import Workspace
from dataspine.web.app import create_app

pytestmark = pytest.mark.integration


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with store.workspace(tmp_path / "shop") as made:
        yield made


@contextmanager
def served(workspace: Workspace, opa: Path) -> Iterator[TestClient]:
    with Session(Workspace.open(workspace.root), opa=opa) as session:
        yield TestClient(create_app(session), base_url="http://127.0.0.1")


def told(client: TestClient) -> dict[str, Any]:
    """Return what a service says that is not ready, which names no path and no address."""
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in answer.headers) is answer.json()["retry"]
    assert "/" not in answer.json()["detail"]
    return {key: answer.json()[key] for key in ("code", "where", "remedy", "retry")}


def ask_at(workspace: Workspace, address: str) -> None:
    with (workspace.root / "spine.yaml").open("a") as settings:
        settings.write(f"\ndecisions:\n  opa: {address}\n")


def test_a_stopped_opa_is_named_until_it_runs(workspace: Workspace, opa: Path) -> None:
    with Session(workspace, opa=opa) as session:
        revision = session.active.revision
        (sequence,) = [each.sequence for each in session.bundles.history("dev")]
        bundle = session.bundles.bytes_of("dev", sequence)
    with short_folder() as folder:
        (folder / "dev.tar.gz").write_bytes(bundle)
        address = f"unix://{folder}/opa.sock"
        ask_at(workspace, address)
        serve = [str(opa), "run", "--server", "--skip-verify", "--addr", address]
        stopped = {
            "code": "engine.unavailable",
            "where": "opa",
            "remedy": "Check that OPA runs there; see `spine opa status`.",
            "retry": True,
        }
        with served(workspace, opa) as client:
            assert told(client) == stopped
            with sidecar.running(serve, folder, address):
                assert told(client) == {
                    "code": "engine.not_activated",
                    "where": "bundle",
                    "remedy": "Start it with what `spine opa config` writes; its log says what it "
                    "refused.",
                    "retry": True,
                }
            assert told(client) == stopped
            with sidecar.running([*serve, "-b", "dev.tar.gz"], folder, address):
                ready = client.get("/readyz")
                assert (ready.status_code, ready.json()) == (
                    200,
                    {"ready": True, "database": "up", "bundle": revision},
                )
            # It was ready once: a load balancer that took it away would take the reads away too.
            assert client.get("/readyz").status_code == 200


def test_a_database_of_another_version_is_named(workspace: Workspace, opa: Path) -> None:
    with served(workspace, opa) as client:
        assert client.get("/readyz").status_code == 200
        with workspace.database.begin() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
        assert told(client) == {
            "code": "spine.database_version",
            "where": "database",
            "remedy": "Run `spine upgrade`.",
            "retry": False,
        }


def test_a_policy_that_cannot_be_built_is_named(workspace: Workspace, opa: Path) -> None:
    workspace.custom_path.mkdir(parents=True, exist_ok=True)
    (workspace.custom_path / "broken.rego").write_text("package broken\n\nallow if {")
    with served(workspace, opa) as client:
        found = told(client)
    assert (found["where"], found["retry"]) == ("bundle", False)
