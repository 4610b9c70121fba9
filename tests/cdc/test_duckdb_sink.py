"""A sink's transaction holds what DuckDB holds, and nothing of ours."""

from pathlib import Path

import pyarrow as pa
from tests.cdc.world import MASKER, PEOPLE

from dataspine.cdc.duckdb_sink import DuckDbSink, Upserts
from dataspine.cdc.event import Row

PIECE = 500


def test_staged_piece_is_freed_before_the_transaction_ends(tmp_path: Path) -> None:
    sink = DuckDbSink("eu", tmp_path / "eu.duckdb", {}, MASKER)
    before = pa.total_allocated_bytes()
    held = []
    with sink.open() as session:
        for number in range(4):
            first = number * PIECE
            rows: list[Row] = [(str(i), "DE", "x" * 1_000) for i in range(first, first + PIECE)]
            session.apply(PEOPLE, Upserts(rows, [(1, i) for i in range(PIECE)]))
            held.append(pa.total_allocated_bytes() - before)
        session.commit("r", "shop", 1)
        assert session.existing(PEOPLE, [("0",), (str(4 * PIECE - 1),)]) == [True, True]
    assert held == [0, 0, 0, 0]
