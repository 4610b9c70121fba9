"""Who a process acts for: a token proves it, the system only says it."""

import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from dataspine.core.errors import InputError
from dataspine.core.identity import (
    Principal,
    local_name,
    machine,
    process_principal,
)
from dataspine.core.token import digest_of
from dataspine.core.workspace import TokenEntry

TOKENS = [TokenEntry("ada", digest_of("ada-token"), ("engineer",))]


def test_a_token_verifies_whom_the_workspace_knows_by_it() -> None:
    ada = Principal("ada", ("engineer",), local=False, verified=True)
    assert process_principal(TOKENS, {"SPINE_TOKEN": " ada-token\n"}) == ada


@pytest.mark.parametrize("token", [None, "", " "], ids=["unset", "empty", "blank"])
def test_without_a_token_the_system_says_who_acts(token: str | None) -> None:
    environment = {"USER": "ada", "LOGNAME": "ada", "HOME": "/home/ada"}
    if token is not None:
        environment["SPINE_TOKEN"] = token
    assert process_principal(TOKENS, environment) == Principal(local_name(), local=False)


def test_where_no_token_is_known_everybody_is_the_local_user() -> None:
    assert process_principal([], {"SPINE_TOKEN": "ada-token"}) == Principal(
        local_name(), local=True, verified=False
    )


@pytest.mark.parametrize("token", ["bo-token", "ada", digest_of("ada-token")])
def test_an_unknown_token_is_refused(token: str) -> None:
    with pytest.raises(InputError) as caught:
        process_principal(TOKENS, {"SPINE_TOKEN": token})
    assert caught.value.code == "access.unauthenticated"
    assert token not in str(caught.value.document())


def test_a_name_in_the_environment_is_refused_though_a_token_is_good() -> None:
    with pytest.raises(InputError) as caught:
        process_principal(TOKENS, {"SPINE_TOKEN": "ada-token", "SPINE_ACTOR": "grace"})
    assert (caught.value.code, caught.value.where) == ("access.actor_variable", "SPINE_ACTOR")
    assert process_principal(TOKENS, {"SPINE_ACTOR": " "}).name == local_name()


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("ada", "ada"),
        ("CORP\\ada@x", "CORP%5Cada%40x"),
        ("*", "%2A"),
        ("ä", "%C3%A4"),
        ("a" * 101, "uid-4000000001"),
        ("", "uid-4000000001"),
        (None, "uid-4000000001"),
    ],
    ids=["plain", "domain", "glob", "letter", "long", "empty", "none"],
)
def test_a_user_is_as_the_system_calls_its_number(
    monkeypatch: pytest.MonkeyPatch, user: str | None, shown: str
) -> None:
    def entry(uid: int) -> SimpleNamespace:
        assert uid == 4_000_000_001
        if user is None:
            raise KeyError(uid)
        return SimpleNamespace(pw_name=user)

    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
    monkeypatch.setattr(pwd, "getpwuid", entry)
    monkeypatch.setenv("USER", "root")
    assert local_name.__wrapped__().partition("@")[0] == f"local:{shown}"


@pytest.mark.parametrize(
    ("identifier", "digits"),
    [
        ("0123456789abcdef0123456789abcdef\n", "621eb219caba"),
        ("", "unknown"),
        ("\n", "unknown"),
        ("uninitialized\n", "unknown"),
        ("é", "unknown"),
        ("0123456789abcdef0123456789abcde\n", "unknown"),
        (None, "unknown"),
    ],
    ids=["whole", "empty", "blank", "not made yet", "not ASCII", "short", "missing"],
)
def test_a_machine_is_a_digest_of_its_id(
    tmp_path: Path, identifier: str | None, digits: str
) -> None:
    path = tmp_path / "machine-id"
    if identifier is not None:
        path.write_text(identifier)
    assert machine(path) == digits
