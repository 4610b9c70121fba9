"""Bundles over HTTP: reserved, signed elsewhere, uploaded, looked up, rolled back."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.released import make_released

from dataspine.adapters import bundle_publish
from dataspine.adapters.policy import content_of
from dataspine.adapters.session import Session
from dataspine.bundles import (
    Content,
    Origin,
    Publisher,
    Results,
    SigningKey,
    content_digest,
    sign,
)
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


def _changed(content: Content) -> Content:
    files = {**content.files, "dataspine/config/data.json": b'{"rules":{"contract":"error"}}'}
    digest = content_digest(files)
    return Content(files, digest, "1.0.0+" + digest.replace(":", "."))


def test_promotion_is_decided_and_signed_with_the_own_key_alone(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, session = f"file:{tmp_path / 'release.pem'}", service.session
    monkeypatch.setenv("SPINE_KEY", key)
    changed = _changed(service.content)
    origin = Origin(author="bea")
    bundle_publish.release(session, service.content, "stable", key=key, origin=origin)
    bundle_publish.release(session, changed, "canary", key=key, origin=origin)
    address, asked = "/v1/channels/stable/promote", {"revision": changed.digest}
    denied = service.client.post(address, json=asked)
    assert (denied.status_code, denied.json()["code"]) == (403, "bundle.denied")
    assert [v["code"] for v in denied.json()["decision"]["violations"]] == ["promotion.untested"]
    assert (denied.json()["changed"], denied.json()["publication"]) == (False, None)

    tested = replace(origin, tests=Results(passed=1, failed=0))
    session.bundles.release(
        changed, "canary", Publisher(service.key, session.trust, "bea"), origin=tested
    )
    approved = service.client.post("/v1/channels/stable/approve", json={**asked, "reason": "seen"})
    assert approved.status_code == 201
    done = service.client.post(address, json=asked)
    assert (done.status_code, done.json()["changed"]) == (201, True)
    assert done.json()["approvals"] == [approved.json()]
    assert (approved.json()["actor"], approved.json()["reason"]) == ("ada", "seen")
    assert done.json()["publication"]["revision"] == changed.revision
    again = service.client.post(address, json=asked)
    assert (again.status_code, again.json()["changed"]) == (200, False)

    # A caller names no file: neither the bundle's nor the key's.
    named = service.client.post(address, json={"revision": str(tmp_path / "release.pem")})
    assert (named.status_code, named.json()["code"]) == (404, "bundle.unknown")
    assert service.client.post(address, json={**asked, "key": key}).status_code == 422
    monkeypatch.delenv("SPINE_KEY")
    refused = service.client.post(address, json=asked)
    assert (refused.status_code, refused.json()["code"]) == (422, "bundle.no_key")


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
