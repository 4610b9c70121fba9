"""A workspace in mode ``released``, its keys, and the ``spine`` command on it."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests import store
from tests.command import run

from dataspine.bundles import SigningKey, generate_key
from dataspine.core.token import digest_of
from dataspine.core.workspace import Workspace

CHANNELS = ("candidate", "canary", "stable")
NEVER = """# METADATA
# title: Nothing is allowed
# custom:
#   message: nothing is allowed
#   severity: error
#   remediation: Roll back.
package dataspine.custom.shop.never

import data.dataspine.lib.result

deny contains violation if {
	violation := result.violation(rego.metadata.chain(), {"path": "/facts"})
}
"""


@dataclass(frozen=True)
class Released:
    """The workspace, its key by reference, and its OPA.

    Commands have a token of ada's, which counts once ``log_in`` knows it.
    """

    workspace: Workspace
    key: str
    opa: Path

    @property
    def root(self) -> Path:
        return self.workspace.root

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.root.parent),
            "SPINE_OPA": str(self.opa),
            "SPINE_TOKEN": "ada-token",
            "SPINE_KEY": self.key,
            **more,
        }

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "dataspine.cli", *arguments],
            cwd=self.root,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def spine(self, *arguments: str, **more: str) -> tuple[int, str, str]:
        """Return exit code, output and complaints of a command."""
        done = run(*arguments, folder=self.root, environment=self.environment(**more))
        assert "Traceback" not in done.stderr
        return done.status, done.stdout, done.stderr

    def document(self, *arguments: str, **more: str) -> Any:
        """Return the JSON document of a command that succeeds."""
        code, out, err = self.spine(*arguments, "--json", **more)
        assert (code, err) == (0, "")
        return json.loads(out)

    def fault(self, *arguments: str, **more: str) -> tuple[int, str]:
        """Return the exit code and the error code of a command that fails."""
        code, out, _ = self.spine(*arguments, "--json", **more)
        return code, json.loads(out)["error"]["code"]

    def rules(self, **severities: str) -> None:
        """Set the severities of domains in spine.yaml."""
        path = self.root / "spine.yaml"
        settings = yaml.safe_load(path.read_text())
        path.write_text(json.dumps({**settings, "rules": severities}))

    def log_in(self, *names: str) -> None:
        """Let each of them do everything, by a token of their name."""
        path = self.root / "spine.yaml"
        settings = yaml.safe_load(path.read_text())
        tokens = [{"name": each, "digest": digest_of(f"{each}-token")} for each in names]
        grants = [{"principal": each, "permissions": ["*"]} for each in names]
        made = {**settings, "auth": {"tokens": tokens}, "access": {"grants": grants}}
        path.write_text(json.dumps(made))

    def deny_everything(self) -> Path:
        """Add a custom rule that denies everything, and return its file."""
        path = self.root / "policies/dataspine/custom/shop/never/never.rego"
        path.parent.mkdir(parents=True)
        path.write_text(NEVER)
        return path


def make_released(folder: Path, opa: Path) -> Released:
    """Scaffold a released workspace in ``folder`` that trusts one new key, ``release-1``."""
    store.scaffold(folder / "shop")
    generate_key(folder / "release.pem")
    trusted = SigningKey.load(folder / "release.pem", id="release-1").trusted(channels=CHANNELS)
    path = folder / "shop" / "spine.yaml"
    settings = yaml.safe_load(path.read_text())
    entry = {
        "id": trusted.id,
        "algorithm": trusted.algorithm,
        "key": trusted.pem,
        "channels": list(CHANNELS),
    }
    path.write_text(json.dumps({**settings, "mode": "released", "trust": [entry]}))
    (folder / "public.pem").write_text(trusted.pem)
    return Released(Workspace.open(folder / "shop"), f"file:{folder / 'release.pem'}", opa)
