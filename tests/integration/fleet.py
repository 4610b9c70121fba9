"""A workspace with a release key, its channels, its running service, and sidecars on it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.facts import schema_facts
from tests.sidecar import Sidecar, running

from dataspine.adapters.init import init
from dataspine.adapters.policy import content_of, trust_of
from dataspine.adapters.session import Session
from dataspine.adapters.sidecar import plan, write_files
from dataspine.bundles import Content, SigningKey, content_digest, generate_key, sign
from dataspine.core.process import spawn, stop
from dataspine.core.workspace import Workspace

CHANNELS = ("candidate", "canary", "stable")
QUESTION: dict[str, Any] = {
    "point": "schema.publish",
    "at": "2026-11-24T09:00:00Z",
    "facts": schema_facts("shop.a", owner="a"),
}


class Control:
    """The side of the control plane: publishes bundles and looks at its fleet."""

    def __init__(self, folder: Path, opa: Path, fleet: str = "") -> None:
        self.opa = opa
        self.root = folder / "shop"
        init(self.root, name="shop", told=lambda _: None)
        generate_key(folder / "release.pem")
        self.key = SigningKey.load(folder / "release.pem", id="release-1")
        self.trust(self.key)
        with (self.root / "spine.yaml").open("a") as file:
            file.write(fleet)
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def trust(self, *keys: SigningKey) -> None:
        """Name whose signatures count, in spine.yaml."""
        path = self.root / "spine.yaml"
        text = path.read_text().partition("\ntrust:")[0] + "\ntrust:\n"
        for key in keys:
            pem = json.dumps(key.trusted(channels=()).pem)
            text += f"  - {{id: {key.id}, algorithm: ES256, key: {pem}, channels: "
            text += f"[{', '.join(CHANNELS)}]}}\n"
        path.write_text(text)

    def session(self) -> Session:
        return Session(Workspace.open(self.root), opa=self.opa, actor="ada")

    def publish(self, channel: str, extra: str = "", key: SigningKey | None = None) -> str:
        """Publish the workspace's content, with a rule of ours beside it, and return its ETag."""
        with self.session() as session:
            content = content_of(session.workspace)
            if extra:
                files = {**content.files, "dataspine/custom/a/b/b.rego": extra.encode()}
                whole = content_digest(files)
                content = Content(files, whole, f"1.0.0+{whole.replace(':', '.')}")
            sequence = session.bundles.reserve(channel, content.digest)
            data = sign(content, key or self.key, sequence=sequence, channel=channel)
            session.bundles.publish(data, trust_of(session.workspace), channel=channel, actor="ada")
            current = session.bundles.current(channel)
            assert current is not None
            return current[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def served(self) -> Iterator[None]:
        """Run `spine serve`; a second time at the port that it had."""
        argv = [sys.executable, "-m", "dataspine.cli", "serve", "--json", "--port", str(self.port)]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.root), "SPINE_OPA": str(self.opa)}
        process = spawn(argv, cwd=self.root, env=environment, stdout=subprocess.PIPE)
        self.process = process
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the service did not start"
            self.port = int(json.loads(line)["url"].rpartition(":")[2])
            yield
        finally:
            stop(process, 10)
            if process.stdout is not None:
                process.stdout.close()

    def files(self, folder: Path, instance: str, **chosen: Any) -> list[str]:
        """Write a sidecar's files and return the command line of `spine opa config`."""
        with self.session() as session:
            told = {"labels": {"app": instance}, **chosen}
            sidecar = plan(session, url=self.url, instance=instance, folder=folder, **told)
            write_files(session, sidecar, folder)
        return sidecar.command(str(self.opa))

    @contextmanager
    def sidecar(
        self, folder: Path, instance: str, *, active: bool = True, **chosen: Any
    ) -> Iterator[Sidecar]:
        command = self.files(folder / instance, instance, **chosen)
        with started(command, folder / instance, active=active) as sidecar:
            yield sidecar

    def instance(self, name: str) -> dict[str, Any]:
        """Return what the fleet knows of an instance, {} before it knows it."""
        with self.session() as session:
            return next((e for e in session.fleet.instances() if e["name"] == name), {})

    def holds(self) -> list[dict[str, Any]]:
        with self.session() as session:
            return session.fleet.holds.every()


@contextmanager
def started(command: list[str], folder: Path, *, active: bool = True) -> Iterator[Sidecar]:
    """Start an OPA with a command line as it was printed, but for the diagnostic port."""
    address = command[command.index("--addr") + 1]
    argv = ["127.0.0.1:0" if part == "127.0.0.1:8282" else part for part in command]
    with running(argv, folder, address, active=active) as sidecar:
        yield sidecar


def broken(control: Control, channel: str) -> str:
    """Publish what our own checks would refuse and OPA cannot compile."""
    rule = "package dataspine.custom.a.b\n\ndeny contains no_such_function(1)\n"
    return control.publish(channel, rule)


def token(folder: Path) -> str:
    return (folder / "application-token").read_text()
