"""How long hostile comparisons take, and what an ordinary one takes meanwhile."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dataspine.core.errors import InputError
from dataspine.registry import ComparisonWorkers, Limits, ParsedSchema, compare, parse

pytestmark = pytest.mark.faults

# The deadline of a comparison, and what a busy machine adds.
MOST_SECONDS = 15.0
ORDINARY_SECONDS = 2.0


def test_no_union_takes_longer_than_the_deadline_or_holds_up_others() -> None:
    stored = [_union(200, "int"), _union(199, "int")]
    sent = [_union(200, kind) for kind in ("string", "bytes", "boolean", "double", "float")]
    plain = [parse("AVRO", json.dumps(_record("P", kind))) for kind in ("int", "string")]
    with ComparisonWorkers() as workers, ThreadPoolExecutor(8) as threads:

        def ask(new: ParsedSchema) -> tuple[str, float]:
            began = time.monotonic()
            try:
                compare(stored, new, level="FULL_TRANSITIVE", limits=Limits.of(workers))
                answer = "compared"
            except InputError as error:
                answer = error.code
            return answer, time.monotonic() - began

        hostile = [threads.submit(ask, new) for new in sent]
        began = time.monotonic()
        assert not compare(plain[0], plain[1], limits=Limits.of(workers)).compatible
        spent = time.monotonic() - began
        answers = [each.result(60) for each in hostile]
    assert {answer for answer, _ in answers} <= {"compared", "registry.too_costly"}
    assert spent < ORDINARY_SECONDS
    assert max(seconds for _, seconds in answers) < MOST_SECONDS


def _union(branches: int, kind: str) -> ParsedSchema:
    """Return a record with a union of records, each with four fields of this type."""
    fields = [{"name": "u", "type": [_record(f"R{n}", kind) for n in range(branches)]}]
    return parse("AVRO", json.dumps({"type": "record", "name": "T", "fields": fields}))


def _record(name: str, kind: str) -> dict[str, object]:
    fields = [{"name": f"a{n}", "type": kind} for n in range(4)]
    return {"type": "record", "name": name, "fields": fields}
