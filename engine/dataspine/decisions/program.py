"""Find OPA, install it, and notice when the installed program changed.

Never a program that a workspace names: a cloned repository must not choose what runs.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Literal

from dataspine.core.canonical import parse_json
from dataspine.core.configuration import Configuration, user_folder
from dataspine.core.download import fetch
from dataspine.core.errors import DataSpineError, InputError, IntegrityError, UnavailableError
from dataspine.core.files import replacing
from dataspine.core.process import run, spawn

__all__ = ["VERSION", "OpaProgram", "cached_opa", "find_opa", "install_opa"]

VERSION = "1.22.2"
_OLDEST = (1, 22)
_ASK_SECONDS = 20.0
_INSTALL_SECONDS = 1_200.0
_MAX_PROGRAM = 512 * 1_048_576
_MAX_CHECKSUM = 4_096
_BLOCK = 1_048_576
_DOWNLOADS = "https://openpolicyagent.org/downloads"
_MODULE = "github.com/open-policy-agent/opa"
# Flags can replace sources, and empty ones would leave those of `go env -w` in force.
_FLAGS = "-buildvcs=false"
# What Go must say that it built version VERSION from: its source, and the SHA-256 of the lines of
# `go version -m` with all modules. For another version there is Go's checksum database alone.
_SOURCE = f"mod\t{_MODULE}\tv{VERSION}\th1:WzqReKk2VjcvBN/NQTlcIxKqFPKpzIdb6KYMHzPEbe0="
_MODULES = {
    "linux": "12b482af0171f8cc2b3fcd98d5a12e1a012977608c935c43cfc01649fce133bb",
    "darwin": "b07adb19de8936292c31b77286a48a646223362e0279f31fc35db1cfcaf9b421",
}

Origin = Literal["argument", "environment", "configuration", "path", "cache"]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class OpaProgram:
    """An OPA that can be run. ``skipped`` says which others were found first and why not taken."""

    path: Path
    version: str
    sha256: str
    origin: Origin
    skipped: tuple[str, ...] = ()


def find_opa(
    argument: str | Path | None = None, environment: Mapping[str, str] = os.environ
) -> OpaProgram:
    """Return the OPA to run: argument, ``SPINE_OPA``, user configuration, PATH, user cache.

    One that was named and cannot be used raises ``UnavailableError``; one on PATH that is too old
    is skipped. The installed one, by whatever path, raises ``IntegrityError`` if its bytes changed.
    """
    cached = cached_opa(environment)
    named: tuple[tuple[Origin, str | Path | None], ...] = (
        ("argument", argument),
        ("environment", environment.get("SPINE_OPA")),
        ("configuration", Configuration.load(environment).opa),
    )
    for origin, path in named:
        if path:
            return _chosen(Path(path).expanduser().absolute(), origin, cached)
    skipped: tuple[str, ...] = ()
    on_path = shutil.which("opa", path=environment.get("PATH", ""))
    if on_path:
        try:
            return _chosen(Path(on_path).absolute(), "path", cached)
        except UnavailableError as error:
            skipped = (str(error),)
    if cached.exists():
        return replace(_chosen(cached, "cache", cached), skipped=skipped)
    raise UnavailableError(
        "; ".join(("OPA is not installed", *skipped)),
        remedy="Run `spine opa install`, or name one with SPINE_OPA.",
        code="engine.not_installed",
    )


def cached_opa(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where ``install_opa`` puts OPA: ``data-spine/bin/opa`` in the user's cache."""
    return user_folder(environment, "XDG_CACHE_HOME", ".cache") / "data-spine" / "bin" / "opa"


def install_opa(
    version: str = VERSION,
    *,
    environment: Mapping[str, str] = os.environ,
    base_url: str = _DOWNLOADS,
    progress: Progress = lambda _: None,
    seconds: float = _INSTALL_SECONDS,
) -> OpaProgram:
    """Install OPA into the user's cache and record its digest.

    Builds it with a Go toolchain on PATH, and raises ``IntegrityError`` when what Go built it from
    are not the modules of that version, whatever proxy and settings Go has. Without one, or when
    the build fails, downloads the official release with its published checksum. ``progress`` hears
    what happens, about once a second.
    """
    if not re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,3}", version):
        raise InputError(f"{version[:40]!r} is no version", remedy="Write it like 1.22.2.")
    end = time.monotonic() + seconds
    target = cached_opa(environment)
    target.parent.mkdir(parents=True, exist_ok=True)
    reasons: list[str] = []
    # In the same folder, so that the last step is one rename.
    with tempfile.TemporaryDirectory(prefix=".install-", dir=target.parent) as name:
        folder = Path(name)
        for way in (_build, _download):
            try:
                fresh = way(version, folder, environment, base_url, progress, end)
                found = _usable(fresh, "cache")
            except UnavailableError as error:
                reasons.append(str(error))
                progress(str(error))
                continue
            _adopt(found, target)
            progress(f"installed OPA {found.version} {found.sha256} as {target}")
            return replace(found, path=target, skipped=tuple(reasons))
    raise UnavailableError(
        "; ".join(reasons),
        remedy="Install Go or check the network; or set SPINE_OPA to an OPA that you have.",
        code="engine.not_installed",
    )


def _chosen(path: Path, origin: Origin, cached: Path) -> OpaProgram:
    if path.exists() and cached.exists() and path.samefile(cached):
        _check_record(cached)
        path, origin = cached, "cache"
    return _usable(path, origin)


def _usable(path: Path, origin: Origin) -> OpaProgram:
    version = _version(path)
    if tuple(int(each) for each in version.split(".")[:2]) < _OLDEST:
        raise _unusable(path, f"OPA {version} is older than {'.'.join(map(str, _OLDEST))}")
    return OpaProgram(path, version, _digest(path), origin)


def _version(path: Path) -> str:
    try:
        answer = subprocess.run(
            [str(path), "version"],
            env={},
            capture_output=True,
            timeout=_ASK_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise _unusable(path, "it does not say its version in time") from None
    except OSError as error:
        raise _unusable(path, error.strerror or "it cannot be run") from None
    found = re.search(rb"^Version: (\d+\.\d+\.\d+)", answer.stdout, re.MULTILINE)
    if answer.returncode != 0 or found is None:
        raise _unusable(path, "it is no OPA")
    return found[1].decode()


def _unusable(path: Path, problem: str) -> UnavailableError:
    return UnavailableError(
        problem,
        where=str(path),
        remedy="Name another OPA, or run `spine opa install`.",
        code="engine.not_installed",
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{file_digest(file, 'sha256').hexdigest()}"


def _record(program: Path) -> Path:
    return program.with_name(f"{program.name}.json")


def _check_record(program: Path) -> None:
    try:
        record = parse_json(_record(program).read_bytes(), where=str(_record(program)))
    except (OSError, DataSpineError):
        record = None
    expected = record.get("sha256") if isinstance(record, dict) else None
    if expected != _digest(program):
        raise IntegrityError(
            "the program is not the one that was installed",
            where=str(program),
            remedy="Run `spine opa install` again, and find out who changed it.",
            code="engine.program_changed",
        )


def _adopt(found: OpaProgram, target: Path) -> None:
    record = json.dumps({"version": found.version, "sha256": found.sha256}) + "\n"
    with replacing(_record(target)) as file:
        file.write(record.encode())
    # A crash between the two leaves a record that does not match: refused, never trusted.
    found.path.replace(target)


def _build(
    version: str,
    folder: Path,
    environment: Mapping[str, str],
    _base_url: str,
    progress: Progress,
    end: float,
) -> Path:
    go = shutil.which("go", path=environment.get("PATH", ""))
    if go is None:
        raise UnavailableError("there is no Go toolchain on PATH", remedy="Install Go.")
    progress(f"building OPA {version} with {go}")
    said = folder / "said"
    with said.open("wb") as output:
        process = spawn(
            [go, "install", f"{_MODULE}@v{version}"],
            cwd=folder,
            env={**environment, "GOBIN": str(folder), "CGO_ENABLED": "0", "GOFLAGS": _FLAGS},
            stdout=output,
            stderr=output,
        )
        begun = time.monotonic()
        try:
            while process.poll() is None and time.monotonic() < end:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(min(1.0, max(0.01, end - time.monotonic())))
                    break
                progress(f"building OPA {version}: {time.monotonic() - begun:.0f} s")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # its compilers too
                process.wait()
    built = folder / "opa"
    if process.returncode != 0 or not built.is_file():
        words = said.read_bytes()[-500:].decode(errors="replace").strip()
        raise UnavailableError(
            f"go could not build OPA: {words or 'out of time'}", remedy="See `go install`."
        )
    if version == VERSION:
        _require_pinned(go, built, environment)
    return built


def _require_pinned(go: str, built: Path, environment: Mapping[str, str]) -> None:
    try:
        argv = [go, "version", "-m", str(built)]
        said = run(argv, env=environment, seconds=_ASK_SECONDS).output
    except OSError as error:  # also a missed deadline
        raise UnavailableError(
            f"go does not say what it built OPA from: {error}", where=go, remedy="Try again."
        ) from None
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines()[1:]]
    modules = sorted(line for line in lines if not line.startswith(("path\t", "build\t")))
    found = sha256("\n".join(modules).encode()).hexdigest()
    if _SOURCE in modules and found == _MODULES.get(sys.platform):
        return
    what = "other modules than" if _SOURCE in modules else "another source of"
    raise IntegrityError(
        f"go built the program from {what} OPA {VERSION}",
        where=go,
        remedy="Check GOPROXY and Go's caches, or set SPINE_OPA to an OPA that you trust.",
        code="engine.program_changed",
    )


def _download(
    version: str,
    folder: Path,
    _environment: Mapping[str, str],
    base_url: str,
    progress: Progress,
    end: float,
) -> Path:
    machine = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    architecture = machine.get(platform.machine().lower())
    if sys.platform not in ("linux", "darwin") or architecture is None:
        raise UnavailableError("there is no release for this system", remedy="Build it with Go.")
    url = f"{base_url.rstrip('/')}/v{version}/opa_{sys.platform}_{architecture}_static"
    fetched = folder / "fetched"
    _fetch(f"{url}.sha256", fetched, _MAX_CHECKSUM, progress, end)
    words = fetched.read_text(encoding="ascii", errors="replace").split()
    if not words or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
        raise UnavailableError(
            "the published checksum is no SHA-256", where=url, remedy="Try again."
        )
    _fetch(url, fetched, _MAX_PROGRAM, progress, end)
    if _digest(fetched) != f"sha256:{words[0].lower()}":
        raise IntegrityError(
            "the download does not match its published checksum",
            where=url,
            remedy="Try again; when it stays, somebody changes it on the way.",
        )
    fetched.chmod(0o755)
    return fetched


def _fetch(url: str, target: Path, limit: int, progress: Progress, end: float) -> None:
    try:
        with target.open("wb") as file:
            fetch(
                url,
                file,
                limit=limit,
                end=end,
                told=lambda size: progress(f"downloading OPA: {size // _BLOCK} MiB"),
            )
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"cannot download: {error}", where=url, remedy="Check the network."
        ) from error
