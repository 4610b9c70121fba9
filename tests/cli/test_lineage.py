"""``spine lineage dlq`` and ``impact`` on a workspace with a history."""

import pytest
from tests.conftest import Spine
from tests.lineage.receiver import receiving
from tests.lineage.samples import run_event, run_id
from tests.lineage.story import tell

from dataspine.core.workspace import Workspace
from dataspine.lineage import Delivery, Outbox
from dataspine.lineage.graph import distances

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("quiet_environment")]


def _delivery(workspace: Workspace) -> Delivery:
    letters = workspace.state / "lineage-dlq.jsonl"
    return Delivery(workspace.database, workspace.settings.receivers, dead_letters=letters)


def test_refused_events_are_listed_and_sent_again(spine: Spine, workspace: Workspace) -> None:
    root = ("-w", str(workspace.root))
    refuse = [True]
    with receiving(lambda _: (400 if refuse[0] else 201, {}, b"")) as fake:
        settings = workspace.root / "spine.yaml"
        entry = f"receivers: [{{name: far, url: '{fake.url}'}}]"
        settings.write_text(settings.read_text().replace("receivers: []", entry))
        opened = Workspace.open(workspace.root)
        with opened.database.begin() as connection:
            Outbox(opened.database).write(connection, [run_event(1), run_event(2)])
        delivery = _delivery(opened)
        delivery.step()
        letters = (workspace.state / "lineage-dlq.jsonl").read_bytes()
        listed = spine("lineage", "dlq", "list", *root, "--json").document
        shown = spine("lineage", "dlq", "list", "--limit", "1", *root)
        unknown = spine("lineage", "dlq", "replay", "--receiver", "near", *root, "--json")
        none = spine("lineage", "dlq", "replay", "--receiver", "far", "--quiet", *root)
        again = spine("lineage", "dlq", "replay", *root, "--json").document
        pending = spine("lineage", "status", *root, "--json").document
        refuse[0] = False
        delivery.step()
        delivered = spine("lineage", "status", *root, "--json").document
        delivery.stop()
    assert [(e["receiver"], e["reason"], e["partition"]) for e in listed] == [
        ("far", "HTTP 400", run_id(2)),
        ("far", "HTTP 400", run_id(1)),
    ]
    assert listed[0]["id"] in shown.stdout
    assert listed[1]["id"] not in shown.stdout
    assert (unknown.status, unknown.document["error"]["code"]) == (2, "lineage.unknown_receiver")
    assert "far" in unknown.document["error"]["remedy"]
    assert (none.status, none.stdout, none.stderr) == (0, "", "")
    assert again == {"again": 0}
    assert (pending["pending"], pending["dead"]) == (2, 0)
    assert (delivered["delivered"], delivered["dead"]) == (2, 0)
    assert fake.sent() == [run_id(1), run_id(2)] * 2
    # What was refused once stays on record.
    assert (workspace.state / "lineage-dlq.jsonl").read_bytes() == letters


def test_impact_is_transitive_with_distances(spine: Spine, workspace: Workspace) -> None:
    tell(workspace.database)
    argv = ("lineage", "impact", "dataset:spine://shop:shop.customers", "-w", str(workspace.root))
    found = spine(*argv, "--json").document
    assert found["complete"] is True
    assert [(e["distance"], e["kind"], e["namespace"], e["name"]) for e in found["nodes"]] == [
        (1, "job", "spine://shop", "route.customers-global"),
        *(
            (2, "dataset", f"spine://shop/customers-global/warehouse-{place}", f"public.{table}")
            for place in ("eu", "us")
            for table in ("customers", "orders")
        ),
    ]
    printed = spine(*argv).stdout
    assert all(each["name"] in printed for each in found["nodes"])


def test_distance_is_the_shortest_and_cycles_end() -> None:
    edges = [("a", "b"), ("b", "c"), ("c", "a"), ("a", "c"), ("c", "d"), ("x", "a")]
    assert distances("a", edges) == {"b": 1, "c": 1, "d": 2}
    assert distances("d", edges) == {}
