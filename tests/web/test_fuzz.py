"""Requests by the thousand, made from the service's own OpenAPI document."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp
from tests.web.fuzzed import TAGS, faults, tags

from dataspine.adapters.init import init
from dataspine.adapters.session import Session
from dataspine.web.app import create_app

pytestmark = pytest.mark.integration

EXAMPLES = 12  # of each operation, and as many that break the document


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[ASGIApp]:
    workspace = init(tmp_path_factory.mktemp("web") / "shop", name="shop", told=lambda _: None)
    with Session(workspace, opa=opa) as session:
        yield create_app(session)


@pytest.mark.parametrize("tag", TAGS)
def test_answers_keep_to_the_document_and_no_request_is_a_fault(app: ASGIApp, tag: str) -> None:
    assert list(faults(app, tag, examples=EXAMPLES)) == []


def test_no_operation_is_left_out(app: ASGIApp) -> None:
    assert tags(app) == set(TAGS)
