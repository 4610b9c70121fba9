"""The rule library: its form, its words, its tests, and the filter that a row rule compiles to."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from tests.policies.support import (
    DATA,
    POLICIES,
    QUESTIONS,
    ROOT,
    ROW,
    VIOLATING,
    build,
    changed,
    evaluate,
)

from dataspine.core.document import load_document, schema
from dataspine.core.process import spawn, stop

RULES = sorted(path.parent for path in POLICIES.glob("dataspine/rules/*/*/*_test.rego"))
CODES = [f"{folder.parent.name}.{folder.name}" for folder in RULES]


def _opa(opa: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(opa), *arguments], cwd=ROOT, text=True, capture_output=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("rego"))


@pytest.mark.integration
@pytest.mark.parametrize(
    "arguments",
    [
        ["fmt", "--fail", "--list", "policies"],
        ["check", "--strict", "--bundle", "policies"],
        ["test", "--timeout", "60s", "--bundle", "policies"],
    ],
    ids=["formatted", "strict", "tested"],
)
def test_policies_are_clean(arguments: list[str], opa: Path) -> None:
    run = _opa(opa, *arguments)

    assert run.returncode == 0, run.stdout + run.stderr


def test_every_rule_has_its_test() -> None:
    folders = sorted(path for path in POLICIES.glob("dataspine/rules/*/*") if path.is_dir())

    assert folders == RULES
    for folder in folders:
        files = sorted(path.name for path in folder.iterdir())
        assert files == [f"{folder.name}.rego", f"{folder.name}_test.rego"]


@pytest.mark.integration
def test_every_rule_says_what_to_do(opa: Path) -> None:
    run = _opa(opa, "inspect", "-a", "-f", "json", "policies/dataspine/rules")
    assert run.returncode == 0, run.stderr
    words = {
        ".".join(part["value"] for part in entry["path"][-2:]): entry["annotations"]
        for entry in json.loads(run.stdout)["annotations"]
        if entry["annotations"]["scope"] == "package"
    }

    assert sorted(words) == sorted(CODES)
    for code, said in words.items():
        custom = said["custom"]
        assert said["title"], code
        assert said["description"], code
        assert said["labels"]["controls"], code
        assert sorted(custom) == ["message", "remediation", "severity"], code
        assert custom["severity"] in {"error", "warn"}, code
        assert re.search(r"[.\])]$", custom["remediation"]), code


@pytest.mark.integration
@pytest.mark.parametrize("code", CODES)
def test_every_rule_finds_what_it_is_for(code: str, opa: Path, bundle: Path) -> None:
    entry, question = VIOLATING[code]

    answer = evaluate(opa, bundle, f"data.dataspine.main.{entry}", question)

    assert sorted(VIOLATING) == CODES

    found = [violation for violation in answer["violations"] if violation["code"] == code]
    assert found
    for violation in found:
        # Every placeholder was filled, and the path leads to something in the question.
        assert not re.search(r"\{\w+\}", violation["message"] + violation["remediation"])
        _resolve(question, violation["path"])


def _resolve(document: Any, pointer: str) -> None:
    parts = pointer.split("/")[1:]
    for part in parts[:-1]:
        document = document[int(part) if isinstance(document, list) else part]
    assert isinstance(document, dict | list)


@pytest.mark.integration
@pytest.mark.parametrize("entry", sorted(QUESTIONS))
def test_answers_have_one_shape(entry: str, opa: Path, bundle: Path) -> None:
    whole = evaluate(opa, bundle, f"data.dataspine.main.{entry}", QUESTIONS[entry])
    refused = evaluate(opa, bundle, f"data.dataspine.main.{entry}", {})

    keys = {"allow", "violations", "obligations", "policy", "valid_until"}
    assert set(whole) == set(refused) == keys
    assert refused["allow"] is False


def test_bundle_roots_and_rego_version_are_ours() -> None:
    manifest = json.loads((POLICIES / ".manifest").read_text())

    assert manifest == {"roots": ["dataspine"], "rego_version": 1}


@pytest.mark.integration
def test_tests_reach_every_line(opa: Path) -> None:
    run = _opa(
        opa, "test", "--timeout", "60s", "--bundle", "policies", "--coverage", "--threshold", "100"
    )

    assert run.returncode == 0, run.stdout + run.stderr


def test_lexicon_is_whole() -> None:
    lexicon = json.loads((POLICIES / "dataspine/lexicon/data.json").read_text())

    assert sorted(lexicon) == [
        "around",
        "beside",
        "classifications",
        "compound",
        "keys",
        "retained_types",
        "stems",
        "terms",
        "threshold",
        "types",
    ]
    for word, term in lexicon["terms"].items():
        assert re.fullmatch("[a-z0-9]+", word)
        assert sorted(term) == ["weight", "why"]
        assert isinstance(term["weight"], int)
        assert term["why"]
    for kind in ("around", "beside", "types"):
        for word, weight in lexicon[kind].items():
            assert re.fullmatch("[a-z0-9]+", word)
            assert isinstance(weight, int)
    # A stem is found with its own words.
    for stem in re.findall(r"[a-z]+", lexicon["stems"]):
        assert stem in lexicon["terms"], stem


class TestMatrix:
    path = ROOT / "schema/data-residency-matrix.yaml"

    def test_json_has_the_same_content(self) -> None:
        written = load_document(self.path, "matrix").value

        assert json.loads(self.path.with_suffix(".json").read_text()) == written

    @pytest.mark.integration
    def test_rules_accept_it(self, opa: Path, tmp_path: Path) -> None:
        matrix = load_document(self.path, "matrix").value
        real = build(tmp_path, {**DATA, "matrix": matrix})

        faults = evaluate(opa, real, "data.dataspine.lib.bundle_data.faults", {})
        us, brazil = evaluate(
            opa,
            real,
            "[[a.allow, a.valid_until] | some q in input; a := data.dataspine.main.row_replicate"
            " with input as q]",
            [changed(ROW, ("row", "country"), country) for country in ("DE", "BR")],
        )

        assert faults == []
        assert us == [True, "2027-03-31T00:00:00Z"]
        assert brazil == [False, "2027-03-31T00:00:00Z"]

    def test_every_home_and_target_is_a_geography(self) -> None:
        matrix = load_document(self.path, "matrix").value
        known = set(matrix["geographies"])

        for homes in matrix["transfers"].values():
            assert set(homes) <= known | {"*"}
            for targets in homes.values():
                assert set(targets) <= known


@pytest.mark.parametrize("name", ["matrix", "exceptions"])
def test_file_schemas_are_valid(name: str) -> None:
    jsonschema_rs.meta.validate(schema(name))


@pytest.fixture(scope="module")
def server(opa: Path, bundle: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "opa.sock"
        argv = [str(opa), "run", "--server", "-b", str(bundle), "--addr", f"unix://{path}"]
        process = spawn(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_ready(path)
            yield path
        finally:
            stop(process, 5)


class TestFilter:
    """The row rule on a real server: what OPA compiles it to, per dialect."""

    @pytest.mark.integration
    @pytest.mark.parametrize(
        ("place", "value", "expected"),
        [
            (("at",), ROW["at"], "WHERE (row.country IN (E'DE', E'FR') OR row.country IN (E'US'))"),
            (("facts", "homes"), ["EU"], "WHERE row.country IN (E'DE', E'FR')"),
            (("facts", "sink", "masks"), {}, "WHERE row.country IN (E'US')"),
            (("at",), "2027-03-31T00:00:00Z", "WHERE row.country IN (E'US')"),
            (("facts", "sink", "region"), "mars-1", None),
            (("facts", "home"), {"constant": "US"}, ""),
            (("facts", "home"), {"constant": "BR"}, None),
            (("facts", "columns"), [], None),
            (("facts", "columns", 0, "classifications"), ["Unclassified"], None),
        ],
        ids=[
            "masked",
            "listed",
            "unmasked",
            "basis ended",
            "unknown region",
            "always",
            "never",
            "no question",
            "unclassified",
        ],
    )
    def test_sql(
        self, place: tuple[str | int, ...], value: Any, expected: str | None, server: Path
    ) -> None:
        answer = _compile(server, "application/vnd.opa.sql.postgresql+json", place, value)

        assert answer.get("result", {}).get("query") == expected

    @pytest.mark.integration
    def test_ucast(self, server: Path) -> None:
        accept = "application/vnd.opa.ucast.linq+json"

        answer = _compile(server, accept, ("facts", "homes"), ["EU"])

        assert answer["result"]["query"] == {
            "type": "field",
            "operator": "in",
            "field": "row.country",
            "value": ["DE", "FR"],
        }


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


def _wait_ready(path: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        connection = _UnixConnection(path)
        try:
            connection.request("GET", "/health?bundles")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        assert time.monotonic() < deadline, "OPA did not start"
        time.sleep(0.02)


def _compile(server: Path, accept: str, place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    known = changed(changed(ROW, ("row",), ...), place, value)
    body = json.dumps({"input": known, "unknowns": ["input.row"]})
    connection = _UnixConnection(server)
    try:
        headers = {"Accept": accept, "Content-Type": "application/json"}
        path = "/v1/compile/dataspine/main/row_replicate_filter"
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    finally:
        connection.close()
    assert response.status == 200, answer
    return answer
