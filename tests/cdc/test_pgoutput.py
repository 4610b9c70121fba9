"""The decoder against messages written by hand: forms, pieces, and what it refuses."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataspine.cdc.event import UNCHANGED, Batch, Change, Column, Commit, Op, Relation
from dataspine.cdc.pgoutput import (
    PIECE_BYTES,
    Decoder,
    KeyChangedError,
    MalformedMessageError,
    type_name,
)
from dataspine.core.errors import DataSpineError

OID = 16400
RELATION = Relation(
    OID, "public", "t", (Column("id", "int4", True), Column("note", "text", False)), "default"
)


def begin(lsn: int = 100) -> bytes:
    return b"B" + struct.pack(">QqI", lsn, 0, 7)


def commit(lsn: int = 100, end: int = 120, microseconds: int = 1_500_000) -> bytes:
    return b"C" + struct.pack(">BQQq", 0, lsn, end, microseconds)


def describe(relation: Relation = RELATION, *, identity: bytes = b"d", keys: int = 1) -> bytes:
    oids = {"int4": 23, "text": 25}
    head = struct.pack(">I", relation.oid) + f"{relation.namespace}\0{relation.name}\0".encode()
    columns = b"".join(
        bytes([index < keys])
        + column.name.encode()
        + b"\0"
        + struct.pack(">Ii", oids[column.type], -1)
        for index, column in enumerate(relation.columns)
    )
    return b"R" + head + identity + struct.pack(">H", len(relation.columns)) + columns


def values(*row: str | bytes | None) -> bytes:
    """Write a tuple; bytes stand for a kind of their own (``b"u"``)."""
    parts = [
        b"n"
        if value is None
        else value
        if isinstance(value, bytes)
        else b"t" + struct.pack(">I", len(value.encode())) + value.encode()
        for value in row
    ]
    return struct.pack(">H", len(row)) + b"".join(parts)


def insert(*row: str | bytes | None, oid: int = OID) -> bytes:
    return b"I" + struct.pack(">I", oid) + b"N" + values(*row)


def feed(*messages: bytes, decoder: Decoder | None = None) -> list[Batch]:
    decoder = decoder or Decoder()
    return [batch for message in messages if (batch := decoder.feed(message)) is not None]


def test_a_transaction_is_one_batch_with_its_positions_and_time() -> None:
    assert feed(begin(), describe(), insert("1", "é"), insert("2", None), commit()) == [
        Batch(
            100,
            [
                Change(Op.INSERT, RELATION, ("1", "é"), None, 0),
                Change(Op.INSERT, RELATION, ("2", None), None, 1),
            ],
            Commit(100, 120, 946_684_801.5),
        )
    ]


def test_an_update_carries_what_was_sent_of_the_old_row() -> None:
    head = b"U" + struct.pack(">I", OID)
    new = b"N" + values("1", b"u")
    (batch,) = feed(
        begin(),
        describe(),
        head + new,
        head + b"K" + values("0", None) + new,
        head + b"O" + values("0", "old") + new,
        head + b"O" + values("0", None) + new,
        b"D" + struct.pack(">I", OID) + b"K" + values("1", None),
        commit(),
    )
    assert [(c.op, c.row, c.old) for c in batch.changes] == [
        (Op.UPDATE, ("1", UNCHANGED), None),
        (Op.UPDATE, ("1", UNCHANGED), ("0", None)),
        (Op.UPDATE, ("1", "old"), ("0", "old")),
        (Op.UPDATE, ("1", None), ("0", None)),
        (Op.DELETE, None, ("1", None)),
    ]


def test_an_unchanged_key_is_taken_from_the_old_key() -> None:
    head = b"U" + struct.pack(">I", OID)
    old = head + b"K" + values("long", None)
    (batch,) = feed(begin(), describe(), old + b"N" + values(b"u", "b"), commit())
    assert batch.changes[0].row == ("long", "b")


def test_logical_messages_other_types_and_origins_are_no_changes() -> None:
    message = b"M" + struct.pack(">BQ", 1, 5) + b"spine.heartbeat\0" + struct.pack(">I", 2) + b"{}"
    (batch,) = feed(begin(), message, b"Y" + bytes(9), b"O" + bytes(12), commit())
    assert batch == Batch(100, [], Commit(100, 120, 946_684_801.5), heartbeat=True)
    foreign = b"M" + struct.pack(">BQ", 1, 5) + b"other\0" + struct.pack(">I", 0)
    (batch,) = feed(begin(), foreign, commit())
    assert batch == Batch(100, [], Commit(100, 120, 946_684_801.5))
    assert feed(message) == []


def test_an_equal_description_is_the_same_object_and_a_changed_one_is_not() -> None:
    decoder = Decoder([RELATION])
    wider = Relation(OID, "public", "t", (*RELATION.columns, Column("x", "text", False)), "default")
    (batch,) = feed(
        begin(),
        describe(),
        insert("1", "a"),
        describe(),
        insert("2", "a"),
        describe(wider),
        insert("3", "a", "b"),
        commit(),
        decoder=decoder,
    )
    first, second, third = [change.relation for change in batch.changes]
    assert first is second is RELATION
    assert third == wider


def test_identity_full_keeps_the_keys_of_the_catalog() -> None:
    decoder = Decoder([RELATION])
    (batch,) = feed(
        begin(), describe(identity=b"f", keys=2), insert("1", "a"), commit(), decoder=decoder
    )
    assert batch.changes[0].relation == Relation(OID, "public", "t", RELATION.columns, "full")


def test_identity_full_without_the_key_columns_is_no_fault_of_the_stream() -> None:
    columns = (Column("other", "int4", True),)
    with pytest.raises(KeyChangedError, match="the key of t is not the one"):
        Decoder([RELATION]).feed(
            describe(Relation(OID, "public", "t", columns, "full"), identity=b"f")
        )


def test_a_full_piece_leaves_when_more_follows() -> None:
    rows = [insert(str(n), "x") for n in range(10_001)]
    batches = feed(begin(), describe(), *rows, commit())
    assert [(len(b.changes), b.commit is not None) for b in batches] == [
        (5000, False),
        (5000, False),
        (1, True),
    ]
    exact = feed(begin(), describe(), *rows[:5000], commit())
    assert [(len(b.changes), b.commit is not None) for b in exact] == [(5000, True)]


def test_wide_rows_make_smaller_pieces() -> None:
    wide = insert("1", "x" * (PIECE_BYTES // 4))
    batches = feed(begin(), describe(), *[wide] * 9, commit())
    assert [len(batch.changes) for batch in batches] == [4, 4, 1]


def test_a_truncate_is_one_change_for_each_table() -> None:
    other = Relation(OID + 1, "public", "u", RELATION.columns, "default")
    message = b"T" + struct.pack(">IBII", 2, 0, OID, OID + 1)
    (batch,) = feed(begin(), describe(), describe(other), message, commit())
    assert batch.changes == [
        Change(Op.TRUNCATE, RELATION, None, None, 0),
        Change(Op.TRUNCATE, other, None, None, 1),
    ]


@pytest.mark.parametrize(
    ("oid", "modifier", "name"),
    [
        (23, -1, "int4"),
        (1700, -1, "numeric"),
        (1700, (12 << 16 | 2) + 4, "numeric(12,2)"),
        (1700, (3 << 16 | (-2 & 0x7FF)) + 4, "numeric(3,-2)"),
        (1700, (1000 << 16 | 1000) + 4, "numeric(1000,1000)"),
        (1043, 44, "varchar(40)"),
        (1043, -1, "varchar"),
        (1042, 7, "bpchar"),
        (1184, 3, "timestamptz"),
        (99_999, 8, "text"),
    ],
)
def test_types_are_named_with_their_modifiers(oid: int, modifier: int, name: str) -> None:
    assert type_name(oid, modifier) == name


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([b""], "ends too early"),
        ([b"X"], "kind 88 is unknown"),
        ([begin(), begin()], "begins inside another"),
        ([commit()], "does not belong"),
        ([begin(100), commit(101, 120)], "does not belong"),
        ([begin(100), commit(100, 99)], "does not belong"),
        ([begin() + b"\0"], "another length"),
        ([begin(), insert("1", "a")], "not described"),
        ([describe(), insert("1", "a")], "outside a transaction"),
        ([begin(), describe(), insert("1")], "another form"),
        ([begin(), describe(), insert("1", "a", "b")], "another form"),
        ([begin(), describe(), insert("1", "a") + b"x"], "differ in length"),
        ([begin(), describe(), insert("1", b"t\xff\xff\xff\xff")], "differ in length"),
        ([begin(), describe(), insert("1", b"t\0\0\0\1\xff")], "not UTF-8"),
        ([begin(), describe(), insert("1", b"b\0\0\0\0")], "value kind 98"),
        ([describe(identity=b"?")], "identity of t is unknown"),
        ([describe()[:-1]], "ends too early"),
        ([b"R\0\0\0\1public"], "no end"),
        ([begin(), b"T" + struct.pack(">IB", 1 << 30, 0)], "another length"),
    ],
)
def test_a_malformed_stream_is_refused(messages: list[bytes], problem: str) -> None:
    with pytest.raises(MalformedMessageError, match=problem) as caught:
        feed(*messages)
    assert caught.value.code == "cdc.stream_malformed"
    assert caught.value.remedy


WHOLE = [
    begin(),
    describe(),
    insert("1", "some text"),
    b"U" + struct.pack(">I", OID) + b"K" + values("0", None) + b"N" + values("1", b"u"),
    b"D" + struct.pack(">I", OID) + b"O" + values("0", "old"),
    b"T" + struct.pack(">IBI", 1, 0, OID),
    b"M" + struct.pack(">BQ", 1, 5) + b"p\0" + struct.pack(">I", 1) + b"c",
    commit(),
]


def feed_or_refuse(message: bytes) -> Batch | None:
    decoder = Decoder([RELATION])
    feed(begin(), describe(), decoder=decoder)
    try:
        return decoder.feed(message)
    except DataSpineError:
        return None


@given(st.sampled_from(b"BCRIUDTMYOXS"), st.binary(max_size=200))
def test_random_bytes_never_escape_as_another_error(kind: int, rest: bytes) -> None:
    feed_or_refuse(bytes([kind]) + rest)


@given(st.sampled_from(WHOLE), st.data())
def test_cut_and_changed_messages_never_escape_as_another_error(
    message: bytes, data: st.DataObject
) -> None:
    feed_or_refuse(message[: data.draw(st.integers(0, len(message)))])
    changed = bytearray(message)
    for place in data.draw(st.lists(st.integers(0, len(message) - 1), max_size=4)):
        changed[place] = data.draw(st.integers(0, 255))
    feed_or_refuse(bytes(changed))


@pytest.mark.parametrize("message", WHOLE)
def test_every_shortened_message_is_refused(message: bytes) -> None:
    decoder = Decoder()
    feed(begin(), describe(), decoder=decoder)
    for end in range(len(message)):
        with pytest.raises(MalformedMessageError):
            decoder.feed(message[:end])


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.lists(st.tuples(TEXT, st.none() | TEXT), max_size=20))
def test_every_row_survives(rows: list[tuple[str, str | None]]) -> None:
    (batch,) = feed(begin(), describe(), *[insert(*row) for row in rows], commit())
    assert [change.row for change in batch.changes] == rows
