"""The rules that a sidecar's OPA asks about itself: who may call it, and what its log may hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.policies.support import ROW, SCHEMA, build, changed
from tests.sidecar import TOKEN, Sidecar, running, short_folder, until

pytestmark = pytest.mark.integration

MAIN = "/v1/data/dataspine/main"
SILENCER = "package system.log\n\ndrop := true\n\nmask contains 1 / 0\n"
# Nothing that is sent beside a question, or in place of one, may leave with the log.
SECRET = "jane@example.org"


@pytest.fixture(scope="module")
def sidecar(opa: Path) -> Iterator[Sidecar]:
    with short_folder() as folder:
        access = {"sidecar": {"tokens": [sha256(TOKEN.encode()).hexdigest()]}}
        (folder / "access.json").write_text(json.dumps(access))
        logs = {"mask_decision": "/dataspine/log/mask", "drop_decision": "/dataspine/log/drop"}
        config = {
            "decision_logs": {"console": True, **logs},
            "default_authorization_decision": "/dataspine/authz/allow",
        }
        (folder / "opa.json").write_text(json.dumps(config))
        address = f"unix://{folder}/s"
        argv = [str(opa), "run", "--server", "--config-file", "opa.json", "--addr", address]
        argv += ["--authentication=token", "--authorization=basic", "--skip-version-check"]
        argv += ["--log-format", "json", str(build(folder)), "access.json"]
        with running(argv, folder, address) as found:
            yield found


def _logged(sidecar: Sidecar, decision_id: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def arrived() -> bool:
        found[:] = [e for e in sidecar.entries() if e.get("decision_id") == decision_id]
        return bool(found)

    until(arrived, sidecar.log.read_text)
    return found[0]


def test_a_log_cannot_be_silenced_through_the_api(sidecar: Sidecar) -> None:
    for method, path, body in (
        ("PUT", "/v1/policies/silencer", SILENCER),
        ("PUT", "/v1/data/system/log", {"drop": True}),
        ("PATCH", "/v1/data/dataspine/log", [{"op": "add", "path": "/drop", "value": True}]),
        ("DELETE", "/v1/policies/silencer", None),
        ("POST", "/v1/query", {"query": "x = data"}),
    ):
        for token in (TOKEN, "another", None):
            assert sidecar.ask(method, path, body, token)[0] == 401
    answer = sidecar.decide(SCHEMA)
    assert _logged(sidecar, answer["decision_id"])["result"] == answer["result"]


def test_a_caller_without_the_token_reads_nothing(sidecar: Sidecar) -> None:
    paths = ("/v1/data", f"{MAIN}/schema_publish", "/v1/policies", "/v1/config", "/metrics")
    for path in paths:
        for token in (None, "", "another"):
            assert sidecar.ask("GET", path, token=token)[0] == 401
            assert sidecar.ask("POST", path, {"input": SCHEMA}, token)[0] == 401
    assert sidecar.ask("GET", "/health", token=None)[0] == 200
    assert sidecar.ask("GET", "/metrics")[0] == 200
    assert sidecar.ask("GET", "/v1/data/sidecar")[0] == 401


FILTER = "/v1/compile/dataspine/main/row_replicate_filter"
SHOWING = ("explain=full", "explain=notes", "pretty", "provenance=true", "instrument=true")


@pytest.mark.parametrize(
    "parameter", [*SHOWING, "strict-builtin-errors=true", "metrics&explain=full"]
)
def test_no_parameter_of_a_call_shows_the_policy(sidecar: Sidecar, parameter: str) -> None:
    for path in (f"{MAIN}/row_replicate", FILTER):
        status, answer = sidecar.ask("POST", f"{path}?{parameter}", {"input": ROW})
        assert (status, answer["code"]) == (401, "unauthorized")
    assert sidecar.ask("GET", f"/metrics?{parameter}")[0] == 401
    status, answer = sidecar.ask("POST", f"{MAIN}/row_replicate?metrics", {"input": ROW})
    assert (status, sorted(answer)) == (200, ["decision_id", "metrics", "result"])


@pytest.mark.parametrize(
    "more",
    [
        {"unknowns": ["input"]},
        {"unknowns": ["data.dataspine.matrix"]},
        {"unknowns": ["input.row", "input.facts"]},
        {"unknowns": []},
        {"unknowns": None},
        {"Unknowns": ["input"]},
        {"query": "data.dataspine.matrix = x"},
        {"options": {"maskRule": "data.dataspine.matrix"}},
        {"options": {"disableInlining": ["data"]}},
        {"options": None},
        {"more": 1},
    ],
    ids=str,
)
def test_nothing_but_the_row_is_unknown_to_a_filter(
    sidecar: Sidecar, more: dict[str, object]
) -> None:
    status, answer = sidecar.ask("POST", FILTER, {"input": ROW, **more})

    assert (status, answer["code"]) == (401, "unauthorized")


def test_a_filter_is_answered_in_both_dialects(sidecar: Sidecar) -> None:
    facts = {key: value for key, value in ROW.items() if key != "row"}
    accept = {"Accept": "application/vnd.opa.multitarget+json"}
    whole = {
        "input": facts,
        "unknowns": ["input.row"],
        "options": {"targetDialects": ["ucast+all", "sql+postgresql"]},
    }

    for body in (whole, {key: whole[key] for key in ("input", "options")}):
        status, answer = sidecar.ask("POST", FILTER, body, headers=accept)
        assert (status, sorted(answer["result"])) == (200, ["postgresql", "ucast"])


def test_a_whole_question_is_logged_whole(sidecar: Sidecar) -> None:
    for question in (SCHEMA, ROW):
        event = _logged(sidecar, sidecar.decide(question)["decision_id"])
        assert event["input"] == question
        assert "erased" not in event


@pytest.mark.parametrize(
    "question",
    [
        None,
        SECRET,
        7,
        [SECRET],
        {},
        {"row": SECRET},
        changed(ROW, ("row", "email"), SECRET),
        changed(ROW, ("row", "a/b~%2F" + "ü"), SECRET),
        changed(ROW, ("row", "country"), {"email": SECRET}),
        changed(ROW, ("row",), [SECRET]),
        changed(ROW, ("record",), {"email": SECRET}),
        changed(ROW, ("facts", "email"), SECRET),
        changed(ROW, ("facts", "guard_columns"), 7),
        changed(ROW, ("at",), SECRET),
        changed(ROW, ("point",), SECRET),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["data", "compile"])
def test_whatever_is_sent_beside_a_question_stays(
    sidecar: Sidecar, question: object, path: str
) -> None:
    entry = "row_replicate" if path == "data" else "row_replicate_filter"
    sidecar.ask("POST", f"/v1/{path}/dataspine/main/{entry}", {"input": question})
    last = sidecar.decide(SCHEMA)
    _logged(sidecar, last["decision_id"])
    text = sidecar.log.read_text()
    assert "masking failed" not in text
    assert SECRET not in text


def test_every_decision_is_logged(sidecar: Sidecar) -> None:
    odd: list[Any] = [
        None,
        "x",
        7,
        [],
        {},
        {"input": {}},
        {"path": "system/log"},
        {"row": {"a": 1}},
    ]
    given = []
    for question in odd:
        for entry in ("schema_publish", "row_replicate", "none"):
            _, answer = sidecar.ask("POST", f"{MAIN}/{entry}", {"input": question})
            given.append(answer["decision_id"])
    for each in given:
        assert _logged(sidecar, each)["path"].startswith("dataspine/main/")
