"""A small, believable history: subjects, routes, flushes, a failed run and a denied replay."""

from datetime import timedelta
from typing import Any

from tests.lineage.samples import NOW, decision

from dataspine.core.database import Database
from dataspine.lineage import LineageStore, Outbox, events

ORIGINS = {
    "crm": events.Origin("postgres://crm.internal:5432", "shop"),
    "billing": events.Origin("postgres://billing.internal:5432", "pay"),
}


def field(path: str, kind: str, *labels: str) -> dict[str, Any]:
    return {"path": path, "type": kind, "classifications": list(labels)}


SUBJECTS = {
    "shop.customers": [
        field("id", "long", "Internal"),
        field("email", "string", "PII"),
        field("full_name", "string", "PII"),
        field("country", "string", "Internal"),
        field("created_at", "timestamp", "Public"),
    ],
    "shop.orders": [
        field("id", "long", "Internal"),
        field("customer_id", "long", "Internal"),
        field("total", "decimal", "Public"),
    ],
    "billing.payments": [
        field("id", "long", "Internal"),
        field("card_number", "string", "PCI", "Restricted"),
        field("amount", "decimal", "Internal"),
    ],
}


def table(name: str, source: str, subject: str | None) -> dict[str, Any]:
    columns = [{**f, "type": None} for f in SUBJECTS.get(subject or "", ())]
    return {"name": name, "source": source, "subject": subject, "columns": columns}


def facts(
    tables: list[dict[str, Any]], sinks: dict[str, tuple[str, dict[str, str]]]
) -> dict[str, Any]:
    return {
        "sources": [
            {"name": "crm", "region": "eu-west-1"},
            {"name": "billing", "region": "eu-central-1"},
        ],
        "tables": tables,
        "sinks": [
            {"name": name, "region": region, "masks": masks}
            for name, (region, masks) in sinks.items()
        ],
    }


CUSTOMERS = facts(
    [
        table("public.customers", "crm", "shop.customers"),
        table("public.orders", "crm", "shop.orders"),
    ],
    {
        "warehouse-eu": ("eu-west-1", {}),
        "warehouse-us": (
            "us-east-1",
            {"public.customers.email": "hmac", "public.customers.full_name": "redact"},
        ),
    },
)
PAYMENTS = facts(
    [table("public.payments", "billing", "billing.payments")],
    {"ledger": ("us-east-1", {"public.payments.card_number": "last4"})},
)


def tell(database: Database) -> LineageStore:
    """Write the history through the outbox and return the store that shows it."""
    outbox, at = Outbox(database), NOW
    with database.begin() as connection:
        for subject, fields in SUBJECTS.items():
            at += timedelta(minutes=2)
            outbox.write(
                connection,
                events.schema_published(
                    workspace="shop",
                    subject=subject,
                    version="1.2.0",
                    fields=fields,
                    decision=decision(point="schema.publish"),
                    at=at,
                ),
            )
        for route, known in (("customers-global", CUSTOMERS), ("payments", PAYMENTS)):
            at += timedelta(minutes=5)
            about: dict[str, Any] = {
                "workspace": "shop",
                "route": route,
                "facts": known,
                "origins": ORIGINS,
            }
            outbox.write(connection, events.route_deployed(**about, decision=decision(), at=at))
            run = events.new_run_id(at)
            for kind, error in (("START", None), ("FAIL", "The source closed the connection.")):
                at += timedelta(minutes=1)
                outbox.write(
                    connection,
                    events.route_ran(kind, run_id=run, error=error, **about, at=at),
                )
            at += timedelta(minutes=1)
            counts: dict[str, int | str] = {
                "applied": 9120,
                "masked": 811,
                "parked": 3,
                "end_lsn": "0/1A2B3C8",
            }
            outbox.write(
                connection,
                events.flush_applied(**about, counts=counts, decision=decision(), at=at),
            )
        at += timedelta(minutes=1)
        refused = decision(allow=False, point="dead_letter.replay")
        outbox.write(
            connection,
            events.dead_letters_replayed(**about, counts={"parked": 3}, decision=refused, at=at),
        )
    return LineageStore(database)
