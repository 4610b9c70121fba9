"""Bundles that lay in files are found in the database after an upgrade."""

from pathlib import Path

import sqlalchemy as sa

from dataspine.bundles import BundleStore
from dataspine.core.database import Database, upgrade


def test_files_of_published_bundles_are_taken_over(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'spine.db'}")
    with engine.begin() as connection:
        upgrade(connection, "0012")
        for sequence, revision in ((1, "'r1'"), (2, "'r2'"), (3, "NULL")):
            connection.exec_driver_sql(
                "INSERT INTO bundles (channel, sequence, digest, revision)"
                f" VALUES ('dev', {sequence}, 'sha256:{sequence}', {revision})"
            )
    engine.dispose()
    (tmp_path / "bundles").mkdir()
    for sequence in (1, 3):  # one was lost, and one was never published
        (tmp_path / f"bundles/dev-{sequence}.tar.gz").write_bytes(b"bundle %d" % sequence)
    database = Database(tmp_path / "spine.db")
    database.migrate()
    store = BundleStore(database)
    assert [store.find(f"r{number}", number) for number in (1, 2, 3)] == [b"bundle 1", None, None]
    database.close()
