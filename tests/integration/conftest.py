"""A scaffolded workspace and its session, on the real OPA."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import store

from dataspine.adapters.session import Session
from dataspine.core.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with store.workspace(tmp_path / "shop") as made:
        yield made


@pytest.fixture
def session(workspace: Workspace, opa: Path) -> Iterator[Session]:
    with Session(workspace, opa=opa, actor="ada") as opened:
        yield opened
