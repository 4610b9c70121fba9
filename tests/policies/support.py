"""Questions that tests bend, and OPA asked about many of them at once."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "policies"
AT = "2026-11-24T09:00:00Z"
MATRIX: dict[str, Any] = {
    "version": 1,
    "geographies": {
        "EU": {"countries": ["DE", "FR"], "regions": ["eu-west-1"]},
        "US": {"countries": ["US"], "regions": ["us-east-1"]},
        "BR": {"countries": ["BR"], "regions": ["sa-east-1"]},
    },
    "transfers": {
        "PII": {
            "EU": {
                "EU": {"allow": True},
                "US": {
                    "allow": True,
                    "basis": {"name": "SCC", "until": "2027-03-31T00:00:00Z"},
                    "obligations": [{"type": "mask", "method": "hmac"}],
                },
            },
            "US": {"US": {"allow": True}},
        },
        "Public": {"*": {"EU": {"allow": True}, "US": {"allow": True}}},
    },
}
DATA: dict[str, Any] = {"config": {"rules": {}}, "exceptions": [], "matrix": MATRIX}

FIELD: dict[str, Any] = {
    "path": "email",
    "type": "string",
    "doc": None,
    "tokens": ["email"],
    "classifications": ["Public"],
    "tagged": False,
    "retention": None,
    "waiver": None,
    "line": 4,
}
SCHEMA: dict[str, Any] = {
    "point": "schema.publish",
    "at": AT,
    "facts": {
        "name": "shop.customers",
        "format": "AVRO",
        "metadata": {"owner": "team-shop"},
        "fields": [FIELD],
    },
}
EMAIL: dict[str, Any] = {"path": "email", "classifications": ["PII"]}
COUNTRY: dict[str, Any] = {"path": "country", "classifications": ["Public"]}
ROUTE: dict[str, Any] = {
    "point": "route.deploy",
    "at": AT,
    "facts": {
        "name": "shop.route",
        "sources": [{"name": "shop", "region": "eu-west-1", "line": 2}],
        "tables": [
            {
                "name": "customers",
                "source": "shop",
                "subject": "shop.customers",
                "line": 5,
                "homes": ["EU", "BR"],
                "home": {"column": "country"},
                "guard_columns": ["country"],
                "columns": [
                    {**EMAIL, "key": False, "line": 6},
                    {**COUNTRY, "key": False, "line": 7},
                ],
            }
        ],
        "sinks": [{"name": "lake", "region": "us-east-1", "line": 9, "masks": {}}],
        "dead_letter": {"region": "eu-west-1", "line": 12},
    },
}
ROW: dict[str, Any] = {
    "point": "row.replicate",
    "at": AT,
    "facts": {
        "name": "shop.route",
        "table": "customers",
        "homes": "allowed",
        "home": {"column": "country"},
        "columns": [EMAIL, COUNTRY],
        "guard_columns": ["country"],
        "sink": {"name": "lake", "region": "us-east-1", "masks": {"customers.email": "hmac"}},
    },
    "row": {"country": "BR"},
}
QUESTIONS = {"schema_publish": SCHEMA, "route_deploy": ROUTE, "row_replicate": ROW}


def changed(document: Any, place: tuple[str | int, ...], value: Any) -> Any:
    """Return a copy with the value at that place, or without it when the value is ``...``."""
    copied = copy.deepcopy(document)
    node = copied
    for key in place[:-1]:
        node = node[key]
    if value is ...:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    return copied


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of every value inside, parents first."""
    keys: list[str | int] = []
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    for key in keys:
        yield (*at, key)
        yield from places(value[key], (*at, key))


def build(folder: Path, data: dict[str, Any] | None = None) -> Path:
    """Write the rules and the workspace's data as the build lays them out."""
    bundle = folder / "bundle"
    # A test's stub, a workspace's exceptions and its custom rules are no part of the product.
    skip = shutil.ignore_patterns("*_test.rego", "*.yaml", "custom")
    shutil.copytree(POLICIES, bundle, ignore=skip)
    for name, value in (DATA if data is None else data).items():
        (bundle / "dataspine" / name).mkdir()
        (bundle / "dataspine" / name / "data.json").write_text(json.dumps(value))
    return bundle


def evaluate(opa: Path, bundle: Path, query: str, value: Any) -> Any:
    """Return what a query answers for one input."""
    argv = [str(opa), "eval", "-b", str(bundle), "-I", "-f", "raw", query]
    run = subprocess.run(
        argv, input=json.dumps(value), text=True, capture_output=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout)
