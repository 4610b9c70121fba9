"""Decisions, facts and events that the lineage tests share."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dataspine.decisions.decision import Decision, Policy, Violation

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
RUN = "01939a1b-0000-7000-8000-000000000001"
FACTS: Mapping[str, Any] = {
    "name": "customers-eu",
    "sources": [{"name": "crm", "region": "eu-west-1", "line": 3}],
    "tables": [
        {
            "name": "public.customers",
            "source": "crm",
            "subject": "shop.customers",
            "columns": [
                {"path": "id", "classifications": ["Internal"], "key": True, "line": 9},
                {"path": "email", "classifications": ["PII"], "key": False, "line": 9},
            ],
        }
    ],
    "sinks": [
        {
            "name": "warehouse",
            "region": "us-east-1",
            "line": 14,
            "masks": {"public.customers.email": "hmac"},
        }
    ],
}


def decision(*, allow: bool = True, point: str = "route.deploy") -> Decision:
    violation = Violation(
        "residency.region_denied", "error", "email may not leave EU", "/facts", "Mask it."
    )
    return Decision(
        decision_id="d-1",
        point=point,
        allow=allow,
        violations=() if allow else (violation,),
        obligations=(),
        policy=Policy("1.4.0+sha256.9f2c", 41),
        input_digest="sha256:" + "0" * 64,
        evaluated_at=NOW,
        valid_until=None,
    )


def run_id(number: int) -> str:
    return f"01939a1b-0000-7000-8000-{number:012x}"


def run_event(
    number: int = 1,
    *,
    kind: str = "COMPLETE",
    at: str = "2026-11-24T09:00:00Z",
    job: str = "copy",
    inputs: tuple[str, ...] = (),
    outputs: tuple[str, ...] = (),
    facets: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "eventTime": at,
        "eventType": kind,
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run_id(number), "facets": dict(facets or {})},
        "job": {"namespace": "n", "name": job},
        "inputs": [{"namespace": "n", "name": name} for name in inputs],
        "outputs": [{"namespace": "n", "name": name} for name in outputs],
    }
