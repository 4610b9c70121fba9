"""A released workspace served: not ready while empty, then always the newest bundle."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.facts import schema_facts
from tests.released import make_released

from dataspine.core.process import stop

pytestmark = pytest.mark.integration

QUESTION = {
    "point": "schema.publish",
    "at": "2026-01-01T00:00:00Z",
    "facts": schema_facts("x", owner="a"),
}


def _ask(url: str, body: object = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - our own service
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own service
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def _wait(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_released_service_follows_its_channel(tmp_path: Path, opa: Path) -> None:
    shop = make_released(tmp_path, opa)

    @contextmanager
    def served() -> Iterator[str]:
        process = shop.start("serve", "--port", "0", "--json")
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            stop(process, 30)
            process.communicate()

    def decided(url: str) -> tuple[bool, list[str], str | None]:
        _, found = _ask(f"{url}/v1/decisions/schema.publish", QUESTION)
        codes = [v["code"] for v in found["violations"] if v["severity"] == "error"]
        return found["allow"], codes, (found["policy"] or {}).get("revision")

    with served() as url:
        status, empty = _ask(f"{url}/readyz")
        assert (status, empty["where"], empty["code"]) == (503, "bundle", "bundle.none_active")
        assert empty["remedy"] == "Run `spine bundle publish --channel stable`."
        assert decided(url) == (False, ["engine.undefined"], None)
        first = shop.document("bundle", "publish")["revision"]
        _wait(lambda: _ask(f"{url}/readyz")[0] == 200)
        assert decided(url) == (True, [], first)

        shop.deny_everything()
        second = shop.document("bundle", "publish")["revision"]
        _wait(lambda: decided(url)[2] == second)
        assert decided(url) == (False, ["shop.never"], second)
        shop.document("bundle", "rollback", "--to", "1", "--reason", "it denies everything")
        _wait(lambda: decided(url)[2] == first)
        assert decided(url) == (True, [], first)
        newest = shop.document("bundle", "publish")["revision"]
        assert newest == second

    with served() as url:
        assert decided(url) == (False, ["shop.never"], second)
        assert _ask(f"{url}/readyz")[1]["bundle"] == second
