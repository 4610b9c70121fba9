"""Stock OPAs, started exactly as `spine opa config` says, on a real `spine serve`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.fleet import QUESTION, Control, broken, started, token
from tests.sidecar import short_folder, until

from dataspine.core.errors import NotFoundError

pytestmark = pytest.mark.integration


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as found:
        yield found


@pytest.fixture
def control(tmp_path: Path, opa: Path) -> Control:
    return Control(tmp_path, opa, "\nfleet: {hold-after: 2}\n")


def test_a_printed_sidecar_decides_logs_and_reports(control: Control, folder: Path) -> None:
    etag = control.publish("stable")
    with control.served():
        argv = [sys.executable, "-m", "dataspine.cli", "opa", "config", "--json"]
        argv += ["--label", "app=shop", "--channel", "stable", "--url", control.url]
        argv += ["--instance", "shop-1", "-o", str(folder / "a")]
        run = subprocess.run(
            argv, cwd=control.root, capture_output=True, text=True, check=True, timeout=60
        )
        told = json.loads(run.stdout)
        written = json.loads((folder / "a/opa.json").read_text())
        command = [str(control.opa), *told["command"][1:]]
        with started(command, folder / "a") as sidecar:
            answer = sidecar.decide(QUESTION, token(folder / "a"))
            with control.session() as session:

                def logged() -> bool:
                    try:
                        event = session.decision_log.get(answer["decision_id"])
                    except NotFoundError:
                        return False
                    return bool(event["input"] == QUESTION)

                until(logged, sidecar.log.read_text)
                (found,) = session.decision_log.search()
            until(lambda: control.instance("shop-1").get("sequence") == 1)
            row = control.instance("shop-1")
    assert written == told["file"]
    assert answer["result"]["allow"] is True
    assert (found.instance, found.revision, found.allow, found.name) == (
        "shop-1",
        answer["result"]["policy"]["revision"],
        True,
        "shop.a",
    )
    assert (row["authenticated"], row["channel"], row["served_etag"], row["labels"]) == (
        True,
        "stable",
        etag,
        {"app": "shop"},
    )
    assert (row["stale"], row["alarm"], row["failed_etag"]) == (False, None, None)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder / "a").glob("*token")}
    assert modes == {"application-token": 0o600, "instance-token": 0o600}


def test_labels_choose_the_channel(control: Control, folder: Path) -> None:
    control.publish("stable")
    control.publish(
        "canary", 'package dataspine.custom.a.b\n\ndeny contains 1 if input.at == "x"\n'
    )
    with (
        control.served(),
        control.sidecar(folder, "one", ring="canary") as one,
        control.sidecar(folder, "two", ring="stable") as two,
        control.sidecar(folder, "three", ring="stable"),
    ):
        revisions = [
            sidecar.decide(QUESTION, token(folder / name))["result"]["policy"]["revision"]
            for name, sidecar in (("one", one), ("two", two))
        ]
        names = ("one", "two", "three")
        until(lambda: all(control.instance(name).get("revision") for name in names))
        rows = {name: control.instance(name) for name in names}
    assert [rows[name]["channel"] for name in names] == ["canary", "stable", "stable"]
    assert [rows["one"]["revision"], rows["two"]["revision"]] == revisions
    assert len(set(revisions)) == 2
    assert rows["one"]["labels"]["ring"] == "canary"


def test_a_refused_bundle_is_held_back_and_can_be_released(control: Control, folder: Path) -> None:
    good = control.publish("stable")
    with (
        control.served(),
        control.sidecar(folder, "one", channel="stable") as one,
        control.sidecar(folder, "two", channel="stable") as two,
        control.sidecar(folder, "claim", channel="stable", authenticated=False) as claim,
    ):
        bad = broken(control, "stable")
        for name in ("one", "two", "claim"):
            until(lambda name=name: control.instance(name).get("failed_etag") == bad)  # type: ignore[misc] # no type of a default
            # It keeps what it had, and is not asked to take the other again.
            until(lambda name=name: control.instance(name)["active_etag"] == good)  # type: ignore[misc] # no type of a default
        for name, sidecar in (("one", one), ("two", two), ("claim", claim)):
            answer = sidecar.decide(QUESTION, token(folder / name))
            assert answer["result"]["policy"]["sequence"] == 1
        until(control.holds)
        (hold,) = control.holds()
        with control.sidecar(folder, "late", channel="stable") as late:
            answer = late.decide(QUESTION, token(folder / "late"))
            assert answer["result"]["policy"]["sequence"] == 1
        with control.session() as session:
            session.fleet.holds.release("stable", 2, actor="ada", reason="try again")
        until(lambda: len(control.holds()) == 2)  # it is as bad as before
        repaired = control.publish("stable")
        # What it asks with and what it reports arrive one after the other.
        followed = {"active_etag": repaired, "sequence": 3, "failed_etag": None, "error": None}
        until(lambda: followed.items() <= control.instance("one").items())
    assert (hold["channel"], hold["etag"], hold["sequence"]) == ("stable", bad, 2)
    assert [each["instance"] for each in hold["failures"]] == ["one", "two"]
    assert "no_such_function" in hold["failures"][0]["error"]


def test_a_claim_holds_nothing_back_from_others(control: Control, folder: Path) -> None:
    control.publish("stable")
    with control.served():
        import http.client

        def call(method: str, path: str, body: Any = None, **headers: str) -> int:
            connection = http.client.HTTPConnection(control.url.removeprefix("http://"))
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, json.dumps(body), sent)
            status = connection.getresponse().status
            connection.close()
            return status

        for number in range(5):
            name = {"X_Spine_Instance": f"forged-{number}"}
            assert call("GET", "/bundles/stable.tar.gz", **name) == 200
            report = {"bundles": {"main": {"code": "bundle_error", "message": "no"}}}
            assert call("POST", "/status", report, **name) == 204
            assert call("GET", "/bundles/stable.tar.gz", **name) == 404
        assert control.holds() == []
        assert call("GET", "/bundles/stable.tar.gz", X_Spine_Instance="other") == 200
        wrong = {"Authorization": "Bearer x"}
        for method, path in (
            ("GET", "/bundles/stable.tar.gz"),
            ("GET", "/discovery/bundle.tar.gz"),
            ("POST", "/logs"),
            ("POST", "/status"),
        ):
            assert call(method, path, [], **wrong) == 401
