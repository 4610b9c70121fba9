"""The facts of a schema without fields: the least that a question may hold."""

from typing import Any


def schema_facts(name: str, **metadata: str) -> dict[str, Any]:
    """Return whole facts of ``schema.publish`` for a subject."""
    return {
        "name": name,
        "format": "AVRO",
        "metadata": metadata,
        "fields": [],
        "version": {"current": None, "next": "1.0.0", "bump": "none", "claimed": None},
        "compatibility": {"level": "BACKWARD", "compatible": True, "messages": []},
        "previous": None,
    }
