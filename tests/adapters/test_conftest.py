"""The rules as conftest asks them, with the real program over an unpacked bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.policies.support import AT, DATA, MATRIX, ROUTE, changed

from dataspine.adapters.tools.conftest import Conftest, Judged
from dataspine.bundles import Inputs, SigningKey, build, generate_key, open_archive, packaged, sign
from dataspine.core.errors import UnavailableError

pytestmark = pytest.mark.integration

YAML_ROUTE = """\
name: shop.route
sources:
  - {name: shop, region: eu-west-1}
sinks:
  - {name: lake, region: us-east-1}
dead-letter: {region: us-east-1}
"""
MANIFESTS = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: report
  annotations: {data-spine.dev/region: mars-1}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
"""
AVRO = '{"type": "record", "name": "A", "fields": []}'


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack a signed bundle, because conftest reads folders alone."""
    folder = tmp_path_factory.mktemp("policy")
    key = folder / "key.pem"
    generate_key(key)
    content = build(packaged(), Inputs(DATA["config"], MATRIX, "1.0.0"))
    data = sign(content, SigningKey.load(key, id="k"), sequence=1, channel="dev")
    for name, raw in open_archive(data).items():
        if not name.startswith("."):
            path = folder / "unpacked" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
    return folder / "unpacked"


def _codes(judged: tuple[Judged, ...]) -> list[tuple[set[str], set[str]]]:
    return [
        (
            {verdict.metadata["code"] for verdict in each.failures},
            {verdict.metadata["code"] for verdict in each.warnings},
        )
        for each in judged
    ]


def test_a_question_is_judged_as_the_entry_point_does(conftest: Path, policy: Path) -> None:
    question = changed(ROUTE, ("facts", "dead_letter", "region"), "us-east-1")

    (judged,) = Conftest(conftest).test(policy, stdin=json.dumps(question).encode())

    (abroad,) = [v for v in judged.failures if v.metadata["code"] == "residency.dead_letter_abroad"]
    assert abroad.message == (
        "residency.dead_letter_abroad: the dead letter is in us-east-1, "
        "and the rows it parks come from shop in eu-west-1"
    )
    assert abroad.metadata["path"] == "/facts/dead_letter/region"
    assert abroad.metadata["line"] == 12
    assert abroad.metadata["controls"] == ["GDPR-44"]
    assert {v.metadata["code"] for v in judged.failures} > {"residency.region_denied"}


@pytest.mark.parametrize(
    ("name", "text", "parser", "expected"),
    [
        ("matrix.yaml", json.dumps(MATRIX), None, [(set(), set())]),
        (
            "half.yaml",
            json.dumps({**MATRIX, "transfers": 7}),
            None,
            [({"engine.invalid_data"}, set())],
        ),
        (
            "route.yaml",
            YAML_ROUTE,
            None,
            [({"residency.dead_letter_abroad"}, {"engine.judged_in_part"})],
        ),
        # Two documents in one file are judged one by one and told as one.
        ("manifests.yaml", MANIFESTS, None, [({"residency.region_unknown"}, set())]),
        ("customers.avsc", AVRO, "json", [({"engine.invalid_input"}, set())]),
    ],
)
def test_raw_files_are_judged_as_far_as_they_say(
    name: str,
    text: str,
    parser: str | None,
    expected: list[tuple[set[str], set[str]]],
    conftest: Path,
    policy: Path,
    tmp_path: Path,
) -> None:
    file = tmp_path / name
    file.write_text(text)

    assert _codes(Conftest(conftest).test(policy, [file], parser=parser)) == expected


def test_a_known_time_makes_a_dated_basis_count(
    conftest: Path, policy: Path, tmp_path: Path
) -> None:
    annotations = {
        "data-spine.dev/region": "us-east-1",
        "data-spine.dev/homes": "EU",
        "data-spine.dev/classifications": "PII",
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "report", "annotations": annotations},
    }
    file = tmp_path / "job.json"
    file.write_text(json.dumps(job))
    timeless = _codes(Conftest(conftest).test(policy, [file]))
    (policy / "data.json").write_text(json.dumps({"at": AT}))
    try:
        timed = _codes(Conftest(conftest).test(policy, [file]))
    finally:
        (policy / "data.json").unlink()

    assert timeless == [
        ({"residency.transfer_basis_expired", "residency.obligation_missing"}, set())
    ]
    assert timed == [({"residency.obligation_missing"}, set())]


def test_a_file_that_conftest_cannot_parse_is_an_error(
    conftest: Path, policy: Path, tmp_path: Path
) -> None:
    schema = tmp_path / "customers.avsc"
    schema.write_text(AVRO)

    with pytest.raises(UnavailableError, match="no report"):
        Conftest(conftest).test(policy, [schema])


def test_the_version_names_the_opa_inside(conftest: Path) -> None:
    assert "(OPA 1." in Conftest(conftest).version()
