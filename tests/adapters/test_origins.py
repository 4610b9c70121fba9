"""Where a source is, from its connection string, which no error shows."""

from pathlib import Path

import pytest

from dataspine.adapters import route_deploy
from dataspine.adapters.init import init
from dataspine.adapters.session import Session
from dataspine.cdc.route import load_route
from dataspine.core.errors import InputError


def test_a_connection_string_that_is_none_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = init(tmp_path / "shop", name="shop", told=lambda _: None)
    route = load_route(workspace.root / workspace.settings.routes[0])
    variable = route.sources[0].dsn.removeprefix("env:")
    with Session(workspace) as session:
        monkeypatch.setenv(variable, "hunter2 and more")
        with pytest.raises(InputError) as caught:
            route_deploy.origins(session, route)
    assert (caught.value.code, caught.value.where) == ("cdc.dsn_invalid", f"env:{variable}")
    assert "hunter2" not in str(caught.value.document())
