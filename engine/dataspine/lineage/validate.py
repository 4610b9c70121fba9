"""Which OpenLineage events are taken: structure is required, form is only remarked on.

Real producers break formats in known ways, and an event lost for its form is worse than one kept
with a remark. What no consumer could use (a run id that is no UUID, a time that cannot be read) is
refused.
"""

from __future__ import annotations

import functools
import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import jsonschema_rs

from dataspine.core.clock import rfc3339
from dataspine.core.errors import InputError

__all__ = ["event_time", "kind_of", "redact", "validate"]

REDACTED = "[redacted]"
_KINDS = ("RunEvent", "JobEvent", "DatasetEvent")
_SECRET_KEY = re.compile(
    r"(^|[._\-\s])(password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key"
    r"|private[_-]?key|client[_-]?secret|credentials?|authorization|sas[_-]?token)$",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_USERINFO = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.\-]*://)[^/\s@]*:[^/\s@]*@", re.IGNORECASE)
_SHORT = 64
_REMEDY = "Send an OpenLineage 2-0-2 run, job or dataset event."


def validate(event: object) -> list[str]:
    """Return remarks on an event that can be used; raise ``InputError`` for one that cannot."""
    if not isinstance(event, dict):
        raise _refused("an event is a JSON object", "/")
    kind = kind_of(event)
    try:
        _validators()[kind].validate(event)
    except jsonschema_rs.ValidationError as error:
        pointer = "/" + "/".join(str(part) for part in error.instance_path)
        # The validator's message may quote the value, and the value may be a secret.
        raise _refused(f"no {kind}: broken rule {error.kind.name!r}", pointer) from None
    if kind == "RunEvent":
        _require_uuid(event["run"]["runId"])
    _, naive = _time(event["eventTime"])
    remarks = []
    if naive:
        remarks.append("eventTime has no offset; it is read as UTC")
    if not event.get("schemaURL"):
        remarks.append("schemaURL is missing")
    return remarks


def kind_of(event: Mapping[str, Any]) -> str:
    """Return ``RunEvent``, ``JobEvent`` or ``DatasetEvent``, by what the event is about."""
    if "run" in event:
        return "RunEvent"
    if "job" in event:
        return "JobEvent"
    if "dataset" in event:
        return "DatasetEvent"
    raise _refused("an event is about a run, a job or a dataset", "/")


def event_time(event: Mapping[str, Any]) -> str:
    """Return the event's time as RFC 3339 in UTC, so that texts sort by time."""
    at, _ = _time(event["eventTime"])
    # A fixed number of digits keeps the order of texts the order of times.
    return rfc3339(at.replace(microsecond=0))[:-1] + f".{at.microsecond:06d}Z"


def redact(value: Any) -> Any:
    """Return a copy without secrets: values of known keys, and user information in addresses."""
    if isinstance(value, dict):
        return _redacted(value)
    if isinstance(value, list):
        return [redact(item) for item in value]
    if isinstance(value, str) and "@" in value:
        return _USERINFO.sub(r"\g<scheme>", value)
    return value


def _redacted(members: dict[str, Any]) -> dict[str, Any]:
    named = members.get("name", members.get("key"))
    hides_value = isinstance(named, str) and _is_secret(named)
    copy: dict[str, Any] = {}
    for key, item in members.items():
        is_plain = isinstance(item, str | int | float)
        if is_plain and (_is_secret(key) or (hides_value and key == "value")):
            copy[key] = REDACTED
        elif is_plain and not (isinstance(item, str) and "@" in item):
            copy[key] = item  # most values: a call for each would take half of the time
        else:
            copy[key] = redact(item)
    return copy


def _is_secret(key: str) -> bool:
    # Events repeat a few short keys; what is long is not worth keeping.
    return _short_is_secret(key) if len(key) <= _SHORT else _looks_secret(key)


@functools.lru_cache(maxsize=4096)
def _short_is_secret(key: str) -> bool:
    return _looks_secret(key)


def _looks_secret(key: str) -> bool:
    return _SECRET_KEY.search(_CAMEL.sub("_", key)) is not None


def _require_uuid(text: str) -> None:
    try:
        canonical = str(uuid.UUID(text)) == text.lower()
    except ValueError:
        canonical = False
    if not canonical:
        raise _refused("the run id is no UUID", "/run/runId")


def _time(text: str) -> tuple[datetime, bool]:
    try:
        at = datetime.fromisoformat(text)
        naive = at.tzinfo is None
        at = at.replace(tzinfo=UTC) if naive else at.astimezone(UTC)
    except (ValueError, OverflowError):  # of which the second is before year 1 or after 9999
        at = None
    if at is None or ":" not in text:
        raise _refused("the event time cannot be read", "/eventTime")
    return at, naive


def _refused(problem: str, where: str) -> InputError:
    return InputError(problem, where=where, remedy=_REMEDY, code="lineage.invalid_event")


@functools.cache
def _validators() -> dict[str, jsonschema_rs.Draft202012Validator]:
    text = files("dataspine.lineage").joinpath("schemas/openlineage.schema.json").read_text("utf-8")
    schema = json.loads(text)
    return {
        kind: jsonschema_rs.Draft202012Validator(
            {**schema["$defs"][kind], "$defs": schema["$defs"]}
        )
        for kind in _KINDS
    }
