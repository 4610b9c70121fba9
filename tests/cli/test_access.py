"""`spine access`: make a token, ask who may do what; and what commands may do without a service."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.command import Run, run
from tests.logged_in import TOKENS, logged_in
from typer.core import TyperGroup

from dataspine.cli.main import command
from dataspine.core.identity import local_name
from dataspine.core.token import digest_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return logged_in(tmp_path_factory.mktemp("access") / "shop").root


def _spine(folder: Path, opa: Path, *arguments: str, **more: str) -> Run:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "SPINE_OPA": str(opa),
        "SPINE_TOKEN": TOKENS["eve"],
        **more,
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
    asked = _spine(folder, opa, "audit", "decisions", "--limit", "4", "--json").document
    # Whoever asks about ada is not ada.
    assert {(each["actor"], each["verified"], each["acted"]) for each in asked} == {
        ("eve", True, False)
    }


ASKED = {
    "schema publish shop.x schema/customers.avsc": "publish shop.x",
    "schema import registry.jsonl": "import *",
    "cdc apply": "deploy shop-to-us",
    "cdc destroy": "deploy shop-to-us",
    "cdc run": "deploy shop-to-us",
    "cdc dlq replay": "deploy shop-to-us",
    "cdc dlq discard 1": "erase shop-to-us",
    "cdc dlq purge --older-than 1d": "erase shop-to-us",
    "cdc dlq show 1 --payload": "read shop-to-us",
    "bundle approve {revision} --to stable": "approve channel:stable",
    "opa release stable 1 --reason r": "configure channel:stable",
    "opa token pod-1": "configure *",
    "opa token pod-1 --revoke": "configure *",
    "opa config --url http://127.0.0.1:1 --instance pod-1 -o sidecar": "configure *",
    "lineage dlq replay": "lineage *",
}
# What changes something and asks nobody, with what permits it.
PERMITTED = {
    "bundle promote": "its own point asks, once the channel serves something; else a signature",
    "bundle publish": "a trusted key's signature",
    "bundle rollback": "a trusted key's signature, so that a bundle that denies can be left",
    "opa discovery": "a trusted key's signature",
    "upgrade": "whoever runs the program of this version on this database",
    "init": "whoever has the folder",
}
# What only reads, asks, or writes files that its caller names.
READING = """
access check, access token, audit decisions, audit show, bundle build, bundle diff, bundle keys
list, bundle keys new, bundle sign, bundle status, bundle unpack, bundle verify, cdc dlq list, cdc
dlq show, cdc plan, cdc status, decide, demo, doctor, evidence build, evidence verify, explain,
input, lineage dlq list, lineage graph, lineage impact, lineage status, opa install, opa status,
policy check, policy docs, policy impact, policy lint, policy test, schema diff, schema export,
schema impact, schema latest, schema subjects, schema validate, schema versions, serve
"""


def _commands(group: TyperGroup, *path: str) -> Iterator[str]:
    for name, each in group.commands.items():
        if isinstance(each, TyperGroup):
            yield from _commands(each, *path, name)
        else:
            yield " ".join((*path, name))


def test_every_command_that_changes_something_asks_or_says_why_not() -> None:
    reading = {" ".join(each.split()) for each in READING.split(",")}
    rest = set(_commands(command())) - reading - set(PERMITTED)
    assert {each for each in rest if not any(asked.startswith(each) for asked in ASKED)} == set()


@pytest.mark.integration
@pytest.mark.parametrize("words", ASKED)
def test_a_command_that_is_not_permitted_ends_with_1(folder: Path, opa: Path, words: str) -> None:
    (folder / "registry.jsonl").write_text("")
    _spine(folder, opa, "access", "check", "publish", "shop.x")  # builds the first bundle
    channels = _spine(folder, opa, "bundle", "status", "--json").document
    revision = next(each["active"]["revision"] for each in channels if each["active"])
    ended = _spine(folder, opa, *words.format(revision=revision).split(), "--json")
    (violation,) = ended.document["violations"]
    assert (ended.status, violation["code"], violation["message"]) == (
        1,
        "access.not_permitted",
        f"eve may not {ASKED[words]}",
    )


@pytest.mark.integration
def test_without_a_token_a_command_is_never_somebody_who_has_one(folder: Path, opa: Path) -> None:
    for variables in ({"USER": "ada"}, {"LOGNAME": "bo", "USERNAME": "bo"}, {"SUDO_USER": "bo"}):
        check = ("access", "check", "publish", "shop.customers", "--json")
        ended = _spine(folder, opa, *check, SPINE_TOKEN="", **variables)
        (violation,) = ended.document["violations"]
        assert (ended.status, violation["message"]) == (
            1,
            f"{local_name()} may not publish shop.customers",
        )


@pytest.mark.integration
def test_a_token_proves_who_acts_without_a_service(folder: Path, opa: Path) -> None:
    check = ("access", "check", "publish", "shop.customers")
    by_name = _spine(folder, opa, *check, SPINE_TOKEN=TOKENS["ada"])
    assert (by_name.status, "allowed ada: publish shop.customers" in by_name.stdout) == (0, True)
    (newest,) = _spine(folder, opa, "audit", "decisions", "--limit", "1", "--json").document
    assert (newest["actor"], newest["verified"]) == ("ada", True)
    unknown = _spine(folder, opa, *check, "--json", SPINE_TOKEN="no-such-token")
    assert (unknown.status, unknown.document["error"]) == (
        2,
        {
            "code": "access.unauthenticated",
            "problem": "auth.tokens has no entry for this token",
            "where": "SPINE_TOKEN",
            "remedy": "Set the token whose entry `spine access token NAME` printed, or unset it to "
            "act as the system's user.",
            "retry": False,
        },
    )


@pytest.mark.integration
def test_the_users_of_a_machine_may_be_granted_something(tmp_path: Path, opa: Path) -> None:
    root = logged_in(tmp_path / "shop").root
    file = root / "spine.yaml"
    machine = local_name().partition("@")[2]
    grant = f'    - {{principal: "local:*@{machine}", permissions: [deploy]}}\n'
    file.write_text(file.read_text() + grant)
    check = ("access", "check", "deploy", "shop-to-us")
    assert _spine(root, opa, *check, SPINE_TOKEN="").status == 0
    assert _spine(root, opa, *check).status == 1


def test_a_name_in_an_environment_variable_is_refused(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SPINE_ACTOR": "ada"}
    for argv in (("schema", "subjects"), ("schema", "subjects", "--server", "http://127.0.0.1:1")):
        ended = run(*argv, "--json", folder=tmp_path, environment=environment)
        assert (ended.status, ended.document["error"]) == (
            2,
            {
                "code": "access.actor_variable",
                "problem": "an environment variable does not prove who acts",
                "where": "SPINE_ACTOR",
                "remedy": "Unset it. To act under a name, set SPINE_TOKEN to a token of "
                "`spine access token NAME`, with its entry under `auth.tokens` in spine.yaml.",
                "retry": False,
            },
        )


def test_no_token_is_for_a_name_of_the_system(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "spine.yaml"
    file.write_text((folder / "spine.yaml").read_text().replace("name: eve", 'name: "local:eve@m"'))
    ended = run("schema", "subjects", "--json", folder=tmp_path, environment={"HOME": "/"})
    assert (ended.status, ended.document["error"]["code"]) == (2, "input.invalid")
