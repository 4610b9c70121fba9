"""Who calls is known by a token, and acts under its name; without one nothing is answered."""

import base64
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from dataspine.core.identity import Principal, acting, acting_as
from dataspine.core.token import digest_of, new_token
from dataspine.core.workspace import TokenEntry
from dataspine.web.authentication import Authentication

TOKENS = [
    TokenEntry("ada", digest_of("ada-token"), ("engineer", "owner")),
    TokenEntry("bo", digest_of("bo-token")),
]


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    who = acting()
    answer = JSONResponse({"who": who.facts() if who else None, "at": Request(scope).url.path})
    await answer(scope, receive, send)


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(Authentication(_echo, TOKENS))


def _basic(name: str, token: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{token}".encode()).decode()


@pytest.mark.parametrize(
    "sent", ["Bearer ada-token", "bearer ada-token", _basic("ada", "ada-token")]
)
def test_a_known_token_acts_as_its_principal(client: TestClient, sent: str) -> None:
    answer = client.get("/subjects", headers={"Authorization": sent})
    assert answer.json() == {
        "who": {"name": "ada", "roles": ["engineer", "owner"], "local": False},
        "at": "/subjects",
    }
    assert acting() is None


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer ada",
        f"Bearer {digest_of('ada-token')}",
        "Digest ada-token",
        "ada-token",
        "Basic ada-token",
        "Basic \xff\xff",
        _basic("bo", "ada-token"),
        _basic("", "ada-token"),
        "Bearer " + "a" * 20_000,
    ],
)
def test_nobody_else_is_answered(client: TestClient, sent: str | None) -> None:
    headers: Any = {} if sent is None else {"Authorization": sent.encode("latin-1")}
    answer = client.get("/subjects", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="Data Spine", Basic realm="Data Spine"'
    )
    assert answer.json() == {
        "type": "urn:data-spine:error:access.unauthenticated",
        "title": "the service does not know who calls",
        "status": 401,
        "detail": "Authorization: the service does not know who calls",
        "exit_code": 2,
        "code": "access.unauthenticated",
        "problem": "the service does not know who calls",
        "where": "Authorization",
        "remedy": "Send a token of `spine access token` as a bearer token; commands take it from "
        "SPINE_TOKEN, or work with --local.",
        "retry": False,
        # What stock clients of the registry read.
        "error_code": 401,
        "message": "Authorization: the service does not know who calls",
    }


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/healthz", (200, 200)),
        ("/readyz", (200, 200)),
        # The fleet knows the tokens of sidecars; without one they are nobody either.
        ("/bundles/stable.tar.gz", (401, 200)),
        ("/discovery/bundle.tar.gz", (401, 200)),
        ("/logs", (401, 200)),
        ("/status", (401, 200)),
        ("/metrics", (401, 401)),
        ("/", (401, 401)),
    ],
)
def test_probes_are_open_and_sidecars_have_tokens_of_their_own(
    client: TestClient, path: str, status: tuple[int, int]
) -> None:
    sent = {"Authorization": "Bearer of-a-sidecar"}
    assert (client.get(path).status_code, client.get(path, headers=sent).status_code) == status


def test_a_token_is_long_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(100)}
    assert (len(tokens), {len(each) for each in tokens}) == (100, {43})


def test_who_acts_is_who_acted_before_once_a_block_ends() -> None:
    ada, bo = Principal("ada"), Principal("bo")
    with acting_as(ada):
        with acting_as(bo):
            assert acting() == bo
        assert acting() == ada
    assert acting() is None
