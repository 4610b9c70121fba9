"""The DuckDB sink: one file, opened for each flush, because an open file shuts out every reader.

A flush is one transaction: rows, deletions and the route's position. Values arrive as PostgreSQL's
text and are cast by DuckDB, a column at a time.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from dataspine.cdc.event import UNCHANGED, Column, Relation, Row
from dataspine.cdc.mask import KEY_METHODS, Masker
from dataspine.core.errors import InputError, UnavailableError

__all__ = ["DuckDbSink", "Partial", "SinkSession", "Upserts"]

Key = tuple[str, ...]
Position = tuple[int, int]

_TYPES = {
    "int2": "SMALLINT",
    "int4": "INTEGER",
    "int8": "BIGINT",
    "oid": "UINTEGER",
    "bool": "BOOLEAN",
    "float4": "REAL",
    "float8": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
    "uuid": "UUID",
}
_FALLIBLE = {"DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ"}
_MAX_DIGITS = 38
_PATIENCE = 2.0
_PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class Partial:
    """A row with unchanged columns, which the sink takes from its row of key ``origin``."""

    row: Row
    origin: Key
    position: Position


@dataclass(slots=True)
class Upserts:
    """What a table gets; keys are distinct over all three lists. Values are not yet masked."""

    rows: list[Row] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)
    partials: list[Partial] = field(default_factory=list)
    removals: list[Key] = field(default_factory=list)


class DuckDbSink:
    """A sink file and what it masks: ``masks`` is column to method, per table (short name)."""

    def __init__(
        self, name: str, path: Path, masks: Mapping[str, Mapping[str, str]], masker: Masker
    ) -> None:
        self.name = name
        self.path = path
        self.masks = masks
        self.masker = masker

    def require_keys(self, relation: Relation) -> None:
        """Raise ``InputError`` when rows of a table could not be told apart in this sink."""
        if not relation.key_indexes:
            raise InputError(
                f"the table {relation.name} has no key",
                where=self.name,
                remedy="Give it a primary key, or a replica identity with a unique index.",
                code="cdc.no_key",
            )
        for column in relation.columns:
            method = self.masks.get(relation.name, {}).get(column.name)
            if column.key and method is not None and method not in KEY_METHODS:
                raise InputError(
                    f"{method} of the key {relation.name}.{column.name} makes keys equal",
                    where=self.name,
                    remedy="Mask a key with hmac.",
                    code="cdc.key_mask",
                )

    def position(self, route: str, source: str) -> int | None:
        """Return the LSN up to which the sink has the source, or None when it has nothing."""
        if not self.path.exists():
            return None
        with self.open() as session:
            return session.position(route, source)

    @contextlib.contextmanager
    def open(self) -> Iterator[SinkSession]:
        """Open the file in a transaction; what is not committed is rolled back at the end."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connect()
        try:
            yield SinkSession(self, connection)
        finally:
            connection.close()

    def _connect(self) -> Any:
        # A route's flush and a replay of its rows meet here; each holds the file for a moment.
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return duckdb.connect(str(self.path))
            except duckdb.IOException as error:
                if "lock" not in str(error).lower():
                    raise _failed(self.path, error) from None
                if time.monotonic() > deadline:
                    break
            except duckdb.Error as error:
                raise _failed(self.path, error) from None
            time.sleep(_PAUSE)
        raise UnavailableError(
            "sink file open elsewhere",
            where=str(self.path),
            remedy="Close the program that has it open; the route tries again.",
            code="cdc.sink_locked",
        )


class SinkSession:
    """One transaction of a sink."""

    def __init__(self, sink: DuckDbSink, connection: Any) -> None:
        self._sink = sink
        self._connection = connection
        self._ensured: dict[str, Relation] = {}
        self._stage: pa.Table | None = None
        self._run("BEGIN")
        self._run(
            "CREATE TABLE IF NOT EXISTS _spine"
            " (route VARCHAR, source VARCHAR, lsn UBIGINT, PRIMARY KEY (route, source))"
        )

    def position(self, route: str, source: str) -> int | None:
        """Return the committed position of a route's source."""
        rows = self._run("SELECT lsn FROM _spine WHERE route = ? AND source = ?", [route, source])
        return int(rows[0][0]) if rows else None

    def commit(self, route: str, source: str, lsn: int) -> None:
        """Write the position and commit rows and position together."""
        self._run("INSERT OR REPLACE INTO _spine VALUES (?, ?, ?)", [route, source, lsn])
        self._run("COMMIT")

    def commit_rows(self) -> None:
        """Commit rows and leave the position: a replay moves nothing forward."""
        self._run("COMMIT")

    def ensure(self, relation: Relation) -> None:
        """Create the table, or give it the columns and types that the relation has now."""
        if self._ensured.get(relation.name) is relation:
            return
        self._sink.require_keys(relation)
        name = _quoted(relation.name)
        wanted = {c.name: self._type(relation, c) for c in relation.columns}
        columns = ", ".join(f"{_quoted(c)} {t}" for c, t in wanted.items())
        self._run(
            f"CREATE TABLE IF NOT EXISTS {name} ({columns}, _spine_lsn UBIGINT, _spine_seq BIGINT)"
        )
        found = {
            str(row[0]): str(row[1])
            for row in self._run(
                "SELECT column_name, data_type FROM information_schema.columns"
                " WHERE table_name = ?",
                [relation.name],
            )
        }
        for column, kind in wanted.items():
            if column not in found:
                self._run(f"ALTER TABLE {name} ADD COLUMN {_quoted(column)} {kind}")
            elif found[column] != _CANONICAL.get(kind, kind):
                self._run(f"ALTER TABLE {name} ALTER COLUMN {_quoted(column)} TYPE {kind}")
        self._ensured[relation.name] = relation

    def empty(self, table: str) -> None:
        """Remove every row of a table, if the sink has the table."""
        if self._run("SELECT 1 FROM information_schema.tables WHERE table_name = ?", [table]):
            self._run(f"DELETE FROM {_quoted(table)}")  # noqa: S608 - quoted

    def existing(self, relation: Relation, keys: Sequence[Key]) -> list[bool]:
        """Say for each source key whether the sink has its row."""
        found = self.positions(relation, keys)
        return [position is not None for position in found]

    def positions(self, relation: Relation, keys: Sequence[Key]) -> list[Position | None]:
        """Return for each source key the position of the sink's row."""
        if not keys:
            return []
        self.ensure(relation)
        with self._staged(self._key_columns(relation, keys), len(keys)):
            rows = self._run(
                f"SELECT s.i, t._spine_lsn, t._spine_seq FROM stage s JOIN"  # noqa: S608 - quoted
                f" {_quoted(relation.name)} t ON {self._on(relation)}"
            )
        found: list[Position | None] = [None] * len(keys)
        for index, lsn, seq in rows:
            found[index] = (int(lsn), int(seq))
        return found

    def rejected(self, relation: Relation, rows: Sequence[Row]) -> list[int]:
        """Return the indexes of rows whose text the sink's types cannot take."""
        kinds = [self._type(relation, c) for c in relation.columns]
        risky = [i for i, kind in enumerate(kinds) if kind in _FALLIBLE or "(" in kind]
        if not risky or not rows:
            return []
        columns = {f"c{i}": [_text(row[i]) for row in rows] for i in risky}
        faults = " OR ".join(
            f"(c{i} IS NOT NULL AND TRY_CAST(c{i} AS {kinds[i]}) IS NULL)" for i in risky
        )
        with self._staged(columns, len(rows)):
            found = self._run(f"SELECT i FROM stage WHERE {faults} ORDER BY i")  # noqa: S608 - types are ours
        return [int(row[0]) for row in found]

    def apply(self, relation: Relation, upserts: Upserts, *, fresh: bool = False) -> None:
        """Bring the table to what ``upserts`` says; ``fresh``: none of the keys can be there."""
        # 1. Rows that need the sink's own values are completed before anything changes.
        self.ensure(relation)
        completed = self._complete(relation, upserts.partials)
        # 2. Then deletions, then everything else.
        if upserts.removals and not fresh:
            with self._staged(self._key_columns(relation, upserts.removals), len(upserts.removals)):
                self._run(
                    f"DELETE FROM {_quoted(relation.name)} t USING stage s"  # noqa: S608 - quoted
                    f" WHERE {self._on(relation)}"
                )
        for temporary in completed:
            self._merge(relation, temporary, fresh=False)
            self._run(f"DROP TABLE {temporary}")
        if upserts.rows:
            columns = self._masked(relation, upserts.rows, upserts.positions)
            with self._staged(columns, len(upserts.rows)):
                self._merge(relation, f"(SELECT {self._casts(relation)} FROM stage s)", fresh=fresh)  # noqa: S608 - quoted

    def _complete(self, relation: Relation, partials: Sequence[Partial]) -> list[str]:
        groups: dict[tuple[int, ...], list[Partial]] = {}
        for partial in partials:
            unchanged = tuple(i for i, v in enumerate(partial.row) if v is UNCHANGED)
            groups.setdefault(unchanged, []).append(partial)
        names = []
        for number, (unchanged, group) in enumerate(groups.items()):
            columns = self._masked(relation, [p.row for p in group], [p.position for p in group])
            columns |= self._key_columns(relation, [p.origin for p in group])
            with self._staged(columns, len(group)):
                self._run(
                    f"CREATE TEMP TABLE completed{number} AS"  # noqa: S608 - quoted
                    f" SELECT {self._casts(relation, frozenset(unchanged))}"
                    f" FROM stage s JOIN {_quoted(relation.name)} t ON {self._on(relation)}"
                )
            names.append(f"completed{number}")
        return names

    def _merge(self, relation: Relation, source: str, *, fresh: bool) -> None:
        table = _quoted(relation.name)
        names = [*(_quoted(c.name) for c in relation.columns), "_spine_lsn", "_spine_seq"]
        columns, values = ", ".join(names), ", ".join(f"s.{name}" for name in names)
        if fresh:
            self._run(f"INSERT INTO {table} ({columns}) SELECT {values} FROM {source} s")  # noqa: S608 - quoted
            return
        keys = [_quoted(c.name) for c in relation.columns if c.key]
        on = " AND ".join(f"t.{key} = s.{key}" for key in keys)
        changes = ", ".join(f"{name} = s.{name}" for name in names if name not in keys)
        self._run(
            f"MERGE INTO {table} t USING {source} s ON {on}"  # noqa: S608 - quoted
            f" WHEN MATCHED THEN UPDATE SET {changes}"
            f" WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({values})"
        )

    def _masked(
        self, relation: Relation, rows: Sequence[Row], positions: Sequence[Position]
    ) -> dict[str, Any]:
        masks = self._sink.masks.get(relation.name, {})
        columns: dict[str, Any] = {}
        for i, (column, values) in enumerate(zip(relation.columns, zip(*rows, strict=True))):  # noqa: B905 - a longer row is impossible
            texts: Sequence[str | None] = values
            if UNCHANGED in set(values):
                texts = [_text(value) for value in values]
            method = masks.get(column.name)
            columns[f"c{i}"] = self._sink.masker.column(method, texts) if method else texts
        columns["lsn"] = pa.array([p[0] for p in positions], pa.uint64())
        columns["seq"] = pa.array([p[1] for p in positions], pa.int64())
        return columns

    def _key_columns(self, relation: Relation, keys: Sequence[Key]) -> dict[str, Any]:
        masks = self._sink.masks.get(relation.name, {})
        columns: dict[str, Any] = {}
        for index, values in zip(relation.key_indexes, zip(*keys, strict=True), strict=True):
            method = masks.get(relation.columns[index].name)
            columns[f"k{index}"] = (
                self._sink.masker.column(method, values) if method else list(values)
            )
        return columns

    def _on(self, relation: Relation) -> str:
        return " AND ".join(
            f"t.{_quoted(relation.columns[i].name)} ="
            f" CAST(s.k{i} AS {self._type(relation, relation.columns[i])})"
            for i in relation.key_indexes
        )

    def _casts(self, relation: Relation, unchanged: frozenset[int] = frozenset()) -> str:
        parts = []
        for i, column in enumerate(relation.columns):
            name, kind = _quoted(column.name), self._type(relation, column)
            if i in unchanged:
                parts.append(f"t.{name}")
            elif kind == "BLOB":
                parts.append(f"unhex(substring(s.c{i}, 3)) AS {name}")
            else:
                parts.append(
                    f"s.c{i} AS {name}"
                    if kind == "VARCHAR"
                    else f"CAST(s.c{i} AS {kind}) AS {name}"
                )
        return ", ".join([*parts, "s.lsn AS _spine_lsn", "s.seq AS _spine_seq"])

    def _type(self, relation: Relation, column: Column) -> str:
        if column.name in self._sink.masks.get(relation.name, {}):
            return "VARCHAR"
        return _sink_type(column.type)

    @contextlib.contextmanager
    def _staged(self, columns: Mapping[str, Any], count: int) -> Iterator[None]:
        arrays = {
            name: values if isinstance(values, pa.Array) else pa.array(values, pa.string())
            for name, values in columns.items()
        }
        arrays["i"] = pa.array(range(count), pa.int64())
        self._stage = pa.table(arrays)
        try:
            yield
        finally:
            self._stage = None

    def _run(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        # DuckDB finds what a statement calls `stage` under this name. Registered, it would be a
        # view, and a transaction keeps a dropped view, with all its rows, until it ends.
        stage = self._stage  # noqa: F841 - see above
        try:
            # An unread result blocks the next statement, so each is read to its end.
            answer = self._connection.execute(statement, list(values))
            rows: list[tuple[Any, ...]] = answer.fetchall()
        except duckdb.Error as error:
            raise _failed(self._sink.path, error) from None
        return rows


_CANONICAL = {"REAL": "FLOAT", "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)\Z")


def _sink_type(kind: str) -> str:
    if kind == "bytea":
        return "BLOB"
    numeric = _NUMERIC.match(kind)
    if numeric and int(numeric[2]) <= int(numeric[1]) <= _MAX_DIGITS:
        return f"DECIMAL({numeric[1]},{numeric[2]})"
    # Numbers without a scale, arrays, documents and intervals keep every character as text.
    return _TYPES.get(kind.partition("(")[0], "VARCHAR")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _failed(path: Path, error: Exception) -> UnavailableError:
    # DuckDB's messages quote values, so only the kind of the error leaves this module.
    return UnavailableError(
        f"the sink failed: {type(error).__name__}",
        where=str(path),
        remedy="Nothing was written; check the file and the disk, then run the route again.",
        code="cdc.sink_failed",
    )
