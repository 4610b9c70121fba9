"""The route file: types, lines, refusals."""

from pathlib import Path

import pytest

from dataspine.cdc.route import load_route
from dataspine.core.errors import InputError

ROOT = Path(__file__).parents[2]
GOOD = """name: r
sources:
  - name: shop
    engine: postgres
    region: eu-west-1
    dsn: env:SHOP
    tables:
      - name: public.people
        homes: [EU]
        home: {column: country}
sinks:
  - name: lake
    kind: duckdb
    region: eu-west-1
    path: lake.duckdb
    masks: {people.email: hmac}
dead-letter:
  region: eu-west-1
"""


def test_reference_route_is_valid() -> None:
    route = load_route(ROOT / "streaming/cdc/data-spine.yaml")
    assert route.name == "data-spine"
    assert [s.name for s in route.sinks] == ["eu-lake", "us-lake"]
    assert route.table("orders").guard_columns == ("country",)


def test_each_part_knows_its_line(tmp_path: Path) -> None:
    path = tmp_path / "route.yaml"
    path.write_text(GOOD, encoding="utf-8")
    route = load_route(path)
    table = route.sources[0].tables[0]
    assert (route.sources[0].line, table.line, route.sinks[0].line) == (3, 8, 12)
    assert (route.dead_letter_region, route.dead_letter_line) == ("eu-west-1", 18)
    assert (table.homes, table.home, table.subject) == (("EU",), {"column": "country"}, None)
    assert route.sinks[0].table_masks("people") == {"email": "hmac"}
    assert route.lag_target_seconds == 60


@pytest.mark.parametrize(
    ("old", "new", "where", "word"),
    [
        ("dsn: env:SHOP", "dsn: postgres://u:p@h/d", 6, "dsn"),
        ("path: lake.duckdb", "path: x\n    knd: 1", 16, "knd"),
        ("hmac}", "md5}", 16, "md5"),
        ("people.email", "orders.email", 16, "orders.email"),
        ("homes: [EU]", "homes: some", 9, "homes"),
    ],
)
def test_fault_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, where: int, word: str
) -> None:
    path = tmp_path / "route.yaml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_route(path)
    assert caught.value.where == f"{path}:{where}"
    assert word in caught.value.problem


def test_two_tables_of_one_short_name_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "route.yaml"
    second = "      - {name: crm.People, homes: [EU], home: {constant: DE}}\n"
    path.write_text(GOOD.replace("sinks:\n", f"{second}sinks:\n"), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_route(path)
    assert caught.value.document() == {
        "code": "cdc.names_equal",
        "problem": "the tables public.people and crm.People are both People at a sink, which has"
        " no schemas and no case",
        "where": f"{path}:11",
        "remedy": "Capture one of them by another route, into another sink file; or rename it at"
        " the source.",
        "retry": False,
    }


def test_one_sink_file_in_two_spellings_is_one_path(tmp_path: Path) -> None:
    path = tmp_path / "route.yaml"
    second = "  - {name: two, kind: duckdb, region: eu-west-1, path: ./lake.duckdb}\n"
    path.write_text(GOOD.replace("dead-letter:\n", f"{second}dead-letter:\n"), encoding="utf-8")
    with pytest.raises(InputError, match=r"the sink path 'lake\.duckdb' stands twice"):
        load_route(path)
