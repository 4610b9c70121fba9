"""PostgreSQL's logical replication messages (pgoutput, protocol 1) as batches of changes.

The decoder keeps no more than one piece of a transaction. Whatever it is fed, it answers with a
batch, with nothing, or with ``MalformedMessageError``: what cannot be read stops its route. A key
that changed meanwhile is no fault of the stream: ``KeyChangedError``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from dataspine.cdc.event import (
    HEARTBEAT,
    UNCHANGED,
    Batch,
    Change,
    Column,
    Commit,
    Op,
    Relation,
    Row,
)
from dataspine.core.errors import ConflictError, InputError

__all__ = [
    "PIECE_BYTES",
    "PIECE_CHANGES",
    "TYPES",
    "Decoder",
    "KeyChangedError",
    "MalformedMessageError",
    "type_name",
]

PIECE_CHANGES: Final = 5_000
PIECE_BYTES: Final = 16 * 1024 * 1024

_EPOCH: Final = 946_684_800.0  # PostgreSQL counts from 2000-01-01
_BEGIN, _COMMIT, _INSERT, _UPDATE, _DELETE = b"BCIUD"
_RELATION, _TRUNCATE, _MESSAGE, _TYPE, _ORIGIN = b"RTMYO"
_NEW, _KEY, _OLD = b"NKO"
_TEXT, _NULL, _TOAST = b"tnu"
_PAD: Final = b"\0\0\0\0"  # lets kind and length be read together, also at a message's end
_IDENTITY: Final = {ord("d"): "default", ord("n"): "nothing", ord("f"): "full", ord("i"): "index"}

# Looking up an enum's member and calling a named tuple cost more than the rest of a change.
_OP_INSERT, _OP_UPDATE, _OP_DELETE = Op.INSERT, Op.UPDATE, Op.DELETE
_new = tuple.__new__

_begin = struct.Struct(">QqI").unpack_from
_commit = struct.Struct(">BQQq").unpack_from
_change = struct.Struct(">IBH").unpack_from  # relation, tuple tag, number of columns
_again = struct.Struct(">BH").unpack_from  # the second tuple of an update
_field = struct.Struct(">BI").unpack_from
_message = struct.Struct(">BQ").unpack_from
_u16 = struct.Struct(">H").unpack_from
_u32 = struct.Struct(">I").unpack_from
_truncate = struct.Struct(">IB").unpack_from
_type = struct.Struct(">Ii").unpack_from

TYPES: Final = {
    16: "bool",
    17: "bytea",
    20: "int8",
    21: "int2",
    23: "int4",
    25: "text",
    114: "json",
    700: "float4",
    701: "float8",
    1042: "bpchar",
    1043: "varchar",
    1082: "date",
    1083: "time",
    1114: "timestamp",
    1184: "timestamptz",
    1700: "numeric",
    2950: "uuid",
    3802: "jsonb",
}


class MalformedMessageError(InputError):
    """The stream holds what pgoutput's protocol 1 does not allow."""

    code = "cdc.stream_malformed"

    def __init__(self, problem: str) -> None:
        super().__init__(
            problem,
            where="replication stream",
            remedy="Check that the slot uses pgoutput; then destroy the route and start it again.",
        )


class KeyChangedError(ConflictError):
    """The stream describes a table from before, or after, its key got other columns or names."""

    code = "cdc.key_changed"

    def __init__(self, table: str) -> None:
        super().__init__(
            f"the key of {table} is not the one that the stream describes",
            where="replication stream",
            remedy="Run the route: it starts over with a new snapshot.",
        )


def type_name(oid: int, modifier: int) -> str:
    """Name a type for the sink: ``numeric(12,2)``, ``varchar(40)``; an unknown one is ``text``."""
    name = TYPES.get(oid, "text")
    if modifier < 4:  # both modifiers below count from 4, and -1 means none
        return name
    if name == "varchar":
        return f"varchar({modifier - 4})"
    if name == "numeric":
        packed = modifier - 4
        scale = ((packed & 0x7FF) ^ 1024) - 1024  # eleven bits, signed
        return f"numeric({packed >> 16 & 0xFFFF},{scale})"
    return name


class Decoder:
    """Turn messages into batches, one ``feed`` per message.

    ``relations`` are the tables as the catalog describes them. An equal description in the stream
    is answered with the same object, and under identity ``full``, where the stream calls every
    column a key, the catalog's keys hold.
    """

    def __init__(self, relations: Iterable[Relation] = ()) -> None:
        self._catalog = {relation.oid: relation for relation in relations}
        self._relations: dict[int, tuple[Relation, int]] = {}
        self._changes: list[Change] = []
        self._begin = -1
        self._sequence = 0
        self._bytes = 0
        self._heartbeat = False

    def feed(self, message: bytes) -> Batch | None:
        """Read one message; return a piece when one is complete.

        A transaction's last piece carries its ``Commit``; a transaction without changes (a
        heartbeat) is one empty batch. Raises ``MalformedMessageError``.
        """
        try:
            kind = message[0]
            if kind == _INSERT:
                return self._insert(message)
            if kind == _UPDATE:
                return self._update(message)
            if kind == _DELETE:
                return self._delete(message)
            return self._control(kind, message)
        except KeyError:
            raise MalformedMessageError("a change names a table that was not described") from None
        except (IndexError, struct.error):
            raise MalformedMessageError("a message ends too early") from None
        except UnicodeDecodeError:
            raise MalformedMessageError("a value is not UTF-8") from None

    def _control(self, kind: int, message: bytes) -> Batch | None:
        if kind == _BEGIN:
            if self._begin >= 0:
                raise MalformedMessageError("a transaction begins inside another")
            self._begin = _begin(message, 1)[0]
            _require_end(message, 21)
            self._sequence = 0
            self._heartbeat = False
        elif kind == _COMMIT:
            return self._end(message)
        elif kind == _RELATION:
            self._describe(message)
        elif kind == _TRUNCATE:
            return self._truncate(message)
        elif kind == _MESSAGE:
            # Its transaction, if it has one, is what matters: it ends in an empty batch.
            self._heartbeat |= _message_prefix(message) == HEARTBEAT
        elif kind not in (_TYPE, _ORIGIN):
            raise MalformedMessageError(f"the message kind {kind} is unknown")
        return None

    def _insert(self, message: bytes) -> Batch | None:
        oid, tag, count = _change(message, 1)
        relation, width = self._relations[oid]
        if tag != _NEW or count != width:
            raise MalformedMessageError(f"an insert into {relation.name} has another form")
        row, end = _row(message + _PAD, 8, count)
        if end != len(message):
            raise MalformedMessageError("a message and its values differ in length")
        return self._add(_new(Change, (_OP_INSERT, relation, row, None, self._sequence)), end)

    def _update(self, message: bytes) -> Batch | None:
        oid, tag, count = _change(message, 1)
        relation, width = self._relations[oid]
        data = message + _PAD
        old: Row | None = None
        offset = 8
        if count != width:
            raise MalformedMessageError(f"an update of {relation.name} has another form")
        if tag in (_KEY, _OLD):
            old, offset = _row(data, offset, count)
            before, (tag, count) = tag, _again(data, offset)
            offset += 3
        if tag != _NEW or count != width:
            raise MalformedMessageError(f"an update of {relation.name} has another form")
        row, end = _row(data, offset, count)
        if end != len(message):
            raise MalformedMessageError("a message and its values differ in length")
        if old is not None and UNCHANGED in row:
            row = _fill(row, old, whole=before == _OLD)
        return self._add(_new(Change, (_OP_UPDATE, relation, row, old, self._sequence)), end)

    def _delete(self, message: bytes) -> Batch | None:
        oid, tag, count = _change(message, 1)
        relation, width = self._relations[oid]
        if tag not in (_KEY, _OLD) or count != width:
            raise MalformedMessageError(f"a delete in {relation.name} has another form")
        old, end = _row(message + _PAD, 8, count)
        if end != len(message):
            raise MalformedMessageError("a message and its values differ in length")
        return self._add(_new(Change, (_OP_DELETE, relation, None, old, self._sequence)), end)

    def _truncate(self, message: bytes) -> Batch | None:
        count, _ = _truncate(message, 1)
        _require_end(message, 6 + 4 * count)
        piece = None
        for index in range(count):
            relation, _ = self._relations[_u32(message, 6 + 4 * index)[0]]
            change = Change(Op.TRUNCATE, relation, None, None, self._sequence)
            full = self._add(change, 4)
            if full is not None and piece is not None:
                raise MalformedMessageError("one truncate names too many tables")
            piece = full or piece
        return piece

    def _add(self, change: Change, size: int) -> Batch | None:
        if self._begin < 0:
            raise MalformedMessageError("a change stands outside a transaction")
        self._sequence += 1
        changes = self._changes
        if len(changes) < PIECE_CHANGES and self._bytes < PIECE_BYTES:
            changes.append(change)
            self._bytes += size
            return None
        # A full piece leaves only when more follows, so the last piece always has the commit.
        self._changes = [change]
        self._bytes = size
        return Batch(self._begin, changes, None)

    def _end(self, message: bytes) -> Batch:
        _, lsn, end_lsn, at = _commit(message, 1)
        _require_end(message, 26)
        if lsn != self._begin or end_lsn < lsn:
            raise MalformedMessageError("a commit does not belong to the open transaction")
        commit = Commit(lsn, end_lsn, at / 1e6 + _EPOCH)
        batch = Batch(lsn, self._changes, commit, heartbeat=self._heartbeat)
        self._changes = []
        self._bytes = 0
        self._begin = -1
        return batch

    def _describe(self, message: bytes) -> None:
        (oid,) = _u32(message, 1)
        namespace, offset = _string(message, 5)
        name, offset = _string(message, offset)
        identity = _IDENTITY.get(message[offset])
        if identity is None:
            raise MalformedMessageError(f"the replica identity of {name} is unknown")
        (count,) = _u16(message, offset + 1)
        offset += 3
        columns: list[Column] = []
        for _ in range(count):
            key = bool(message[offset] & 1)
            column, offset = _string(message, offset + 1)
            columns.append(Column(column, type_name(*_type(message, offset)), key))
            offset += 8
        _require_end(message, offset)
        catalog = self._catalog.get(oid)
        if identity == "full" and catalog is not None:
            columns = _with_keys(name, columns, catalog)
        # pg_catalog is sent as an empty name.
        seen = Relation(oid, namespace or "pg_catalog", name, tuple(columns), identity)
        known = self._relations[oid][0] if oid in self._relations else catalog
        self._relations[oid] = (known if known is not None and known == seen else seen, count)


def _row(data: bytes, offset: int, count: int) -> tuple[Row, int]:
    """Read ``count`` values; the caller checks the returned end against the message's length."""
    values: list[str | None] = []
    append = values.append
    field = _field
    for _ in range(count):
        kind, length = field(data, offset)
        if kind == _TEXT:
            offset += 5
            end = offset + length
            append(data[offset:end].decode())
            offset = end
        elif kind == _NULL:
            append(None)
            offset += 1
        elif kind == _TOAST:
            append(UNCHANGED)  # type: ignore[arg-type]  # rare: the list keeps its fast common type
            offset += 1
        else:
            raise MalformedMessageError(f"the value kind {kind} is unknown")
    return tuple(values), offset


def _fill(row: Row, old: Row, *, whole: bool) -> Row:
    """Take unchanged values from the old row: any of a whole row, else the key columns' alone."""
    return tuple(
        before if value is UNCHANGED and (whole or before is not None) else value
        for value, before in zip(row, old, strict=True)
    )


def _with_keys(name: str, columns: list[Column], catalog: Relation) -> list[Column]:
    keys = {column.name for column in catalog.columns if column.key}
    if not keys <= {column.name for column in columns}:
        raise KeyChangedError(name)
    return [Column(column.name, column.type, column.name in keys) for column in columns]


def _string(message: bytes, offset: int) -> tuple[str, int]:
    end = message.find(b"\0", offset)
    if end < 0:
        raise MalformedMessageError("a name has no end")
    return message[offset:end].decode(), end + 1


def _message_prefix(message: bytes) -> str:
    _message(message, 1)
    prefix, offset = _string(message, 10)
    _require_end(message, offset + 4 + _u32(message, offset)[0])
    return prefix


def _require_end(message: bytes, end: int) -> None:
    if len(message) != end:
        raise MalformedMessageError("a message has another length than its kind")
