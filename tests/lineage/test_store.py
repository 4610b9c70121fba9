"""What is kept: each event once, runs with their states, graphs without siblings."""

import json
from typing import Any

import pytest
import sqlalchemy as sa
from tests.lineage.conftest import TABLES
from tests.lineage.samples import FACTS, NOW, decision, run_event, run_id

from dataspine.core.database import Database
from dataspine.core.errors import NotFoundError
from dataspine.lineage import LineageStore, Outbox, events
from dataspine.lineage import _tables as tables

ORIGINS = {"crm": events.Origin("postgres://db:5432", "shop")}
TABLE = "dataset:postgres://db:5432:shop.public.customers"
ROUTE = "job:spine://shop:route.customers-eu"
SINK = "dataset:spine://shop/customers-eu/warehouse:public.customers"


def edges(graph: dict[str, Any]) -> set[tuple[str, str]]:
    return {(e["source"], e["target"]) for e in graph["edges"]}


def ids(graph: dict[str, Any]) -> set[str]:
    return {n["id"] for n in graph["nodes"]}


def test_an_event_is_kept_once(database: Database) -> None:
    store = LineageStore(database)
    first = store.ingest(run_event())
    again = store.ingest(dict(reversed(run_event().items())))
    assert first == again
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.events)) == 1


def test_an_event_twice_in_one_batch_is_kept_once(database: Database) -> None:
    store = LineageStore(database)
    one, two = store.ingest_many([run_event(), run_event()])
    assert one == two
    assert len(store.run(run_id(1))["events"]) == 1


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        (("START",), "RUNNING"),
        (("START", "COMPLETE"), "COMPLETED"),
        (("START", "FAIL"), "FAILED"),
        (("COMPLETE", "START"), "COMPLETED"),
        (("START", "ABORT", "RUNNING"), "ABORTED"),
        (("OTHER",), "RUNNING"),
    ],
)
def test_a_run_that_ended_does_not_start_again(
    database: Database, kinds: tuple[str, ...], state: str
) -> None:
    store = LineageStore(database)
    for kind in kinds:
        store.ingest(run_event(kind=kind))
    assert store.run(run_id(1))["state"] == state


def test_failed_and_running_jobs_show_their_datasets(database: Database) -> None:
    store = LineageStore(database)
    store.ingest(run_event(1, kind="FAIL", job="a", inputs=("x",)))
    store.ingest(run_event(2, kind="RUNNING", job="b", outputs=("y",)))
    assert edges(store.graph()) == {("dataset:n:x", "job:n:a"), ("job:n:b", "dataset:n:y")}


def test_siblings_never_appear(database: Database) -> None:
    store = LineageStore(database)
    store.ingest(run_event(1, job="split", inputs=("a",), outputs=("left", "right")))
    store.ingest(run_event(2, job="use", inputs=("left",), outputs=("end",)))
    store.ingest(run_event(3, job="other", inputs=("a",), outputs=("elsewhere",)))
    graph = store.graph("dataset:n:left", depth=10)
    assert ids(graph) == {
        "dataset:n:a",
        "job:n:split",
        "dataset:n:left",
        "job:n:use",
        "dataset:n:end",
    }
    hidden = {n["id"]: n["hidden"] for n in graph["nodes"]}
    assert hidden["job:n:split"] == {"upstream": 0, "downstream": 1}
    assert hidden["dataset:n:a"] == {"upstream": 0, "downstream": 1}


def test_a_direction_can_be_left_out(database: Database) -> None:
    store = LineageStore(database)
    store.ingest(run_event(1, job="j", inputs=("a",), outputs=("b",)))
    store.ingest(run_event(2, job="k", inputs=("b",), outputs=("c",)))
    up = store.graph("dataset:n:b", direction="upstream", depth=9)
    down = store.graph("dataset:n:b", direction="downstream", depth=9)
    assert ids(up) == {"dataset:n:a", "job:n:j", "dataset:n:b"}
    assert ids(down) == {"dataset:n:b", "job:n:k", "dataset:n:c"}


def test_the_budget_says_what_it_hides(database: Database) -> None:
    store = LineageStore(database)
    store.ingest(run_event(1, job="fan", outputs=tuple(f"d{i:02}" for i in range(30))))
    graph = store.graph("job:n:fan", budget=11)
    assert (len(graph["nodes"]), graph["hidden"]) == (11, 20)
    assert graph["nodes"][0]["hidden"] == {"upstream": 0, "downstream": 20}


def test_a_routes_table_and_its_subject_are_one_node(database: Database) -> None:
    store, outbox = LineageStore(database), Outbox(database)
    field = {"path": "email", "type": "string", "classifications": ["PII"], "doc": "Where to write"}
    with database.begin() as connection:
        outbox.write(
            connection,
            events.schema_published(
                workspace="shop",
                subject="shop.customers",
                version="1.0.0",
                fields=[field],
                decision=decision(point="schema.publish"),
                at=NOW,
            ),
        )
        outbox.write(
            connection,
            events.route_deployed(
                workspace="shop",
                route="customers-eu",
                facts=FACTS,
                decision=decision(),
                at=NOW,
                origins=ORIGINS,
            ),
        )
    graph = store.graph("dataset:spine://shop:shop.customers")
    assert graph["root"] == TABLE
    assert edges(graph) == {
        ("job:spine://shop:publish.shop.customers", TABLE),
        (TABLE, ROUTE),
        (ROUTE, SINK),
    }
    assert {e["target"]: e["masked"] for e in graph["edges"]}[SINK] == ["email"]
    nodes = {n["id"]: n for n in graph["nodes"]}
    assert nodes[TABLE]["aliases"] == [{"namespace": "spine://shop", "name": "shop.customers"}]
    assert nodes[TABLE]["labels"] == {
        "classifications": {"Internal": 1, "PII": 1},
        "region": "eu-west-1",
    }
    assert nodes[SINK]["labels"] == {"classifications": {"Internal": 1}, "region": "us-east-1"}
    assert nodes[ROUTE]["result"] == "allow"
    assert nodes[TABLE]["facets"]["version"]["datasetVersion"] == "1.0.0"
    (run,) = store.runs(ROUTE)
    assert (run["operation"], run["decision"]["result"]) == ("deploy", "allow")
    assert {r["operation"] for r in store.runs(TABLE)} == {"deploy", "publish"}


def test_a_dataset_event_draws_its_own_edges(database: Database) -> None:
    store = LineageStore(database)
    origin = {"namespace": "n", "name": "base", "field": "x"}
    store.ingest(
        {
            "eventTime": "2026-11-24T09:00:00Z",
            "producer": "https://example.org/test",
            "dataset": {
                "namespace": "n",
                "name": "view",
                "facets": {"columnLineage": {"fields": {"x": {"inputFields": [origin]}}}},
            },
        }
    )
    assert edges(store.graph("dataset:n:view")) == {("dataset:n:base", "dataset:n:view")}


def test_names_that_point_at_each_other_end(database: Database) -> None:
    store = LineageStore(database)
    for number, (own, other) in enumerate((("a", "b"), ("b", "a"), ("a", "a"))):
        event = run_event(number, outputs=(own,))
        link = {"namespace": "n", "name": other, "type": "TABLE"}
        event["outputs"][0]["facets"] = {"symlinks": {"identifiers": [link]}}
        store.ingest(event)
    assert ids(store.graph("dataset:n:b")) == {"dataset:n:a", "job:n:copy"}


def test_facets_are_replaced_whole_and_deleted(database: Database) -> None:
    store = LineageStore(database)
    for number, facet in enumerate(({"old": 1}, {"new": 2}, {"_deleted": True})):
        event = run_event(number)
        event["job"]["facets"] = {"x": facet}
        store.ingest(event)
        told = {0: {"x": {"old": 1}}, 1: {"x": {"new": 2}}, 2: {}}[number]
        assert store.jobs()[0]["facets"] == told


def test_search_finds_names_and_takes_wildcards_literally(database: Database) -> None:
    store = LineageStore(database)
    store.ingest(run_event(outputs=("orders_daily", "ordersXdaily")))
    assert [f["name"] for f in store.search("orders_")] == ["orders_daily"]
    assert [f["id"] for f in store.search("COPY")] == ["job:n:copy"]
    assert store.namespaces() == ["n"]


@pytest.mark.parametrize("node", ["dataset:n:none", "job:n:none", "", "copy"])
def test_an_unknown_node_is_told(database: Database, node: str) -> None:
    with pytest.raises(NotFoundError):
        LineageStore(database).graph(node)


def test_secrets_are_not_kept(database: Database) -> None:
    store = LineageStore(database)
    facets = {
        "debezium": {
            "database.password": "hunter2",
            "url": "postgres://spine:hunter2@db/x",
            "properties": [{"name": "sasl.password", "value": "hunter2"}],
            "columns": {"password": {"type": "text"}},
        }
    }
    store.ingest(run_event(facets=facets))
    (kept,) = store.run(run_id(1))["events"]
    assert kept["run"]["facets"]["debezium"] == {
        "database.password": "[redacted]",
        "url": "postgres://db/x",
        "properties": [{"name": "sasl.password", "value": "[redacted]"}],
        "columns": {"password": {"type": "text"}},
    }
    with database.read() as connection:
        dump = [str(r) for t in TABLES for r in connection.execute(sa.select(t))]
    assert "hunter2" not in json.dumps(dump)
