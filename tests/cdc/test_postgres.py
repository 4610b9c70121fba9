"""A real PostgreSQL's changes, compared whole with what was written."""

import itertools
import time
from collections.abc import Callable, Iterator

import pytest

from dataspine.cdc.event import UNCHANGED, Batch, Change, Column, Op, Relation
from dataspine.cdc.postgres import PostgresSource

pytestmark = pytest.mark.integration

Run = Callable[..., list[tuple[object, ...]]]
Make = Callable[..., PostgresSource]
Plain = tuple[str, str, object, object]


def start(source: PostgresSource) -> Iterator[Batch | None]:
    """Prepare, read the (empty) snapshot and begin to stream."""
    point = source.prepare()
    assert [change for batch in source.snapshot() for change in batch.changes] == []
    return source.stream(point, tick=0.01)


def take(stream: Iterator[Batch | None], transactions: int) -> list[Batch]:
    """Read until that many transactions are complete."""
    deadline = time.monotonic() + 30
    batches: list[Batch] = []
    for batch in stream:
        assert time.monotonic() < deadline, "the stream is late"
        if batch is not None:
            batches.append(batch)
            transactions -= batch.commit is not None
        if transactions == 0:
            break
    return batches


def plain(batches: list[Batch]) -> list[Plain]:
    return [(c.op.value, c.relation.name, c.row, c.old) for b in batches for c in b.changes]


def test_insert_update_and_delete_arrive_in_their_transaction(source: Make, run: Run) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY, note text)")
    stream = start(source("t"))
    run(
        "INSERT INTO t VALUES (1, 'a'), (2, NULL); UPDATE t SET note = 'é\t\\' WHERE id = 1;"
        "DELETE FROM t WHERE id = 2"
    )
    (batch,) = take(stream, 1)
    assert plain([batch]) == [
        ("insert", "t", ("1", "a"), None),
        ("insert", "t", ("2", None), None),
        ("update", "t", ("1", "é\t\\"), None),
        ("delete", "t", None, ("2", None)),
    ]
    assert [change.sequence for change in batch.changes] == [0, 1, 2, 3]
    assert batch.commit is not None
    assert batch.begin_lsn == batch.commit.lsn < batch.commit.end_lsn
    assert abs(batch.commit.committed_at - time.time()) < 60
    assert batch.snapshot is False


def test_a_composite_key_and_its_change(source: Make, run: Run) -> None:
    run("CREATE TABLE t (note text, a int, b text, PRIMARY KEY (b, a) INCLUDE (note))")
    stream = start(source("t"))
    run("INSERT INTO t VALUES ('x', 1, 'p')")
    run("UPDATE t SET b = 'q', note = 'y'")
    run("DELETE FROM t")
    batches = take(stream, 3)
    assert plain(batches) == [
        ("insert", "t", ("x", "1", "p"), None),
        ("update", "t", ("y", "1", "q"), (None, "1", "p")),
        ("delete", "t", None, (None, "1", "q")),
    ]
    assert batches[0].changes[0].relation.key_indexes == (1, 2)


def test_identity_full_sends_the_whole_old_row_and_keeps_the_primary_key(
    source: Make, run: Run
) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY, a text, b text)")
    run("ALTER TABLE t REPLICA IDENTITY FULL")
    stream = start(source("t"))
    run("INSERT INTO t VALUES (1, 'a', 'b'); UPDATE t SET a = 'c'; DELETE FROM t")
    batches = take(stream, 1)
    assert plain(batches) == [
        ("insert", "t", ("1", "a", "b"), None),
        ("update", "t", ("1", "c", "b"), ("1", "a", "b")),
        ("delete", "t", None, ("1", "c", "b")),
    ]
    assert {c.relation.identity for c in batches[0].changes} == {"full"}
    assert {c.relation.key_indexes for c in batches[0].changes} == {(0,)}


def test_identity_index_makes_its_columns_the_key(source: Make, run: Run) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL, a text)")
    run("CREATE UNIQUE INDEX t_code ON t (code)")
    run("ALTER TABLE t REPLICA IDENTITY USING INDEX t_code")
    one = source("t")
    stream = start(one)
    run("INSERT INTO t VALUES (1, 'x', 'a'); UPDATE t SET code = 'y'; DELETE FROM t")
    batches = take(stream, 1)
    assert plain(batches) == [
        ("insert", "t", ("1", "x", "a"), None),
        ("update", "t", ("1", "y", "a"), (None, "x", None)),
        ("delete", "t", None, (None, "y", None)),
    ]
    (relation,) = one.relations()
    assert batches[0].changes[0].relation == relation
    assert (relation.identity, relation.key_indexes) == ("index", (1,))


def test_an_unchanged_toasted_value_is_marked(source: Make, run: Run) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY, small text, big text)")
    run("ALTER TABLE t ALTER big SET STORAGE EXTERNAL")
    stream = start(source("t"))
    run("INSERT INTO t VALUES (1, 'a', repeat('x', 9000))")
    run("UPDATE t SET small = 'b'")
    assert plain(take(stream, 2)) == [
        ("insert", "t", ("1", "a", "x" * 9000), None),
        ("update", "t", ("1", "b", UNCHANGED), None),
    ]


def test_identity_full_fills_an_unchanged_toasted_value(source: Make, run: Run) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY, small text, big text)")
    run("ALTER TABLE t ALTER big SET STORAGE EXTERNAL")
    run("ALTER TABLE t REPLICA IDENTITY FULL")
    stream = start(source("t"))
    run("INSERT INTO t VALUES (1, 'a', repeat('x', 9000))")
    run("UPDATE t SET small = 'b'")
    big = "x" * 9000
    assert plain(take(stream, 2))[1] == ("update", "t", ("1", "b", big), ("1", "a", big))


def test_a_truncate_names_each_table(source: Make, run: Run) -> None:
    run("CREATE TABLE a (id int PRIMARY KEY)")
    run("CREATE TABLE b (id int PRIMARY KEY)")
    run("CREATE TABLE c (id int PRIMARY KEY)")
    stream = start(source("a", "b"))
    run("INSERT INTO a VALUES (1)")
    run("TRUNCATE a, b, c")
    assert sorted(plain(take(stream, 2)), key=str) == [
        ("insert", "a", ("1",), None),
        ("truncate", "a", None, None),
        ("truncate", "b", None, None),
    ]


def test_a_changed_table_is_a_new_relation(source: Make, run: Run) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY, a varchar(5))")
    one = source("t")
    stream = start(one)
    run("INSERT INTO t VALUES (1, 'x')")
    run("INSERT INTO t VALUES (2, 'y')")
    run("ALTER TABLE t ADD b numeric(6,2), ALTER a TYPE varchar(9)")
    run("INSERT INTO t VALUES (3, 'z', 1.5)")
    first, second, third = [batch.changes[0] for batch in take(stream, 3)]
    assert first.relation is second.relation
    assert first.relation.columns == (Column("id", "int4", True), Column("a", "varchar(5)", False))
    assert third.row == ("3", "z", "1.50")
    assert third.relation.columns == (
        Column("id", "int4", True),
        Column("a", "varchar(9)", False),
        Column("b", "numeric(6,2)", False),
    )
    assert one.relations() == (third.relation,)


TYPES: dict[str, tuple[str, str, str]] = {  # column type: (literal, type name, text)
    "smallint": ("-3", "int2", "-3"),
    "int": ("7", "int4", "7"),
    "bigint": ("9007199254740993", "int8", "9007199254740993"),
    "boolean": ("true", "bool", "t"),
    "real": ("0.1", "float4", "0.1"),
    "double precision": ("0.1", "float8", "0.1"),
    "numeric": ("1e20", "numeric", "100000000000000000000"),
    "numeric(12,2)": ("1.5", "numeric(12,2)", "1.50"),
    "numeric(3,-2)": ("12345", "numeric(3,-2)", "12300"),
    "text": ("''", "text", ""),
    "varchar(9)": (r"E'a\tb\nc\\'", "varchar(9)", "a\tb\nc\\"),
    "char(3)": ("'x'", "bpchar", "x  "),
    "uuid": (
        "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
        "uuid",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    ),
    "date": ("'2026-02-03'", "date", "2026-02-03"),
    "timestamp": ("'2026-02-03 04:05:06.789'", "timestamp", "2026-02-03 04:05:06.789"),
    "timestamptz": ("'2026-02-03 04:05:06+02'", "timestamptz", "2026-02-03 02:05:06+00"),
    "time(0)": ("'04:05:06'", "time", "04:05:06"),
    "bytea": (r"'\x00ff'", "bytea", r"\x00ff"),
    "json": ("""'{"a": [1]}'""", "json", '{"a": [1]}'),
    "jsonb": ("""'{"a": "\\\\N"}'""", "jsonb", '{"a": "\\\\N"}'),
    "interval": ("'1 day 2 hours'", "text", "1 day 02:00:00"),
    "int[]": ("'{1,2}'", "text", "{1,2}"),
}


def test_snapshot_and_stream_send_the_same_text_for_each_type(
    source: Make, run: Run, dsn: str
) -> None:
    columns = ", ".join(f"c{n} {kind}" for n, kind in enumerate(TYPES))
    values = ", ".join(literal for literal, _, _ in TYPES.values())
    nulls = ", ".join("NULL" for _ in TYPES)
    run(f"CREATE TABLE t (id int PRIMARY KEY, {columns}, g int GENERATED ALWAYS AS (1) STORED)")
    database = dsn.rpartition("=")[2]
    run(f"ALTER DATABASE {database} SET datestyle = 'German'")
    run(f"ALTER DATABASE {database} SET timezone = 'Asia/Tokyo'")
    run(f"ALTER DATABASE {database} SET bytea_output = 'escape'")
    one = source("t")
    insert = f"INSERT INTO t VALUES (%s, {values}), (%s, {nulls})"
    run(insert, 1, 2)
    point = one.prepare()
    (snapshot,) = list(one.snapshot())
    stream = one.stream(point, tick=0.01)
    run(insert, 3, 4)
    (streamed,) = take(stream, 1)
    texts = tuple(text for _, _, text in TYPES.values())
    empty = (None,) * len(TYPES)
    relation = Relation(
        oid=snapshot.changes[0].relation.oid,
        namespace="public",
        name="t",
        columns=(
            Column("id", "int4", True),
            *(Column(f"c{n}", name, False) for n, (_, name, _) in enumerate(TYPES.values())),
        ),
        identity="default",
    )
    assert snapshot.changes == [
        Change(Op.INSERT, relation, ("1", *texts), None, 0),
        Change(Op.INSERT, relation, ("2", *empty), None, 1),
    ]
    assert streamed.changes == [
        Change(Op.INSERT, relation, ("3", *texts), None, 0),
        Change(Op.INSERT, relation, ("4", *empty), None, 1),
    ]
    assert snapshot.snapshot is True
    assert snapshot.commit is not None
    assert (snapshot.begin_lsn, snapshot.commit.lsn, snapshot.commit.end_lsn) == (point,) * 3


def test_a_heartbeat_is_an_empty_batch_that_moves_the_slot(source: Make, run: Run) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY)")
    one = source("t")
    stream = start(one)
    assert next(stream) is None
    one.heartbeat()
    (batch,) = take(stream, 1)
    assert batch.changes == []
    assert batch.commit is not None
    one.confirm(batch.commit.end_lsn)
    deadline = time.monotonic() + 10
    while (state := one.slot_state()) and state.confirmed_flush_lsn < batch.commit.end_lsn:
        assert time.monotonic() < deadline
        next(stream)
    assert state is not None
    assert (state.active, state.lost) == (True, False)
    assert 0 <= state.lag_bytes < 1 << 24


def test_a_partitioned_table_is_read_by_its_root(source: Make, run: Run) -> None:
    run("CREATE TABLE t (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region)")
    run("CREATE TABLE t_eu PARTITION OF t FOR VALUES IN ('eu')")
    run("CREATE TABLE t_us PARTITION OF t FOR VALUES IN ('us')")
    run("INSERT INTO t VALUES (1, 'eu')")
    one = source("public.t")
    point = one.prepare()
    assert plain(list(one.snapshot())) == [("insert", "t", ("1", "eu"), None)]
    stream = one.stream(point, tick=0.01)
    run("UPDATE t SET region = 'us'")
    assert plain(take(stream, 1)) == [
        ("delete", "t", None, ("1", "eu")),
        ("insert", "t", ("1", "us"), None),
    ]


def test_a_name_that_needs_quotes_is_captured_and_its_heirs_are_not(source: Make, run: Run) -> None:
    run('CREATE SCHEMA "Odd"')
    run('CREATE TABLE "Odd"."Ta.ble" ("Id" int PRIMARY KEY, "a b" text)')
    run('CREATE TABLE heir () INHERITS ("Odd"."Ta.ble")')
    run("""INSERT INTO "Odd"."Ta.ble" VALUES (1, 'x')""")
    run("INSERT INTO heir VALUES (2, 'y')")
    one = source("Odd.Ta.ble")
    point = one.prepare()
    assert plain(list(one.snapshot())) == [("insert", "Ta.ble", ("1", "x"), None)]
    stream = one.stream(point, tick=0.01)
    run("INSERT INTO heir VALUES (3, 'y')")
    run("""INSERT INTO "Odd"."Ta.ble" VALUES (4, 'z')""")
    assert plain(take(stream, 1)) == [("insert", "Ta.ble", ("4", "z"), None)]


def test_a_large_transaction_comes_in_bounded_pieces(source: Make, run: Run) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY, note text)")
    stream = start(source("t"))
    run("INSERT INTO t SELECT g, 'n' || g FROM generate_series(0, 199999) g")
    batches = take(stream, 1)
    assert max(len(batch.changes) for batch in batches) == 5000
    assert [batch.commit is not None for batch in batches] == [False] * 39 + [True]
    assert {batch.begin_lsn for batch in batches} == {batches[0].begin_lsn}
    rows = list(itertools.chain.from_iterable(batch.changes for batch in batches))
    assert [(c.sequence, c.row) for c in rows] == [(n, (str(n), f"n{n}")) for n in range(200_000)]
