"""A small content, a key that is trusted for some channels, and a store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bundles.sample import PRODUCT, inputs
from tests.store import Place

from dataspine.bundles import BundleStore, Content, SigningKey, Trust, build
from dataspine.bundles import generate_key as generate
from dataspine.bundles._tables import approvals, archives, bundles
from dataspine.core.database import Database, metadata


@pytest.fixture
def content() -> Content:
    return build(PRODUCT, inputs())


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    generate(tmp_path / "key.pem")
    return SigningKey.load(tmp_path / "key.pem", id="release-1")


@pytest.fixture
def trust(key: SigningKey) -> Trust:
    return Trust((key.trusted(channels=("dev", "stable")),))


@pytest.fixture
def database(place: Place) -> Iterator[Database]:
    found = Database(place)
    with found.begin() as connection:
        metadata.create_all(connection, tables=[bundles, archives, approvals])
    yield found
    found.close()


@pytest.fixture
def store(database: Database) -> BundleStore:
    return BundleStore(database)
