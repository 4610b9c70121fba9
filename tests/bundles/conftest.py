from collections.abc import Iterator
from pathlib import Path

import pytest

from dataspine.bundles import (
    BundleStore,
    Content,
    Inputs,
    SigningKey,
    Trust,
    build,
    generate_key,
    packaged,
)
from dataspine.core.database import Database

MATRIX = {
    "version": 1,
    "geographies": {"EU": {"countries": ["DE"], "regions": ["eu-west-1"]}},
    "transfers": {},
}


@pytest.fixture
def content() -> Content:
    return build(packaged(), Inputs(config={"rules": {}}, matrix=MATRIX, version="1.0.0"))


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    generate_key(tmp_path / "dev.pem")
    return SigningKey.load(tmp_path / "dev.pem", id="dev")


@pytest.fixture
def trust(key: SigningKey) -> Trust:
    return Trust((key.trusted(channels=("dev",)),))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BundleStore]:
    database = Database(tmp_path / "spine.db")
    database.migrate()
    yield BundleStore(database, tmp_path / "bundles")
    database.close()
