from importlib.resources import files
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from dataspine.core import database as module
from dataspine.core.database import Database
from dataspine.core.errors import IntegrityError, UnavailableError


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


def test_an_empty_an_older_and_a_newer_file_are_refused_and_a_migrated_one_is_not(
    tmp_path: Path,
) -> None:
    database = Database(tmp_path / "spine.db")

    def told() -> str:
        with pytest.raises(UnavailableError) as raised:
            database.require_current()
        assert (raised.value.code, raised.value.retry) == ("spine.database_version", False)
        return raised.value.problem

    scripts = ScriptDirectory(str(files("dataspine.core").joinpath("migrations")))
    head = scripts.get_current_head()
    assert told() == f"the database is at version none, this program needs {head}"
    database.migrate()
    database.require_current()
    for other in ("0001", "9999"):
        with database.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = ?", (other,))
        assert told() == f"the database is at version {other}, this program needs {head}"
    database.close()


def test_a_damaged_file_is_no_fault_of_the_program(tmp_path: Path) -> None:
    path = tmp_path / "spine.db"
    path.write_bytes(b"no database at all" * 100)
    database = Database(path)
    with pytest.raises(IntegrityError) as raised:
        database.require_current()
    database.close()
    error = raised.value
    assert (error.code, error.where, error.exit_code) == ("spine.database_damaged", str(path), 4)
    assert error.remedy


def test_a_clone_without_state_is_told_how_to_get_it(tmp_path: Path) -> None:
    database = Database(tmp_path / ".spine" / "spine.db")
    with pytest.raises(UnavailableError) as raised:
        database.require_current()
    assert "spine init ." in raised.value.remedy
