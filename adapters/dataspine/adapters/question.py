"""From a file to the question of its point, for ``spine input`` and ``spine decide``."""

from __future__ import annotations

from pathlib import Path

from dataspine.adapters import route_deploy, schema_publish
from dataspine.adapters.session import Session
from dataspine.cdc.route import load_route
from dataspine.core import files
from dataspine.core.errors import InputError
from dataspine.decisions.decision import DecisionInput

__all__ = ["question_of", "read_text", "schema_type"]

_TYPES = {".avsc": "AVRO", ".proto": "PROTOBUF"}
MAX_SCHEMA_BYTES = 1_048_576


def question_of(session: Session, point: str, path: Path) -> DecisionInput:
    """Translate a file into the ``DecisionInput`` of a point; change nothing."""
    if point == schema_publish.POINT:
        proposal = schema_publish.Proposal(path.stem, read_text(path), schema_type(path))
        return schema_publish.question(session, proposal)
    if point == route_deploy.POINT:
        return route_deploy.question(session, load_route(path))
    raise InputError(
        f"no file can be translated for {point!r}",
        where="POINT",
        remedy=f"Use {schema_publish.POINT} or {route_deploy.POINT}.",
        code="input.unknown_point",
    )


def schema_type(path: Path) -> str:
    """Return the schema type that a file's ending says."""
    try:
        return _TYPES[path.suffix]
    except KeyError:
        raise InputError(
            f"{path.suffix or 'no ending'} is no schema file",
            where=str(path),
            remedy="Name it .avsc (Avro) or .proto (Protobuf).",
        ) from None


def read_text(path: Path) -> str:
    """Read a file of at most 1 MiB as UTF-8."""
    return files.read_text(path, MAX_SCHEMA_BYTES)
