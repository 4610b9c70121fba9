"""The shipped workflow and hook, by running what they run in a scratch repository."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import missing

from dataspine.adapters.init import init
from dataspine.adapters.policy import content_of
from dataspine.bundles import SigningKey, generate_key, sign

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/data-spine-policy.yml").read_text())
STEPS: dict[str, str] = {
    step["name"]: step["run"] for step in WORKFLOW["jobs"]["judge"]["steps"] if "run" in step
}
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
CUSTOM = "policies/dataspine/custom/shop/odd/odd.rego"


@dataclass(frozen=True)
class Clone:
    """A fresh clone of a workspace, with `spine` on PATH and the variables of the workflow."""

    root: Path
    environment: dict[str, str]

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )


@pytest.fixture
def clone(tmp_path: Path, opa: Path) -> Clone:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "spine").write_text(f'#!/bin/sh\nexec {sys.executable} -m dataspine.cli "$@"\n')
    (bin_ / "spine").chmod(0o755)
    source = init(tmp_path / "source", name="shop", told=lambda _: None)
    generate_key(tmp_path / "key.pem")
    key = SigningKey.load(tmp_path / "key.pem", id="release")
    released = sign(content_of(source), key, sequence=1, channel="stable")
    (tmp_path / "bundle.tar.gz").write_bytes(released)
    environment = {
        "PATH": f"{bin_}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "CI": "true",
        "SPINE_OPA": os.fspath(opa),
        "SPINE_BUNDLE": os.fspath(tmp_path / "bundle.tar.gz"),
        "SPINE_TRUST": key.trusted(channels=("stable",)).pem,
    }
    made = Clone(source.root, environment)
    git = "git -c user.name=a -c user.email=a@example.org -c init.defaultBranch=main"
    setup = made.run(
        f"{git} init -q && {git} add -A && {git} commit -qm x && {git} clone -q . ../clone"
    )
    assert setup.returncode == 0, setup.stderr
    return Clone(tmp_path / "clone", environment)


def _rule(clone: Clone, text: str) -> None:
    path = clone.root / CUSTOM
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_steps_run_and_touch_no_token() -> None:
    assert list(STEPS) == ["Install", "Workspace", "Own rules", "Change of policy", "Schemas"]
    assert WORKFLOW["permissions"] == {"contents": "read"}
    # A value of the pull request in a script would be a script of the pull request.
    assert not [run for run in STEPS.values() if "${{" in run]


def _wheel(folder: Path) -> Path:
    """Write a distribution of this name whose command says that it ran."""
    wheel = folder / "data_spine-0.1.0-py3-none-any.whl"
    about = "data_spine-0.1.0.dist-info"
    files = {
        "spine_stand_in.py": "import sys\n\n\ndef main():\n    print('stand-in', *sys.argv[1:])\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: data-spine\nVersion: 0.1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "[console_scripts]\nspine = spine_stand_in:main\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(name, text)
    return wheel


def _locked(clone: Clone, folder: Path, *, digest: str | None = None) -> Clone:
    """Return the clone with the variables and files of an installation by a lock."""
    wheel = _wheel(folder)
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = folder / "lock.txt"
    lock.write_text(f"data-spine @ {wheel.as_uri()} --hash=sha256:{digest or found}\n")
    temporary = folder / "runner"
    temporary.mkdir()
    (folder / "python").symlink_to(sys.executable)
    environment = {
        **clone.environment,
        "PATH": f"{folder}:/usr/bin:/bin",
        "RUNNER_TEMP": str(temporary),
        "GITHUB_PATH": str(folder / "path"),
        "SPINE_LOCK": lock.as_uri(),
        "SPINE_LOCK_SHA256": hashlib.sha256(lock.read_bytes()).hexdigest(),
    }
    return Clone(clone.root, environment)


SPY = "import pathlib\n\npathlib.Path('ran-from-the-checkout').touch()\n"


def test_what_is_installed_is_what_the_lock_names(clone: Clone, tmp_path: Path) -> None:
    for name in ("pip.py", "venv.py", "ensurepip.py", "sitecustomize.py", "spine_stand_in.py"):
        (clone.root / name).write_text(SPY)
    locked = _locked(clone, tmp_path)

    installed = locked.run(STEPS["Install"])

    assert installed.returncode == 0, installed.stderr
    assert installed.stdout.splitlines()[-1] == "stand-in opa install"
    assert Path((tmp_path / "path").read_text().strip()) == tmp_path / "runner/spine/bin"
    assert not (clone.root / "ran-from-the-checkout").exists()


def test_another_lock_or_wheel_is_not_installed(clone: Clone, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    wheel = _locked(clone, tmp_path / "a", digest="0" * 64)
    lock = _locked(clone, tmp_path / "b")
    lock.environment["SPINE_LOCK_SHA256"] = "0" * 64
    unset = Clone(clone.root, {**lock.environment, "SPINE_LOCK_SHA256": "", "SPINE_LOCK": ""})

    outcomes = [each.run(STEPS["Install"]) for each in (wheel, lock, unset)]

    assert all(each.returncode != 0 for each in outcomes)
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in outcomes[0].stderr
    assert "did NOT match" in outcomes[1].stderr
    assert "stand-in" not in "".join(each.stdout for each in outcomes)


def test_nothing_is_installed_by_name_or_by_tag() -> None:
    job = WORKFLOW["jobs"]["judge"]
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    install = next(step for step in job["steps"] if step.get("name") == "Install")

    assert [each.partition("@")[0] for each in used] == ["actions/checkout", "actions/setup-python"]
    assert all(re.fullmatch(r"[0-9a-f]{40}", each.partition("@")[2]) for each in used)
    assert job["steps"][0]["with"] == {"persist-credentials": False}
    assert install["working-directory"] == "${{ runner.temp }}"
    assert "--require-hashes" in install["run"]
    # Nobody has registered the name: whoever does would run code wherever it is installed by name.
    texts = [ROOT / ".github/workflows/data-spine-policy.yml", *(ROOT / "docs").rglob("*.md")]
    named = re.compile(r"pip install[^\n]*[ \"'=-]data-spine\b(?! @)")
    assert [path for path in texts if named.search(path.read_text())] == []


def test_own_rules_are_checked_at_their_line(clone: Clone) -> None:
    opened = clone.run(STEPS["Workspace"])
    none = clone.run(STEPS["Own rules"])
    _rule(clone, "package dataspine.custom.shop.odd\n\ndeny contains nobody\n")
    broken = clone.run(STEPS["Own rules"])

    assert (opened.returncode, none.returncode, none.stdout) == (0, 0, "")
    assert broken.returncode == 1, broken.stderr
    assert f"::error file={CUSTOM},line=3,title=policy.compile::var nobody is unsafe" in (
        broken.stdout
    )


def test_a_change_of_policy_is_shown(clone: Clone) -> None:
    assert clone.run(STEPS["Workspace"]).returncode == 0
    path = clone.root / "spine.yaml"
    weak = {**yaml.safe_load(path.read_text()), "rules": {"pii": "ignore"}}
    path.write_text(yaml.safe_dump(weak))

    shown = clone.run(STEPS["Change of policy"])

    assert shown.returncode == 0, shown.stderr
    assert '~ config /rules/pii added: "ignore"' in shown.stdout


def test_schemas_are_judged_by_the_bundle_from_outside(clone: Clone) -> None:
    if "--bundle" not in clone.run("COLUMNS=200 spine schema validate --help").stdout:
        missing("`spine schema validate --bundle`")
    assert clone.run(STEPS["Workspace"]).returncode == 0
    # The change would let everything pass; the released rules judge it all the same.
    settings = yaml.safe_load((clone.root / "spine.yaml").read_text())
    weak = {**settings, "rules": {"pii": "ignore"}}
    (clone.root / "spine.yaml").write_text(yaml.safe_dump(weak))

    judged = clone.run(STEPS["Schemas"])

    assert judged.returncode == 1, judged.stdout + judged.stderr
    assert "::error file=schema/customers.avsc,line=11,title=pii.untagged_field::" in judged.stdout
    assert "file=schema/orders.proto,title=engine" not in judged.stdout


def test_the_hook_runs_what_it_says(clone: Clone) -> None:
    (hook,) = HOOKS
    entry = shlex.join(shlex.split(hook["entry"]))
    assert clone.run(STEPS["Workspace"]).returncode == 0
    clean = clone.run(entry)
    _rule(clone, "package dataspine.custom.shop.odd\n\ndeny contains nobody\n")
    broken = clone.run(entry)

    assert (clean.returncode, broken.returncode) == (0, 1), clean.stdout + clean.stderr
    assert f"{CUSTOM}:3" in broken.stdout
    assert re.search(hook["files"], CUSTOM)
    assert not re.search(hook["files"], "README.md")


def test_the_documented_hook_is_the_shipped_one() -> None:
    page = (ROOT / "docs/how-to/check-in-ci.md").read_text()
    found = re.search(r"```yaml\n(repos:.*?)```", page, re.DOTALL)
    assert found is not None
    (documented,) = yaml.safe_load(found[1])["repos"][0]["hooks"]
    (hook,) = HOOKS

    assert documented == {key: hook[key] for key in documented}
