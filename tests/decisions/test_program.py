import hashlib
import json
import platform
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.conftest import missing

from dataspine.core.errors import DataSpineError, InputError, IntegrityError, UnavailableError
from dataspine.decisions.program import OpaProgram, cached_opa, find_opa, install_opa


def _script(path: Path, version: str = "1.22.2") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n[ "$1" = version ] && echo "Version: {version}"\n# {path}\n')
    path.chmod(0o755)
    return path


def _digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "PATH": str(tmp_path / "bin")}


def _install(home: dict[str, str]) -> Path:
    program = _script(cached_opa(home))
    program.with_name("opa.json").write_text(json.dumps({"sha256": _digest(program)}))
    return program


def test_opa_is_found_in_the_documented_order(tmp_path: Path, home: dict[str, str]) -> None:
    with pytest.raises(UnavailableError, match="not installed"):
        find_opa(environment=home)
    cached = _install(home)
    assert find_opa(environment=home) == OpaProgram(cached, "1.22.2", _digest(cached), "cache")
    on_path = _script(tmp_path / "bin" / "opa")
    assert find_opa(environment=home) == OpaProgram(on_path, "1.22.2", _digest(on_path), "path")
    configured = _script(tmp_path / "configured")
    settings = tmp_path / ".config" / "data-spine" / "config.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"opa: {configured}\n")
    assert find_opa(environment=home).path == configured
    named = _script(tmp_path / "named", "1.30.0")
    environment = {**home, "SPINE_OPA": str(named)}
    assert find_opa(environment=environment).origin == "environment"
    argued = _script(tmp_path / "argued")
    assert find_opa(argued, environment).path == argued


def test_an_old_opa_on_path_is_skipped_and_named(tmp_path: Path, home: dict[str, str]) -> None:
    old = _script(tmp_path / "bin" / "opa", "1.9.0")
    with pytest.raises(UnavailableError, match=r"1\.9\.0 is older"):
        find_opa(environment=home)
    cached = _install(home)
    found = find_opa(environment=home)
    assert (found.path, found.skipped) == (cached, (f"{old}: OPA 1.9.0 is older than 1.22",))


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 0\n", "no program", "#!/bin/sh\nexit 1\n"])
def test_a_named_program_that_is_no_opa_is_an_error(
    tmp_path: Path, home: dict[str, str], text: str
) -> None:
    fake = tmp_path / "fake"
    fake.write_text(text)
    fake.chmod(0o755)
    with pytest.raises(UnavailableError):
        find_opa(fake, home)
    with pytest.raises(UnavailableError):
        find_opa(tmp_path / "none", home)


def test_an_installed_opa_that_changed_is_never_run(home: dict[str, str]) -> None:
    cached = _install(home)
    cached.write_text(cached.read_text() + "# one more line\n")
    with pytest.raises(IntegrityError) as raised:
        find_opa(environment=home)
    assert raised.value.code == "engine.program_changed"
    cached.with_name("opa.json").unlink()
    with pytest.raises(IntegrityError):
        find_opa(environment=home)


@pytest.mark.parametrize("way", ["path", "symlink", "hardlink", "SPINE_OPA", "argument"])
def test_a_path_to_the_installed_opa_is_the_installed_opa(
    way: str, tmp_path: Path, home: dict[str, str]
) -> None:
    cached = _install(home)
    other = tmp_path / "bin" / "opa"
    other.parent.mkdir()
    argument = None
    match way:
        case "path":
            home["PATH"] = str(cached.parent)
        case "symlink":
            other.symlink_to(cached)
        case "hardlink":
            other.hardlink_to(cached)
        case "SPINE_OPA":
            home["SPINE_OPA"] = str(cached)
        case _:
            argument = cached

    whole = find_opa(argument, home)
    cached.write_text(cached.read_text() + "# one more line\n")

    assert (whole.path, whole.origin) == (cached, "cache")
    with pytest.raises(IntegrityError) as raised:
        find_opa(argument, home)
    assert raised.value.code == "engine.program_changed"


@pytest.mark.parametrize("text", ["opa: [a]\n", "opa: {", "\x00"])
def test_a_broken_user_configuration_is_an_error(
    tmp_path: Path, home: dict[str, str], text: str
) -> None:
    settings = tmp_path / ".config" / "data-spine" / "config.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text(text)
    with pytest.raises(InputError):
        find_opa(environment=home)


class Release:
    """Imitates the official downloads."""

    def __init__(self) -> None:
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine().lower(), "amd64")
        self.name = f"/v1.22.2/opa_{sys.platform}_{machine}_static"
        self.program = b"#!/bin/sh\necho 'Version: 1.22.2'\n"
        self.checksum = hashlib.sha256(self.program).hexdigest()
        self.redirect: str | None = None
        release = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                files = {
                    release.name: release.program,
                    f"{release.name}.sha256": f"{release.checksum}  opa\n".encode(),
                }
                if release.redirect is not None:
                    self.send_response(302)
                    self.send_header("Location", release.redirect)
                    self.end_headers()
                    return
                body = files.get(self.path)
                self.send_response(404 if body is None else 200)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base names it
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def release() -> Iterator[Release]:
    release = Release()
    thread = threading.Thread(target=release.server.serve_forever, args=(0.02,))
    thread.start()
    yield release
    release.server.shutdown()
    release.server.server_close()
    thread.join()


def test_without_go_the_release_is_downloaded_and_recorded(
    home: dict[str, str], release: Release
) -> None:
    told: list[str] = []
    found = install_opa(environment=home, base_url=release.url, progress=told.append)
    cached = cached_opa(home)
    assert (found.path, found.version, found.sha256) == (cached, "1.22.2", _digest(cached))
    assert cached.read_bytes() == release.program
    assert told[-1] == f"installed OPA 1.22.2 {_digest(cached)} as {cached}"
    assert find_opa(environment=home) == OpaProgram(cached, "1.22.2", _digest(cached), "cache")
    assert sorted(each.name for each in cached.parent.iterdir()) == ["opa", "opa.json"]


def test_a_download_with_another_checksum_is_never_installed(
    home: dict[str, str], release: Release
) -> None:
    release.checksum = "0" * 64
    with pytest.raises(IntegrityError, match="published checksum"):
        install_opa(environment=home, base_url=release.url)
    release.checksum = "none"
    with pytest.raises(UnavailableError, match="no SHA-256"):
        install_opa(environment=home, base_url=release.url)
    assert list(cached_opa(home).parent.iterdir()) == []


@pytest.mark.parametrize("target", ["http://example.invalid/x", "ftp://example.invalid/x"])
def test_a_redirect_away_from_https_is_refused(
    home: dict[str, str], release: Release, target: str
) -> None:
    release.redirect = target
    with pytest.raises(UnavailableError, match="HTTPS only"):
        install_opa(environment=home, base_url=release.url)


@pytest.mark.parametrize("version", ["latest", "1.22", "1.22.2/../x", ""])
def test_a_version_is_three_numbers(home: dict[str, str], version: str) -> None:
    with pytest.raises(DataSpineError):
        install_opa(version, environment=home)


def _go(tmp_path: Path, text: str) -> None:
    go = tmp_path / "bin" / "go"
    go.parent.mkdir(parents=True, exist_ok=True)
    go.write_text(f"#!/bin/sh\n{text}\n")
    go.chmod(0o755)


@pytest.fixture
def go() -> str:
    """Return the Go toolchain of this machine."""
    found = shutil.which("go")
    if found is None:
        missing("Go")
    return str(found)


def _built(program: Path, go: str) -> str:
    """Return what a program says that it was built from."""
    argv = [go, "version", "-m", str(program)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.mark.integration
def test_go_builds_the_pinned_version(
    opa: Path, go: str, tmp_path: Path, home: dict[str, str]
) -> None:
    if "\tmod\tgithub.com/open-policy-agent/opa\tv1.22.2\t" not in _built(opa, go):
        missing("an OPA that Go built")
    _go(
        tmp_path,
        f'[ "$1" = version ] && exec {go} "$@"\n'
        f'echo "$@" > {tmp_path}/asked; {shutil.which("cp")} {opa} "$GOBIN/opa"',
    )
    found = install_opa(environment=home)
    assert (tmp_path / "asked").read_text() == (
        "install github.com/open-policy-agent/opa@v1.22.2\n"
    )
    assert (found.path, found.sha256) == (cached_opa(home), _digest(opa))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("opa\tv1.22.2\th1:", "opa\tv1.22.2\th1:x", "another source of OPA 1.22.2"),
        ("opa\tv1.22.2\th1:", "opa\tv1.22.1\th1:", "another source of OPA 1.22.2"),
        ("xxhash/v2\tv2.3.0\th1:", "xxhash/v2\tv2.3.0\th1:x", "other modules than OPA 1.22.2"),
        ("\tbuild\t-comp", "\t=>\texample.org/x\tv1.0.0\th1:x\n\tbuild\t-comp", "other modules"),
        ("\tmod\t", "\tmode\t", "another source of OPA 1.22.2"),
    ],
)
def test_a_build_from_another_source_is_never_installed(
    before: str,
    after: str,
    problem: str,
    opa: Path,
    go: str,
    tmp_path: Path,
    home: dict[str, str],
) -> None:
    said = _built(opa, go)
    assert before in said
    (tmp_path / "said").write_text(said.replace(before, after, 1))
    _go(
        tmp_path,
        f'[ "$1" = version ] && exec {shutil.which("cat")} {tmp_path}/said\n'
        f'{shutil.which("cp")} {opa} "$GOBIN/opa"',
    )

    with pytest.raises(IntegrityError, match=problem) as raised:
        install_opa(environment=home)

    assert raised.value.code == "engine.program_changed"
    assert list(cached_opa(home).parent.iterdir()) == []


def test_a_go_that_cannot_be_asked_what_it_built_builds_nothing(
    tmp_path: Path, home: dict[str, str], release: Release
) -> None:
    _go(
        tmp_path,
        f'echo "#!/bin/sh" > "$GOBIN/opa"; {shutil.which("chmod")} +x "$GOBIN/opa"\n'
        f'{shutil.which("rm")} "$0"',
    )

    found = install_opa(environment=home, base_url=release.url)

    assert "go does not say what it built OPA from" in found.skipped[0]
    assert found.path.read_bytes() == release.program


FORGED = b"""package main

import "fmt"

func main() { fmt.Println("Version: 1.22.2") }
"""


def _forged_proxy(folder: Path) -> str:
    """Write a module proxy that has another program under OPA's name, and return its address."""
    name = "github.com/open-policy-agent/opa"
    versions = folder / name / "@v"
    versions.mkdir(parents=True)
    (versions / "list").write_text("v1.22.2\n")
    (versions / "v1.22.2.info").write_text('{"Version": "v1.22.2"}')
    (versions / "v1.22.2.mod").write_text(f"module {name}\n")
    with zipfile.ZipFile(versions / "v1.22.2.zip", "w") as archive:
        archive.writestr(f"{name}@v1.22.2/go.mod", f"module {name}\n")
        archive.writestr(f"{name}@v1.22.2/main.go", FORGED)
    return folder.as_uri()


@pytest.mark.integration
def test_a_proxy_that_nobody_checks_is_found_out(
    go: str, tmp_path: Path, home: dict[str, str]
) -> None:
    cache = subprocess.run([go, "env", "GOCACHE"], capture_output=True, text=True, check=True)
    environment = {
        **home,
        "PATH": f"{Path(go).parent}:/usr/bin:/bin",
        "GOCACHE": cache.stdout.strip(),
        "GOPROXY": _forged_proxy(tmp_path / "proxy"),
        "GONOSUMDB": "*",
        "GONOSUMCHECK": "1",
        "GOSUMDB": "off",
        "GOFLAGS": "-mod=mod -modcacherw",
        "GOENV": str(tmp_path / "goenv"),
        "GOMODCACHE": str(tmp_path / "modules"),
    }
    (tmp_path / "goenv").write_text("GOFLAGS=-modcacherw\n")

    with pytest.raises(IntegrityError, match="from another source of OPA"):
        install_opa(environment=environment)

    subprocess.run([go, "clean", "-modcache"], env=environment, check=True)
    assert list(cached_opa(home).parent.iterdir()) == []


@pytest.mark.integration
def test_flags_of_go_s_own_settings_do_not_reach_the_build(
    go: str, tmp_path: Path, home: dict[str, str]
) -> None:
    _go(tmp_path, f"{go} env GOFLAGS > {tmp_path}/flags; exit 1")
    (tmp_path / "goenv").write_text("GOFLAGS=-overlay=/other.json\n")
    environment = {**home, "GOENV": str(tmp_path / "goenv"), "GOFLAGS": "-overlay=/x.json"}

    with pytest.raises(UnavailableError):
        install_opa(environment=environment, base_url="http://127.0.0.1:1", seconds=60)

    assert (tmp_path / "flags").read_text() == "-buildvcs=false\n"


def test_a_failed_build_falls_back_to_the_download(
    tmp_path: Path, home: dict[str, str], release: Release
) -> None:
    _go(tmp_path, "echo 'no such module' >&2; exit 1")
    found = install_opa(environment=home, base_url=release.url)
    assert found.skipped == ("go could not build OPA: no such module",)
    assert found.path.read_bytes() == release.program


def test_a_build_that_hangs_ends_at_the_deadline(tmp_path: Path, home: dict[str, str]) -> None:
    _go(tmp_path, f"exec {shutil.which('sleep')} 600")
    with pytest.raises(UnavailableError, match="out of time"):
        install_opa(environment=home, base_url="http://127.0.0.1:1", seconds=0.3)
