"""The DuckDB sink: one file, opened for each flush, because an open file shuts out every reader.

A flush is one transaction: rows, deletions and the route's position. Values arrive as PostgreSQL's
text and are cast by DuckDB, a column at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from dataspine.cdc import sink_record
from dataspine.cdc.event import UNCHANGED, Column, Relation, Row
from dataspine.cdc.mask import KEY_METHODS, Masker
from dataspine.cdc.sink_file import connected, failure, type_changed
from dataspine.cdc.sink_record import SinkOwner, SinkTable
from dataspine.cdc.sink_table import fold, quoted, require_names, sink_type, tried
from dataspine.core.errors import InputError

__all__ = ["DuckDbSink", "Partial", "SinkSession", "Upserts"]

Key = tuple[str, ...]
Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Partial:
    """A row with unchanged columns, which the sink takes from its row of key ``origin``."""

    row: Row
    origin: Key
    position: Position


@dataclass(slots=True)
class Upserts:
    """What a table gets; keys are distinct over all three lists. Values are not yet masked.

    ``staged`` are the rows as columns, masked, once they were looked at.
    """

    rows: list[Row] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)
    partials: list[Partial] = field(default_factory=list)
    removals: list[Key] = field(default_factory=list)
    staged: dict[str, Any] | None = None


class DuckDbSink:
    """A sink file and what it masks: ``masks`` is column to method, per table (short name)."""

    def __init__(
        self,
        name: str,
        path: Path,
        masks: Mapping[str, Mapping[str, str]],
        masker: Masker,
        owner: SinkOwner | None = None,
    ) -> None:
        self.owner = owner
        self.name = name
        self.path = path
        self.masks = masks
        self.masker = masker

    def require(self, relation: Relation) -> None:
        """Raise ``InputError`` when the sink cannot have a table of these names and keys."""
        require_names(relation, self.name)
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

    def identities(self, table: str) -> dict[str, str]:
        """Return by what each masked column of a table is masked, keys and purposes told apart."""
        return {fold(c): self.masker.identity(m) for c, m in self.masks.get(table, {}).items()}

    def position(self, route: str, source: str) -> int | None:
        """Return the LSN up to which the sink has the source, or None when it has nothing."""
        if not self.path.exists():
            return None
        with self.open() as session:
            return session.position(route, source)

    @contextlib.contextmanager
    def open(self) -> Iterator[SinkSession]:
        """Open the file in a transaction; what is not committed is rolled back at the end."""
        with connected(self.path) as connection:
            yield SinkSession(self, connection)


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
        self._run(sink_record.CREATE)
        if sink.owner is not None:
            sink_record.claim(self._run, sink.owner, where=str(sink.path))

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
        self._sink.require(relation)
        name = quoted(relation.name)
        wanted = {c.name: self._type(relation, c) for c in relation.columns}
        columns = ", ".join(f"{quoted(c)} {t}" for c, t in wanted.items())
        self._run(
            f"CREATE TABLE IF NOT EXISTS {name} ({columns}, _spine_lsn UBIGINT, _spine_seq BIGINT)",
            at=relation.name,
        )
        rows = self._run(f"DESCRIBE {name}", at=relation.name)
        known = {fold(str(row[0])): str(row[1]) for row in rows}
        for column, kind in wanted.items():
            self._ensure_column(relation.name, column, kind, known.get(fold(column)))
        masks = self._sink.identities(relation.name)
        if not sink_record.has_masks(self._run, fold(relation.name), masks):
            self.require_masks(relation.name, masks)
            sink_record.record_masks(self._run, fold(relation.name), masks)
        self._ensured[relation.name] = relation

    def _ensure_column(self, table: str, column: str, kind: str, known: str | None) -> None:
        at = f"{table}.{column}"
        if known is None:
            self._run(f"ALTER TABLE {quoted(table)} ADD COLUMN {quoted(column)} {kind}", at=at)
        elif known != _CANONICAL.get(kind, kind):
            if "BLOB" in (known, kind):  # DuckDB would read or write its own text of the bytes
                raise type_changed(self._sink.path, at)
            self._run(
                f"ALTER TABLE {quoted(table)} ALTER COLUMN {quoted(column)} TYPE {kind}", at=at
            )

    def require_masks(self, table: str, before: Mapping[str, str] | None) -> None:
        """Raise ``ConflictError`` when the table has rows that are masked otherwise than now.

        ``before`` is how they are masked when the sink does not say; None when nobody knows.
        """
        masks, where = self._sink.identities(table), str(self._sink.path)
        sink_record.require_masks(self._run, self.described(table), masks, before, where=where)

    def values(self, table: str, column: str, limit: int) -> list[str | None]:
        """Return the distinct values of a column that is there as text, ``limit`` at most."""
        rows = self._run(
            f"SELECT DISTINCT CAST({quoted(column)} AS VARCHAR) FROM {quoted(table)} LIMIT ?",  # noqa: S608 - quoted
            [limit],
            at=f"{table}.{column}",
        )
        return [None if value is None else str(value) for (value,) in rows]

    def described(self, table: str) -> SinkTable:
        """Return a table as it stands here, without columns when it does not; names are folded."""
        if not self._has(table):
            return SinkTable(fold(table), (), has_rows=False)
        columns = self._run(f"DESCRIBE {quoted(table)}", at=table)
        rows = self._run(f"SELECT 1 FROM {quoted(table)} LIMIT 1", at=table)  # noqa: S608 - quoted
        return SinkTable(fold(table), tuple(fold(str(row[0])) for row in columns), bool(rows))

    def _has(self, table: str) -> bool:
        names = self._run("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'")
        return fold(table) in {fold(str(name)) for (name,) in names}

    def empty(self, table: str) -> None:
        """Remove every row of a table, if the sink has the table."""
        if self._has(table):
            self._run(f"DELETE FROM {quoted(table)}", at=table)  # noqa: S608 - quoted

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
                f"SELECT s.i, t._spine_lsn, t._spine_seq FROM temp.main.stage s JOIN"  # noqa: S608 - quoted
                f" {quoted(relation.name)} t ON {self._on(relation)}",
                at=relation.name,
            )
        found: list[Position | None] = [None] * len(keys)
        for index, lsn, seq in rows:
            found[index] = (int(lsn), int(seq))
        return found

    def rejected(self, relation: Relation, upserts: Upserts) -> list[tuple[int, str]]:
        """Return what the sink cannot hold: the index in rows and partials, and the columns."""
        rows, partials = upserts.rows, upserts.partials
        found = []
        if rows:
            upserts.staged = self._masked(relation, rows, upserts.positions)
            found += self._faults(relation, upserts.staged, len(rows))
        if partials:
            columns = self._masked(
                relation, [p.row for p in partials], [p.position for p in partials]
            )
            faults = self._faults(relation, columns, len(partials))
            found += [(len(rows) + index, names) for index, names in faults]
        return found

    def _faults(
        self, relation: Relation, columns: Mapping[str, Any], count: int
    ) -> list[tuple[int, str]]:
        tests = {}
        for i, column in enumerate(relation.columns):
            kind = self._type(relation, column)
            if kind != "VARCHAR":
                value = tried(f"c{i}", kind)
                tests[column.name] = f"c{i} IS NOT NULL AND {value} IS NULL"
        if not tests:
            return []
        any_fault = " OR ".join(f"({test})" for test in tests.values())
        flags = ", ".join(tests.values())
        with self._staged(columns, count):
            found = self._run(
                f"SELECT i, {flags} FROM temp.main.stage WHERE {any_fault} ORDER BY i",  # noqa: S608 - types are ours
                at=relation.name,
            )
        return [
            (int(index), ", ".join(name for name, bad in zip(tests, faults, strict=True) if bad))
            for index, *faults in found
        ]

    def apply(self, relation: Relation, upserts: Upserts, *, fresh: bool = False) -> None:
        """Bring the table to what ``upserts`` says; ``fresh``: none of the keys can be there."""
        # 1. Rows that need the sink's own values are completed before anything changes.
        self.ensure(relation)
        completed = self._complete(relation, upserts.partials)
        # 2. Then deletions, then everything else.
        if upserts.removals and not fresh:
            with self._staged(self._key_columns(relation, upserts.removals), len(upserts.removals)):
                self._run(
                    f"DELETE FROM {quoted(relation.name)} t USING temp.main.stage s"  # noqa: S608 - quoted
                    f" WHERE {self._on(relation)}",
                    at=relation.name,
                )
        for temporary in completed:
            self._merge(relation, temporary, fresh=False)
            self._run(f"DROP TABLE {temporary}")
        if upserts.rows:
            columns = upserts.staged or self._masked(relation, upserts.rows, upserts.positions)
            with self._staged(columns, len(upserts.rows)):
                source = f"(SELECT {self._casts(relation)} FROM temp.main.stage s)"  # noqa: S608 - quoted
                self._merge(relation, source, fresh=fresh)

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
                    f"CREATE TEMP TABLE _spine_completed{number} AS"  # noqa: S608 - quoted
                    f" SELECT {self._casts(relation, frozenset(unchanged))} FROM temp.main.stage s"
                    f" JOIN {quoted(relation.name)} t ON {self._on(relation)}",
                    at=relation.name,
                )
            names.append(f"temp.main._spine_completed{number}")
        return names

    def _merge(self, relation: Relation, source: str, *, fresh: bool) -> None:
        table = quoted(relation.name)
        names = [*(quoted(c.name) for c in relation.columns), "_spine_lsn", "_spine_seq"]
        columns, values = ", ".join(names), ", ".join(f"s.{name}" for name in names)
        if fresh:
            self._run(
                f"INSERT INTO {table} ({columns}) SELECT {values} FROM {source} s",  # noqa: S608 - quoted
                at=relation.name,
            )
            return
        keys = [quoted(c.name) for c in relation.columns if c.key]
        on = " AND ".join(f"t.{key} = s.{key}" for key in keys)
        changes = ", ".join(f"{name} = s.{name}" for name in names if name not in keys)
        self._run(
            f"MERGE INTO {table} t USING {source} s ON {on}"  # noqa: S608 - quoted
            f" WHEN MATCHED THEN UPDATE SET {changes}"
            f" WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({values})",
            at=relation.name,
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
        # A key that the sink cannot hold has no row there, so it equals nothing.
        return " AND ".join(
            f"t.{quoted(relation.columns[i].name)} ="
            f" {tried(f's.k{i}', self._type(relation, relation.columns[i]))}"
            for i in relation.key_indexes
        )

    def _casts(self, relation: Relation, unchanged: frozenset[int] = frozenset()) -> str:
        parts = []
        for i, column in enumerate(relation.columns):
            name, kind = quoted(column.name), self._type(relation, column)
            parts.append(f"t.{name}" if i in unchanged else f"{tried(f's.c{i}', kind)} AS {name}")
        return ", ".join([*parts, "s.lsn AS _spine_lsn", "s.seq AS _spine_seq"])

    def _type(self, relation: Relation, column: Column) -> str:
        if column.name in self._sink.masks.get(relation.name, {}):
            return "VARCHAR"
        return sink_type(column.type)

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

    def _run(
        self, statement: str, values: Sequence[object] = (), *, at: str = ""
    ) -> list[tuple[Any, ...]]:
        # What a statement calls `temp.main.stage` is this: there is no such table, so DuckDB looks
        # for a variable of the name, and no table of the sink can stand before it. Registered, it
        # would be a view, and a transaction keeps a dropped view, with all its rows, until it ends.
        stage = self._stage  # noqa: F841 - see above
        try:
            # An unread result blocks the next statement, so each is read to its end.
            answer = self._connection.execute(statement, list(values))
            rows: list[tuple[Any, ...]] = answer.fetchall()
        except duckdb.ConversionException:
            # Staged values are tried, so it is about rows that are there already.
            raise type_changed(self._sink.path, at) from None
        except duckdb.Error as error:
            raise failure(self._sink.path, error, at) from None
        return rows


_CANONICAL = {"REAL": "FLOAT", "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
