from pathlib import Path

import pytest

from dataspine.core import database as module
from dataspine.core.database import Database
from dataspine.core.errors import UnavailableError


def test_a_writer_that_gets_no_turn_in_time_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_MS", 10)
    database = Database(tmp_path / "spine.db")

    with database.begin(), pytest.raises(UnavailableError) as raised, database.begin():
        pass

    assert raised.value.document() == {
        "code": "spine.database",
        "problem": "database is locked",
        "where": str(tmp_path / "spine.db"),
        "remedy": "Another process holds it; try again.",
        "retry": True,
    }
    with database.begin() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    database.close()
