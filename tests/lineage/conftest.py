"""A database with the lineage tables and the runner's flushes."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from tests.store import Place

from dataspine.core.database import Database
from dataspine.lineage import _tables as tables

TABLES = (
    tables.outbox,
    tables.receivers,
    tables.deliveries,
    tables.events,
    tables.jobs,
    tables.datasets,
    tables.runs,
    tables.aliases,
    tables.edges,
)


def create(place: Place) -> Database:
    database = Database(place)
    with database.begin() as connection:
        for table in TABLES:
            table.create(connection, checkfirst=True)
        connection.execute(
            sa.text("CREATE TABLE IF NOT EXISTS cdc_flushes (id INTEGER PRIMARY KEY, state TEXT)")
        )
    return database


@pytest.fixture
def database(place: Place) -> Iterator[Database]:
    made = create(place)
    yield made
    made.close()
