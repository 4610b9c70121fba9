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
CONFIG: dict[str, Any] = {
    "rules": {},
    "retention": {"maximum": {"PII": "P2Y"}},
    "subjects": {"pattern": "shop\\..+"},
    "metadata": {"required": ["owner"]},
    "access": {
        "roles": {"publisher": ["ada"]},
        "grants": [
            {"role": "publisher", "permissions": ["*"]},
            {"principal": "grace", "permissions": ["read"], "resources": "bank.**"},
        ],
    },
}
DATA: dict[str, Any] = {"config": CONFIG, "exceptions": [], "matrix": MATRIX}

FIELD: dict[str, Any] = {
    "path": "email",
    "type": "string",
    "doc": None,
    "tokens": ["email"],
    "context": ["customers"],
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
        "version": {"current": "1.0.0", "next": "1.1.0", "bump": "minor", "claimed": None},
        "compatibility": {"level": "BACKWARD", "compatible": True, "messages": []},
        "previous": {"version": "1.0.0", "fields": []},
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
REPLAY: dict[str, Any] = {
    "point": "dead_letter.replay",
    "at": AT,
    "facts": {
        **ROUTE["facts"],
        "counts": {"rows": 3},
        "actor": {"name": "grace", "roles": ["engineer"], "local": False},
    },
}
PROMOTION: dict[str, Any] = {
    "point": "bundle.promote",
    "at": AT,
    "facts": {
        "name": "stable",
        "candidate": {
            "revision": "1.5.0+sha256.aa",
            "sequence": 42,
            "channel": "canary",
            "author": "ada",
            "key_id": "release",
            "tests": {"passed": 9, "failed": 0, "coverage": 100.0},
        },
        "current": {"revision": "1.4.0+sha256.9f", "sequence": 41},
        "impact": {
            "same": 7,
            "allow_to_deny": 1,
            "deny_to_allow": 2,
            "changed_obligations": 0,
            "not_replayable": 0,
        },
        "approvers": ["ada"],
        "verified_approvers": ["ada"],
        "actor": "ada",
        "verified": True,
        "mode": "released",
        "channel": "stable",
    },
}
ACCESS: dict[str, Any] = {
    "point": "api.access",
    "at": AT,
    "facts": {
        "name": "grace",
        "permission": "publish",
        "resource": "shop.customers",
        "roles": ["engineer"],
        "local": False,
    },
}
# One denied question for each entry point.
QUESTIONS = {
    "schema_publish": SCHEMA,
    "route_deploy": ROUTE,
    "row_replicate": ROW,
    "dead_letter_replay": REPLAY,
    "bundle_promote": PROMOTION,
    "api_access": ACCESS,
}


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


def _violating() -> dict[str, tuple[str, dict[str, Any]]]:
    facts: tuple[str | int, ...] = ("facts",)
    field = (*facts, "fields", 0)
    table = (*facts, "tables", 0)
    candidate = (*facts, "candidate")
    before = {"path": "email", "classifications": ["PII"], "retention": "P1Y"}
    previous = changed(SCHEMA, (*facts, "previous", "fields"), [before])
    inherited = [{"classification": "PCI", "from": "bank.cards.number"}]
    schema = {
        "contract.incompatible": changed(SCHEMA, (*facts, "compatibility", "compatible"), False),
        "contract.metadata_missing": changed(SCHEMA, (*facts, "metadata"), {}),
        "contract.owner_missing": changed(SCHEMA, (*facts, "metadata"), {}),
        "contract.subject_name": changed(SCHEMA, (*facts, "name"), "bank.cards"),
        "contract.version_bump_wrong": changed(SCHEMA, (*facts, "version", "claimed"), "2.0.0"),
        "pii.classification_removed": previous,
        "pii.unknown_classification": changed(SCHEMA, (*field, "classifications"), ["Secret"]),
        "pii.untagged_field": SCHEMA,
        "pii.waiver_expired": changed(SCHEMA, (*field, "waiver"), {"reason": "x", "until": "2020"}),
        "pii.waiver_without_reason": changed(SCHEMA, (*field, "waiver"), {"reason": ""}),
        "retention.exceeds_maximum": changed(SCHEMA, (*field, "classifications"), ["PII"]),
        "retention.hint_missing": changed(SCHEMA, (*facts, "format"), "PROTOBUF"),
        "retention.malformed": changed(SCHEMA, (*field, "retention"), "long"),
        "retention.prolonged": previous,
    }
    route = {
        "residency.dead_letter_abroad": changed(
            ROUTE, (*facts, "dead_letter", "region"), "us-east-1"
        ),
        "residency.guard_classified": changed(ROUTE, (*table, "guard_columns"), ["email"]),
        "residency.inherited_label": changed(ROUTE, (*table, "columns", 1, "inherited"), inherited),
        "residency.key_exposed": changed(ROUTE, (*table, "columns", 0, "key"), True),
        "residency.obligation_missing": ROUTE,
        "residency.region_denied": ROUTE,
        "residency.region_unknown": changed(ROUTE, (*facts, "sinks", 0, "region"), "mars-1"),
        "residency.transfer_basis_expired": changed(ROUTE, ("at",), "2027-04-01T00:00:00Z"),
        "residency.unclassified_column": changed(
            ROUTE, (*table, "columns", 1, "classifications"), ["Unclassified"]
        ),
    }
    promotion = {
        "promotion.deny_to_allow": changed(PROMOTION, (*facts, "approvers"), []),
        "promotion.self_approved": PROMOTION,
        "promotion.sequence_not_newer": changed(PROMOTION, (*candidate, "sequence"), 41),
        "promotion.unsigned": changed(PROMOTION, (*candidate, "key_id"), None),
        "promotion.unverified_approval": changed(PROMOTION, (*facts, "approvers"), ["grace"]),
        "promotion.untested": changed(PROMOTION, (*candidate, "tests"), None),
    }
    return {
        "access.not_permitted": ("api_access", ACCESS),
        "residency.home_not_allowed": ("row_replicate", ROW),
        **{code: ("schema_publish", question) for code, question in schema.items()},
        **{code: ("route_deploy", question) for code, question in route.items()},
        **{code: ("bundle_promote", question) for code, question in promotion.items()},
    }


# What breaks each rule: the entry point, and a question to it.
VIOLATING = _violating()
