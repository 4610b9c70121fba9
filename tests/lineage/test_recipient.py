"""Who gets events and secrets: what a workspace says, as far as its user lets it."""

from pathlib import Path

import pytest

from dataspine.core.configuration import AllowedReceiver, Configuration
from dataspine.core.errors import InputError
from dataspine.core.workspace import Receiver
from dataspine.lineage.recipient import Recipient

URL = "https://lineage.example"
MINE = [AllowedReceiver(f"{URL}/", ("env:LINEAGE_TOKEN", "file:/run/secrets/token"))]


@pytest.mark.parametrize(
    ("url", "token"),
    [
        (URL, None),
        ("https://elsewhere.example/path?query", None),
        ("http://localhost:5000", None),
        ("http://[::1]:5000", None),
        ("http://plain.example:5000/api/v1/lineage", None),
        (f"{URL}:443/api/v1/lineage", "env:LINEAGE_TOKEN"),
        (URL.upper(), "file:/run/secrets/token"),
        (URL, "file:/run/./secrets/../secrets/token"),
    ],
)
def test_what_the_configuration_does_not_forbid_is_sent(
    tmp_path: Path, url: str, token: str | None
) -> None:
    allowed = [*MINE, AllowedReceiver("http://plain.example:5000")]
    Recipient(Receiver("r", url, token), allowed, root=tmp_path)


@pytest.mark.parametrize(
    ("url", "token", "code"),
    [
        ("https://elsewhere.example", "env:LINEAGE_TOKEN", "lineage.receiver_not_allowed"),
        (f"{URL}:8443", "env:LINEAGE_TOKEN", "lineage.receiver_not_allowed"),
        (f"{URL}.evil.example", "env:LINEAGE_TOKEN", "lineage.receiver_not_allowed"),
        (URL, "env:AWS_SECRET_ACCESS_KEY", "lineage.receiver_not_allowed"),
        (URL, "env:SPINE_KEY", "lineage.receiver_not_allowed"),
        (URL, "file:/run/secrets/other", "lineage.receiver_not_allowed"),
        (URL, "file:../outside", "lineage.receiver_not_allowed"),
        (URL, "file:inside", "lineage.receiver_not_allowed"),
        ("http://127.0.0.1:5000", "env:LINEAGE_TOKEN", "lineage.receiver_not_allowed"),
        ("http://lineage.example", "env:LINEAGE_TOKEN", "lineage.receiver_plain"),
        ("http://lineage.example", None, "lineage.receiver_plain"),
        ("http://127.0.0.1.evil.example", None, "lineage.receiver_plain"),
        ("https://h:0", None, "lineage.receiver_url"),
        ("https://h:99999", None, "lineage.receiver_url"),
        ("https://[x", None, "lineage.receiver_url"),
    ],
)
def test_a_workspace_alone_chooses_neither_a_secret_nor_who_gets_it(
    tmp_path: Path, url: str, token: str | None, code: str
) -> None:
    with pytest.raises(InputError) as caught:
        Recipient(Receiver("far", url, token), MINE, root=tmp_path)
    assert (caught.value.code, caught.value.where) == (code, "far")


def test_plain_addresses_that_are_allowed_get_no_token(tmp_path: Path) -> None:
    url, token = "http://plain.example", "env:LINEAGE_TOKEN"
    with pytest.raises(InputError) as caught:
        Recipient(Receiver("r", url, token), [AllowedReceiver(url, (token,))], root=tmp_path)
    assert caught.value.code == "lineage.receiver_plain"


def test_the_error_says_what_to_write_and_that_is_enough(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    receiver = Receiver("far", f"{URL}/api", "file:token")
    with pytest.raises(InputError) as caught:
        Recipient(receiver, [], root=tmp_path)
    entry = caught.value.remedy.partition("config.yaml: ")[2].rstrip(".")
    assert entry == f'{{url: "{URL}:443", tokens: ["file:{tmp_path}/token"]}}'
    home = tmp_path / "home"
    file = home / "data-spine" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(f"receivers:\n  - {entry}\n")
    allowed = Configuration.load({"XDG_CONFIG_HOME": str(home)}).receivers
    assert Recipient(receiver, allowed, root=tmp_path).token() == "s3cret"


@pytest.mark.parametrize(
    "entry", ["{url: 'ftp://h'}", "{url: 'https://u:p@h'}", "{url: 'https://h', tokens: [secret]}"]
)
def test_a_faulty_configuration_is_refused(tmp_path: Path, entry: str) -> None:
    file = tmp_path / "data-spine" / "config.yaml"
    file.parent.mkdir()
    file.write_text(f"receivers:\n  - {entry}\n")
    with pytest.raises(InputError):
        Configuration.load({"XDG_CONFIG_HOME": str(tmp_path)})
