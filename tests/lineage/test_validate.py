"""Structure is required, form is remarked on, secrets are cut."""

import json
import uuid
from datetime import timedelta
from importlib.resources import files
from typing import Any

import jsonschema_rs
import pytest
from tests.lineage.samples import FACTS, NOW, RUN, decision, run_event

from dataspine.core.errors import InputError
from dataspine.lineage import events, validate
from dataspine.lineage.validate import event_time, redact


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in run_event().items() if k != key}


@pytest.mark.parametrize(
    ("event", "remarks"),
    [
        (run_event(), []),
        (without("schemaURL"), ["schemaURL is missing"]),
        (
            run_event(at="2026-11-24T09:00:00"),
            ["eventTime has no offset; it is read as UTC"],
        ),
        (without("eventType"), []),
        (run_event(facets={"unknown": {"uri": "file"}}), []),
    ],
)
def test_what_can_be_used_is_taken(event: dict[str, Any], remarks: list[str]) -> None:
    assert validate(event) == remarks


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {},
        {"eventTime": "2026-11-24T09:00:00Z", "producer": "p"},
        run_event(kind="DONE"),
        run_event(at="yesterday"),
        run_event(at="2026-11-24"),
        run_event(at="9999-12-31T23:59:59-00:01"),
        without("eventTime"),
        without("producer"),
        without("job"),
        run_event() | {"run": {"runId": "17"}},
        run_event() | {"run": {"runId": "{01939a1b-0000-7000-8000-000000000001}"}},
        run_event() | {"job": {"namespace": "", "name": "x"}},
        run_event() | {"job": {"namespace": "n", "name": 7}},
        run_event() | {"inputs": [{"namespace": "n"}]},
        run_event(facets={"f": 7}),
    ],
)
def test_what_cannot_be_used_is_refused(event: object) -> None:
    with pytest.raises(InputError) as caught:
        validate(event)
    assert caught.value.code == "lineage.invalid_event"


def test_a_refusal_does_not_quote_the_value() -> None:
    with pytest.raises(InputError) as caught:
        validate(run_event() | {"job": {"namespace": "n", "name": ["hunter2"]}})
    assert "hunter2" not in json.dumps(caught.value.document())


def test_times_sort_as_texts() -> None:
    times = ["2026-11-24T09:00:00.5Z", "2026-11-24T11:00:00+02:00", "2026-11-24T09:00:01"]
    assert [event_time(run_event(at=t)) for t in times] == [
        "2026-11-24T09:00:00.500000Z",
        "2026-11-24T09:00:00.000000Z",
        "2026-11-24T09:00:01.000000Z",
    ]


@pytest.mark.parametrize(
    ("value", "cut"),
    [
        ({"apiKey": "x"}, {"apiKey": "[redacted]"}),
        ({"client_secret": 7}, {"client_secret": "[redacted]"}),
        ({"Authorization": "x"}, {"Authorization": "[redacted]"}),
        ({"tokens": "a b"}, {"tokens": "a b"}),
        ({"key": "classification", "value": "PII"}, {"key": "classification", "value": "PII"}),
        (["jdbc:postgresql://u:p@h/d"], ["jdbc:postgresql://h/d"]),
        ("mail a@b.c", "mail a@b.c"),
    ],
)
def test_secrets_are_cut(value: object, cut: object) -> None:
    assert redact(value) == cut


@pytest.mark.parametrize("allow", [True, False])
def test_the_decision_facet_fits_its_schema(allow: bool) -> None:
    text = files("dataspine.lineage").joinpath("schemas/policy-decision.schema.json").read_text()
    facet = events.decision_facet(decision(allow=allow))
    jsonschema_rs.Draft202012Validator(json.loads(text)).validate(facet)
    assert facet["result"] == ("allow" if allow else "deny")
    assert [r["code"] for r in facet["reasons"]] == ([] if allow else ["residency.region_denied"])
    assert facet["_schemaURL"] == json.loads(text)["$id"]


def test_every_document_is_a_valid_event() -> None:
    about: dict[str, Any] = {"workspace": "shop", "route": "r", "facts": FACTS, "at": NOW}
    documents = [
        *events.schema_published(
            workspace="shop",
            subject="s",
            version="1.0.0",
            fields=[],
            decision=decision(),
            at=NOW,
        ),
        events.bundle_promoted(
            workspace="shop",
            channel="stable",
            revision="1.0.0",
            sequence=2,
            decision=decision(),
            at=NOW,
        ),
        events.route_deployed(**about, decision=decision()),
        events.route_ran("START", **about, run_id=RUN),
        events.route_ran("FAIL", **about, run_id=RUN, error="gone"),
        events.flush_applied(**about, counts={"applied": 1}),
        events.dead_letters_replayed(**about, counts={"applied": 1}, decision=decision()),
    ]
    assert [validate(document) for document in documents] == [[]] * 8


def test_run_ids_sort_by_time_and_are_version_7() -> None:
    largest = events.new_run_id(NOW, random_bits=lambda bits: (1 << bits) - 1)
    smallest = events.new_run_id(NOW + timedelta(milliseconds=1), random_bits=lambda _: 0)
    made = uuid.UUID(smallest)
    assert largest < smallest
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == int(NOW.timestamp() * 1000) + 1
