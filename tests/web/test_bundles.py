"""Bundles over HTTP: reserved, signed elsewhere, uploaded, looked up, rolled back."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.released import make_released

from dataspine.adapters.policy import content_of
from dataspine.adapters.session import Session
from dataspine.bundles import Content, Origin, SigningKey, sign
from dataspine.web.app import create_app

pytestmark = pytest.mark.integration


@dataclass
class Service:
    client: TestClient
    session: Session
    key: SigningKey
    content: Content

    def put(self, sequence: int, *, channel: str = "stable", signed: int | None = None) -> int:
        data = sign(
            self.content,
            self.key,
            sequence=signed or sequence,
            channel="stable",
            origin=Origin(author="bea"),
        )
        answer = self.client.put(f"/v1/bundles/{channel}/{sequence}", content=data)
        return answer.status_code


@pytest.fixture
def service(tmp_path: Path, opa: Path) -> Iterator[Service]:
    shop = make_released(tmp_path, opa)
    key = SigningKey.load(tmp_path / "release.pem", id="release-1")
    with Session(shop.workspace, opa=opa, actor="ada") as session:
        client = TestClient(create_app(session), base_url="http://127.0.0.1")
        yield Service(client, session, key, content_of(shop.workspace))


def test_a_bundle_is_reserved_signed_uploaded_and_found(service: Service) -> None:
    client, digest = service.client, service.content.digest
    asked = {"channel": "stable", "digest": digest}
    reserved = [client.post("/v1/bundles", json=asked) for _ in range(2)]
    assert [(r.status_code, r.json()) for r in reserved] == [(201, {**asked, "sequence": 1})] * 2
    assert client.get("/readyz").status_code == 503
    wrong = [service.put(1, channel="canary"), service.put(1, signed=2), service.put(2)]
    assert wrong == [422, 409, 409]
    assert [service.put(1), service.put(1)] == [201, 200]

    shown = client.get(f"/v1/bundles/{digest}").json()
    assert (shown["revision"], shown["author"]) == (service.content.revision, "bea")
    (publication,) = shown["publications"]
    assert (publication["channel"], publication["sequence"], publication["actor"]) == (
        "stable",
        1,
        "ada",
    )
    assert client.get("/v1/bundles").json() == [publication]
    archive = client.get(publication["archive"])
    assert archive.content == service.session.bundles.bytes_of("stable", 1)
    served = client.get("/bundles/stable.tar.gz")
    assert served.content == archive.content
    stable = client.get("/v1/channels/stable").json()
    assert (stable["active"]["sequence"], stable["history"]) == (1, [publication])
    assert [c["channel"] for c in client.get("/v1/channels").json()] == [
        "candidate",
        "canary",
        "stable",
    ]
    (entry,) = service.session.journal.list()
    assert (entry.name, entry.actor, entry.acted, entry.decision.policy) == (
        "stable",
        "ada",
        True,
        None,
    )
    assert [v.code for v in entry.decision.violations] == ["engine.bootstrap"]


def test_a_rollback_is_signed_with_the_services_key_alone(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = service.session.bundles.reserve("stable", service.content.digest)
    service.put(first)
    settings = service.session.workspace.root / "spine.yaml"
    settings.write_text(settings.read_text().replace('"warn"', '"ignore"'))
    old = service.content
    service.content = content_of(type(service.session.workspace).open(settings.parent))
    assert service.content != old
    service.put(service.session.bundles.reserve("stable", service.content.digest))
    order = {"to": 1, "reason": "it denies everything"}
    address = "/v1/channels/stable/rollback"
    monkeypatch.delenv("SPINE_KEY", raising=False)
    refused = service.client.post(address, json=order)
    assert (refused.status_code, refused.json()["code"]) == (422, "bundle.no_key")
    named = service.client.post(address, json={**order, "key": "file:/etc/passwd"})
    assert named.status_code == 422
    monkeypatch.setenv("SPINE_KEY", f"file:{tmp_path / 'release.pem'}")
    done = service.client.post(address, json=order)
    assert done.status_code == 201
    assert (done.json()["sequence"], done.json()["revision"]) == (3, old.revision)
    assert done.json()["rollback"]["actor"] == "ada"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/bundles", b"{}", 422, "input.invalid"),
        ("POST", "/v1/bundles", b'{"channel": "dev", "digest": "x"}', 422, "bundle.bad_channel"),
        ("POST", "/v1/bundles", b'{"channel": "stable", "digest": "x"}', 422, "input.invalid"),
        ("PUT", "/v1/bundles/stable/1", b"no archive", 422, "bundle.malformed"),
        ("PUT", "/v1/bundles/stable/x", b"", 422, "input.invalid"),
        ("PUT", "/v1/bundles/dev/1", b"", 422, "bundle.bad_channel"),
        ("GET", "/v1/bundles/none", None, 404, "bundle.unknown"),
        ("GET", "/v1/bundles/stable/7", None, 404, "bundle.no_such_sequence"),
        ("GET", "/v1/bundles?limit=0", None, 422, "input.invalid"),
        ("GET", "/v1/channels/none", None, 404, "input.not_found"),
    ],
)
def test_bad_request_is_problem_json(
    service: Service, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = service.client.request(method, path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
