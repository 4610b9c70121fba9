"""The fuzzed requests of ``tests/web``, many more of them."""

from pathlib import Path

import pytest
from tests.web.fuzzed import TAGS, faults

from dataspine.adapters.init import init
from dataspine.adapters.session import Session
from dataspine.web.app import create_app

pytestmark = [pytest.mark.integration, pytest.mark.faults]

EXAMPLES = 75


@pytest.mark.parametrize("tag", TAGS)
def test_answers_keep_to_the_document_for_long(tmp_path: Path, opa: Path, tag: str) -> None:
    workspace = init(tmp_path / "shop", name="shop", told=lambda _: None)
    with Session(workspace, opa=opa) as session:
        assert list(faults(create_app(session), tag, examples=EXAMPLES)) == []
