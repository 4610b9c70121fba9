"""`spine access`: make a token, ask who may do what; and what commands may do without a service."""

from pathlib import Path

import pytest
import yaml
from tests.command import Run, run
from tests.logged_in import logged_in

from dataspine.web.authentication import digest_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return logged_in(tmp_path_factory.mktemp("access") / "shop").root


def _spine(folder: Path, opa: Path, *arguments: str, actor: str = "eve") -> Run:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "SPINE_OPA": str(opa),
        "SPINE_ACTOR": actor,
    }
    return run(*arguments, folder=folder, environment=environment)


def test_a_token_is_shown_once_with_its_entry_for_the_settings(tmp_path: Path) -> None:
    whole = run("access", "token", "ada", "--role", "engineer", "--json", folder=tmp_path)
    told = whole.document
    assert told == {
        "token": told["token"],
        "entry": {"name": "ada", "roles": ["engineer"], "digest": digest_of(told["token"])},
    }
    shown = run("access", "token", "bo: [x], y", folder=tmp_path)
    remark, _, entry = shown.stderr.partition("\n")
    assert remark == "Keep it: nobody can show it again. Put its entry into spine.yaml:"
    assert yaml.safe_load(entry) == {
        "auth": {
            "tokens": [
                {"name": "bo: [x], y", "roles": [], "digest": digest_of(shown.stdout.strip())}
            ]
        }
    }


@pytest.mark.integration
def test_a_question_says_who_may_what(folder: Path, opa: Path) -> None:
    engineer = ("--as", "ada", "--role", "engineer")
    answers = [
        _spine(folder, opa, "access", "check", "publish", "shop.customers"),
        _spine(folder, opa, "access", "check", "publish", "shop.customers", *engineer),
        _spine(folder, opa, "access", "check", "erase", "shop.customers", *engineer),
        _spine(folder, opa, "access", "check", "promote", "channel:stable", "--as", "bo"),
    ]
    assert [each.status for each in answers] == [1, 0, 1, 0], answers
    assert "eve may not publish shop.customers" in answers[0].stdout


@pytest.mark.integration
@pytest.mark.parametrize(
    ("arguments", "permission"),
    [
        (["schema", "publish", "shop.x", "schema/customers.avsc"], "publish shop.x"),
        (["cdc", "apply"], "deploy shop-to-us"),
        (["cdc", "destroy"], "deploy shop-to-us"),
        (["cdc", "dlq", "discard", "1"], "erase shop-to-us"),
        (["opa", "release", "stable", "1", "--reason", "r"], "configure channel:stable"),
    ],
)
def test_a_command_that_is_not_permitted_ends_with_1(
    folder: Path, opa: Path, arguments: list[str], permission: str
) -> None:
    ended = _spine(folder, opa, *arguments, "--json")
    (violation,) = ended.document["violations"]
    assert (ended.status, violation["code"], violation["message"]) == (
        1,
        "access.not_permitted",
        f"eve may not {permission}",
    )


@pytest.mark.integration
def test_an_import_needs_a_permission_of_its_own(folder: Path, opa: Path) -> None:
    (folder / "registry.jsonl").write_text("")
    ended = _spine(folder, opa, "schema", "import", "registry.jsonl", "--json")
    (violation,) = ended.document["violations"]
    assert (ended.status, violation["message"]) == (1, "eve may not import *")
