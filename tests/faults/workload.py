"""A random workload on five kinds of keys, and what must hold at the sinks whatever died.

Writers change rows in transactions, with savepoints and rollbacks: they move keys and homes, touch
rows without their long values, update and truncate whole tables. Once everything has arrived, each
row of the source is at a sink or its newest version is parked, never both, with its own values.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
from psycopg2 import errors

from dataspine.adapters import route_deploy, schema_publish
from dataspine.adapters.init import init
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.cdc.key import load_key
from dataspine.cdc.mask import Masker
from dataspine.core.workspace import Workspace

__all__ = ["DSN", "ROUTE", "SINKS", "Writer", "check", "create", "deploy", "number", "seed"]

DSN = "SPINE_SHOP_DSN"
ROUTE = "streaming/cdc/data-spine.yaml"
NAME = "churn"
HOMES = ("DE", "DE", "FR", "US", "CA", "CA", "GB", "BR", "IN", "ZZ", None, "de")
# What the scaffolded matrix lets each sink have; masks are not needed in the EU.
SINKS = {
    "eu": frozenset({"DE", "FR", "GB", "US", "CA"}),
    "us": frozenset({"DE", "FR", "GB", "US"}),
}
MASKED = "us"
_VALUES = "home text, email text, note text, number int NOT NULL DEFAULT 0"
_PLAIN = ("home", "email", "note", "number")


@dataclass(frozen=True)
class Table:
    """One table: how it is made, and its key as SQL type by column, in the table's order."""

    name: str
    columns: str
    key: Mapping[str, str]
    identity: str = ""

    @property
    def fields(self) -> tuple[str, ...]:
        """Key columns, then the rest."""
        extra = ("row_id",) if "row_id" in self.columns else ()
        return (*self.key, *extra, *_PLAIN)

    def key_of(self, number: int) -> tuple[object, ...]:
        """Return a key by its number; neighbours of text keys differ in what has to be quoted."""
        made = {
            "int": number,
            "text": ("", "a", "o'x", "tab\t", "\\N", "ü\x1f", '"', "end ")[number % 8],
            "uuid": f"00000000-0000-4000-8000-{number % 16:012x}",
            "bytea": (number * 2654435761).to_bytes(6, "big")[: 1 + number % 6]
            + bytes([number % 256]),
        }
        return tuple(made[kind] for kind in self.key.values())

    @property
    def where(self) -> str:
        """The condition on a key."""
        return " AND ".join(f"{name} = %s" for name in self.key)


TABLES = (
    Table("numbers", f"id int PRIMARY KEY, {_VALUES}", {"id": "int"}),
    Table(
        "pairs",
        f"name text, no int, PRIMARY KEY (name, no), {_VALUES}",
        {"name": "text", "no": "int"},
    ),
    Table("wholes", f"id int PRIMARY KEY, {_VALUES}", {"id": "int"}, "FULL"),
    Table(
        "refs",
        f"row_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, ref uuid NOT NULL,"
        f" no int NOT NULL, {_VALUES}, CONSTRAINT refs_key UNIQUE (ref, no)",
        {"ref": "uuid", "no": "int"},
        "USING INDEX refs_key",
    ),
    Table("blobs", f"key bytea PRIMARY KEY, {_VALUES}", {"key": "bytea"}),
)
_AVRO = {"int": "int", "text": "string", "uuid": "string", "bytea": "bytes"}


def seed() -> str:
    """Return the seed: the environment's, or else the commit's; each commit tries another one."""
    chosen = os.environ.get("SPINE_WORKLOAD_SEED")
    if chosen:
        return chosen
    here = Path(__file__).parent
    answer = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip()[:12] or "0"


def number(name: str, default: int) -> int:
    """Return a number from the environment."""
    return int(os.environ.get(f"SPINE_WORKLOAD_{name}", default))


def create(dsn: str) -> None:
    """Make the tables, with long values kept outside of the row, so that they may stay unsent."""
    with _connected(dsn) as connection, connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"CREATE TABLE {table.name} ({table.columns})")
            cursor.execute(f"ALTER TABLE {table.name} ALTER COLUMN note SET STORAGE EXTERNAL")
            if table.identity:
                cursor.execute(f"ALTER TABLE {table.name} REPLICA IDENTITY {table.identity}")


def deploy(folder: Path, opa: Path) -> Workspace:
    """Make a workspace with the tables' schemas and their route to both sinks; reads ``DSN``."""
    workspace = init(folder, name="shop", told=lambda _: None)
    path = workspace.root / ROUTE
    path.write_text(_route(), encoding="utf-8")
    with Session(workspace, opa=opa) as session:
        for table in TABLES:
            proposal = Proposal(f"shop.{table.name}", json.dumps(_schema(table)), "AVRO")
            assert schema_publish.publish(session, proposal).version
        plan = route_deploy.apply(session, path)
        assert plan.applied, plan.decision.codes
    return workspace


def _route() -> str:
    tables = "".join(
        f"\n      - {{name: public.{t.name}, subject: shop.{t.name}, homes: allowed,"
        " home: {column: home}}"
        for t in TABLES
    )
    masks = ", ".join(f"{t.name}.email: hmac" for t in TABLES)
    return f"""
name: {NAME}
sources:
  - name: shop
    engine: postgres
    region: eu-west-1
    dsn: env:{DSN}
    tables:{tables}
sinks:
  - {{name: eu, kind: duckdb, region: eu-west-1, path: .spine/sinks/eu.duckdb}}
  - {{name: us, kind: duckdb, region: us-east-1, path: .spine/sinks/us.duckdb, masks: {{{masks}}}}}
dead-letter: {{region: eu-west-1}}
"""


def _schema(table: Table) -> dict[str, Any]:
    fields: list[dict[str, Any]] = [{"name": n, "type": _AVRO[k]} for n, k in table.key.items()]
    if "row_id" in table.fields:
        fields.append({"name": "row_id", "type": "long"})
    fields += [
        {"name": "home", "type": ["null", "string"], "default": None},
        {"name": "email", "type": ["null", "string"], "doc": "[pii] retain=P2Y"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "number", "type": "int"},
    ]
    return {"type": "record", "name": table.name.title(), "namespace": "shop", "fields": fields}


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[Any]:
    connection = psycopg2.connect(dsn)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


class Writer(threading.Thread):
    """Writes random transactions until told to stop; a server that dies is waited for."""

    def __init__(self, dsn: str, seed: str, stop: threading.Event) -> None:
        super().__init__(name=f"writer-{seed}")
        self.transactions = 0
        self.failure: BaseException | None = None
        self._dsn = dsn
        self._chance = random.Random(seed)
        self._stopped = stop

    def run(self) -> None:
        """Work; what is no fault of a dying or busy server ends it."""
        try:
            while not self._stopped.is_set():
                with contextlib.suppress(psycopg2.OperationalError, psycopg2.InterfaceError):
                    self._work()
                self._stopped.wait(0.1)
        except BaseException as error:  # told by the test
            self.failure = error

    def _work(self) -> None:
        connection = psycopg2.connect(self._dsn)
        try:
            while not self._stopped.is_set():
                with contextlib.suppress(errors.UniqueViolation, errors.DeadlockDetected):
                    self._transaction(connection)
                connection.rollback()
                self._stopped.wait(self._chance.choice((0.0, 0.01, 0.04)))
        finally:
            connection.close()

    def _transaction(self, connection: Any) -> None:
        chance = self._chance
        with connection.cursor() as cursor:
            for _ in range(chance.choice((1, 1, 2, 4, 12))):
                if chance.random() < 0.3:
                    self._inside_savepoint(cursor)
                else:
                    self._statement(cursor)
        if chance.random() < 0.9:
            connection.commit()
            self.transactions += 1

    def _inside_savepoint(self, cursor: Any) -> None:
        cursor.execute("SAVEPOINT s")
        try:
            for _ in range(self._chance.randint(1, 4)):
                self._statement(cursor)
            undo = self._chance.random() < 0.5
        except errors.UniqueViolation:
            undo = True
        cursor.execute("ROLLBACK TO SAVEPOINT s" if undo else "RELEASE SAVEPOINT s")

    def _statement(self, cursor: Any) -> None:
        table = self._chance.choice(TABLES)
        ways = (self._put, self._move_home, self._touch, self._move_key, self._remove, self._sweep)
        (way,) = self._chance.choices(ways, (30, 20, 30, 10, 6, 1))
        way(cursor, table)

    def _key(self, table: Table) -> tuple[object, ...]:
        return table.key_of(self._chance.randint(0, 59))

    def _note(self) -> str | None:
        text = f"{self._chance.random()} "
        return self._chance.choice((None, text, text * 200, text * 200))

    def _put(self, cursor: Any, table: Table) -> None:
        names = (*table.key, *_PLAIN)
        changes = ", ".join(f"{name} = excluded.{name}" for name in _PLAIN)
        email = f"{self._chance.randint(0, 999)}@example.org"
        cursor.execute(
            f"INSERT INTO {table.name} ({', '.join(names)}) VALUES"
            f" ({', '.join(['%s'] * len(names))}) ON CONFLICT ({', '.join(table.key)})"
            f" DO UPDATE SET {changes}",
            (*self._key(table), self._chance.choice(HOMES), email, self._note(), 0),
        )

    def _move_home(self, cursor: Any, table: Table) -> None:
        cursor.execute(
            f"UPDATE {table.name} SET home = %s WHERE {table.where}",
            (self._chance.choice(HOMES), *self._key(table)),
        )

    def _touch(self, cursor: Any, table: Table) -> None:
        cursor.execute(
            f"UPDATE {table.name} SET number = number + 1 WHERE {table.where}", self._key(table)
        )

    def _move_key(self, cursor: Any, table: Table) -> None:
        changes = ", ".join(f"{name} = %s" for name in table.key)
        cursor.execute(
            f"UPDATE {table.name} SET {changes} WHERE {table.where}",
            (*self._key(table), *self._key(table)),
        )

    def _remove(self, cursor: Any, table: Table) -> None:
        cursor.execute(f"DELETE FROM {table.name} WHERE {table.where}", self._key(table))

    def _sweep(self, cursor: Any, table: Table) -> None:
        other = self._chance.choice(TABLES)
        statements = [
            f"UPDATE {table.name} SET number = number + 1",
            f"UPDATE {table.name} SET home = 'BR' WHERE home = 'DE'",
            f"UPDATE {table.name} SET home = 'DE' WHERE home = 'BR'",
            f"DELETE FROM {table.name} WHERE number > 2",
            f"TRUNCATE {table.name}",
            f"TRUNCATE {', '.join({table.name, other.name})}",
        ]
        if "int" in table.key.values():
            name = next(name for name, kind in table.key.items() if kind == "int")
            # One statement moves several keys, each to the place that another one has just left.
            statements += [f"UPDATE {table.name} SET {name} = -{name} WHERE {name} % 9 = 1"] * 2
        cursor.execute(self._chance.choice(statements))


# -- what must hold --------------------------------------------------------------------------

Key = tuple[str | None, ...]
Rows = dict[Key, dict[str, str | None]]


def check(workspace: Workspace, dsn: str) -> Counter[str]:
    """Compare the source with both sinks and the dead letters; return how many rows were where."""
    masker = Masker(load_key(workspace.state / "keys" / "mask.key"), "analytics")
    where: Counter[str] = Counter()
    letters = sqlite3.connect(workspace.state / "dead-letter" / "eu-west-1.db")
    with contextlib.closing(letters):
        assert letters.execute("SELECT flush FROM unsettled").fetchall() == []
        _require_erasure(letters)
        for table in TABLES:
            source = _source(dsn, table)
            for sink in SINKS:
                at_sink = _sink(workspace, sink, table)
                parked = _parked(letters, sink, table)
                expected = {k: _as_sent(sink, row, masker) for k, row in source.items()}
                _compare(f"{sink} {table.name}", sink, expected, source, at_sink, parked)
                where[f"{sink} sink"] += len(at_sink)
                where[f"{sink} parked"] += len(parked)
    return where


def _compare(
    place: str, sink: str, expected: Rows, source: Rows, at_sink: Rows, parked: dict[Key, Any]
) -> None:
    both = at_sink.keys() & parked.keys()
    missing = source.keys() - at_sink.keys() - parked.keys()
    extra = (at_sink.keys() | parked.keys()) - source.keys()
    problem = (sorted(both, key=str), sorted(missing, key=str), sorted(extra, key=str))
    assert problem == ([], [], []), f"{place}: in both, missing, extra"
    wrong = {k: (row, expected[k]) for k, row in at_sink.items() if row != expected[k]}
    assert wrong == {}, f"{place}: values at the sink and at the source"
    foreign = {k: row["home"] for k, row in at_sink.items() if row["home"] not in SINKS[sink]}
    assert foreign == {}, f"{place}: rows that may not be there"
    for key, (payload, codes) in parked.items():
        # A long value that nobody sent is not in the payload.
        row = {name: source[key][name] for name in payload}
        assert payload == row, f"{place}: the payload of {key}"
        allowed = source[key]["home"] in SINKS[sink]
        assert not allowed or codes == ["cdc.incomplete_row"], f"{place}: {key} is parked: {codes}"


def _as_sent(sink: str, row: dict[str, str | None], masker: Masker) -> dict[str, str | None]:
    email = row["email"]
    if sink != MASKED or email is None:
        return row
    return {**row, "email": masker.hmac(email)}


def _source(dsn: str, table: Table) -> Rows:
    names = [f"{name}::text" for name in table.fields]
    with _connected(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(names)} FROM {table.name}")
        return _keyed(table, cursor.fetchall())


def _sink(workspace: Workspace, sink: str, table: Table) -> Rows:
    names = [
        f"'\\x' || lower(hex({name}))" if table.key.get(name) == "bytea" else f"{name}::VARCHAR"
        for name in table.fields
    ]
    path = workspace.state / "sinks" / f"{sink}.duckdb"
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        if (table.name,) not in tables:
            return {}  # no row of it ever came
        rows = connection.execute(f"SELECT {', '.join(names)} FROM {table.name}").fetchall()
    width = len(table.key)
    doubled = [k for k, n in Counter(row[:width] for row in rows).items() if n > 1]
    assert doubled == [], f"{sink} {table.name}: keys that stand twice"
    return _keyed(table, rows)


def _keyed(table: Table, rows: list[tuple[Any, ...]]) -> Rows:
    width = len(table.key)
    return {tuple(row[:width]): dict(zip(table.fields, row, strict=True)) for row in rows}


def _parked(
    letters: sqlite3.Connection, sink: str, table: Table
) -> dict[Key, tuple[dict[str, str | None], list[str]]]:
    """Return what is parked, which is the newest version of its key, with its reasons."""
    query = (
        "SELECT p.payload, d.codes FROM dead_letter d LEFT JOIN payload p USING (id)"
        " WHERE d.sink = ? AND d.tbl = ? AND d.state = 'parked'"
    )
    found: dict[Key, tuple[dict[str, str | None], list[str]]] = {}
    for text, codes in letters.execute(query, (sink, table.name)):
        payload = json.loads(text)
        key = tuple(payload[name] for name in table.key)
        assert key not in found, f"{sink} {table.name}: {key} is parked twice"
        found[key] = (payload, json.loads(codes))
    return found


def _require_erasure(letters: sqlite3.Connection) -> None:
    """Nothing that was given up has a payload any more."""
    kept = letters.execute(
        "SELECT d.state, count(*) FROM payload p LEFT JOIN dead_letter d USING (id)"
        " WHERE d.state IS NOT 'parked' AND ltrim(hex(p.payload), '0') <> '' GROUP BY 1"
    ).fetchall()
    assert kept == [], "payloads that outlived their letters"
