"""One OPA child per process: started, fed, watched, restarted, and never left behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from dataspine.core.errors import UnavailableError
from dataspine.core.files import write_new
from dataspine.core.process import spawn, stop
from dataspine.core.scratch import make_scratch, temporary_folder
from dataspine.decisions.control import BUNDLE, BundleSource, ControlServer
from dataspine.decisions.opa_client import OpaClient

__all__ = ["OpaChild"]

_SOCKET_PATH_MAX = 100
_START_SECONDS = 15.0
_FLUSH_SECONDS = 5.0
_BACKOFF = (0.05, 5.0)
_STEADY_SECONDS = 10.0
_POLL_SECONDS = 30
_LOG_BYTES = 1_048_576
_TICK = 0.01


class OpaChild:
    """A context manager around one supervised OPA with its control listener.

    ``source`` gives the signed bundle and the keys that may have signed it; an unsigned or foreign
    bundle is refused by OPA itself. ``on_logs`` gets each gzipped chunk of events; with None OPA
    logs nothing and gives no decision ids. ``on_status`` gets OPA's status reports. ``folder`` is
    where the private folder is made (the system's temporary folder by default, and whenever a
    socket path there would be too long). ``client`` asks the child; it raises
    ``UnavailableError`` while the child is away.
    """

    def __init__(  # noqa: PLR0913 - the parts that the caller owns
        self,
        opa: Path,
        source: BundleSource,
        folder: Path | None = None,
        on_logs: Callable[[bytes], None] | None = lambda _: None,
        on_status: Callable[[dict[str, Any]], None] = lambda _: None,
        labels: Mapping[str, str] | None = None,
        deadline: float = 5.0,
    ) -> None:
        self._opa = opa
        self._source = source
        self._on_logs = on_logs
        self._on_status = on_status
        self._labels = dict(labels or {})
        self._folder = _private_folder(folder)
        self._socket = self._folder / "s"
        self.client = OpaClient(f"unix://{self._socket}", deadline=deadline)
        self._control = ControlServer(source, self._logs, self._status)
        self._changed = threading.Condition()
        self._reports = 0
        self._words = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        # Linux ends a child with the *thread* that forked it, so one thread lives as long as it.
        self._thread = threading.Thread(target=self._supervise, name="opa-child", daemon=True)

    @property
    def pid(self) -> int | None:
        """Return the running child's process id, or None while it is away."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def restarts(self) -> int:
        """Return how often a died child was replaced."""
        return max(0, self._starts - 1)

    @property
    def policy_age(self) -> float | None:
        """Seconds since the child last asked for bundles while they could be read, or None."""
        return self._control.policy_age

    def start(self) -> None:
        """Start listener and child; return when the child answers, before a bundle is active."""
        self._control.start()
        self._thread.start()
        end = time.monotonic() + _START_SECONDS
        while not self.client.healthy():
            if self._failure is not None or self._starts > 1 or time.monotonic() > end:
                problem = self._last_words()
                self.stop()
                raise UnavailableError(
                    f"OPA does not start: {problem}",
                    where=str(self._opa),
                    remedy="Run `spine doctor`, or `spine opa install`.",
                    code="engine.unavailable",
                )
            self._stopping.wait(_TICK)

    def stop(self) -> None:
        """End the child, at most five seconds after its logs could be sent, then the listener."""
        self._stopping.set()
        process = self._process
        if process is not None:
            stop(process, _FLUSH_SECONDS)
        if self._thread.is_alive():
            self._thread.join()
        self.client.close()
        self._control.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def wait_active(
        self, revision: str | None = None, timeout: float = 10.0, *, etag: str | None = None
    ) -> None:
        """Return when the bundle with this revision and ETag decides; None means any.

        Raises ``UnavailableError`` after ``timeout`` with what OPA said about the newest bundle.
        """
        end = time.monotonic() + timeout
        while True:
            with self._changed:
                seen = self._reports
            active = self._active()
            if active is not None and revision in (None, active[0]) and etag in (None, active[1]):
                return
            with self._changed:
                # A status report follows every activation; the short wait covers a lost one.
                left = end - time.monotonic()
                if self._reports == seen:
                    self._changed.wait(max(0.0, min(left, 0.25)))
            if left <= 0:
                raise UnavailableError(
                    f"the bundle is not active after {timeout:g} seconds: {self._complaint()}",
                    where=revision or etag or "any revision",
                    remedy="Check signature and keys: `spine bundle verify`, `spine bundle keys`.",
                    code="engine.not_activated",
                )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _active(self) -> tuple[str, str] | None:
        try:
            bundle = self.client.data(f"system/bundles/{BUNDLE}").get("result")
        except UnavailableError:
            return None
        if not isinstance(bundle, dict):
            return None
        return bundle["manifest"]["revision"], bundle.get("etag", "").strip('"')

    def _logs(self, chunk: bytes) -> None:
        if self._on_logs is not None:
            self._on_logs(chunk)

    def _status(self, report: dict[str, Any]) -> None:
        bundle = (report.get("bundles") or {}).get(BUNDLE) or {}
        with self._changed:
            self._reports += 1
            details = (each.get("message") for each in bundle.get("errors") or ())
            self._words = ": ".join(map(str, (bundle.get("message") or "", *details)))[:500]
            self._changed.notify_all()
        self._on_status(report)

    def _complaint(self) -> str:
        if self._source.current() is None:
            return "none was published"
        return self._words or self._last_words()

    def _supervise(self) -> None:
        wait, longest = _BACKOFF
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                self._run()
            except OSError as error:
                self._failure = error
            if time.monotonic() - begun > _STEADY_SECONDS:
                wait = _BACKOFF[0]
            self._stopping.wait(wait)
            wait = min(wait * 2, longest)

    def _run(self) -> None:
        self._control.forget()
        self._socket.unlink(missing_ok=True)
        configuration = self._folder / "opa.json"
        configuration.unlink(missing_ok=True)
        write_new(configuration, json.dumps(self._configuration()).encode())
        with self._log() as log:
            process = spawn(
                [
                    *(str(self._opa), "run", "--server", "--disable-telemetry"),
                    *("--log-level", "error", "--config-file", str(configuration)),
                    *("--addr", f"unix://{self._socket}"),
                    "--optimize-store-for-read-speed",
                ],
                cwd=self._folder,
                # Nothing of our environment: it holds secrets, and OPA substitutes ${…} from it.
                # A decision leaves a lot of garbage on a small heap: a larger one, of some 80 MB,
                # spares OPA a fifth of its CPU time.
                env={"HOME": str(self._folder), "GOGC": "400"},
                stdout=log,
                stderr=log,
            )
        self._process = process
        self._starts += 1
        if self._stopping.is_set():  # stop() may have looked before the process was there
            stop(process, _FLUSH_SECONDS)
        process.wait()

    def _log(self) -> IO[bytes]:
        path = self._folder / "log"
        # Appended, so that the reason of a quick death survives the restart; never without end.
        fits = path.exists() and path.stat().st_size < _LOG_BYTES
        return path.open("ab" if fits else "wb")

    def _configuration(self) -> dict[str, Any]:
        return {
            **(self._decision_logs() if self._on_logs is not None else {}),
            "labels": self._labels,
            "services": {
                "control": {
                    "url": self._control.address,
                    "credentials": {"bearer": {"token": self._control.token}},
                }
            },
            "keys": {
                key.id: {"algorithm": key.algorithm, "key": key.pem}
                for key in self._source.trusted_keys()
            },
            "bundles": {
                BUNDLE: {
                    "service": "control",
                    "resource": f"bundles/{BUNDLE}.tar.gz",
                    "signing": {},  # present: a signature by one of `keys` is required
                    "polling": {
                        "min_delay_seconds": 1,
                        "max_delay_seconds": 2,
                        "long_polling_timeout_seconds": _POLL_SECONDS,
                    },
                }
            },
            "default_authorization_decision": "/dataspine/authz/allow",
            "status": {"service": "control"},
        }

    def _decision_logs(self) -> dict[str, Any]:
        reporting = {"trigger": "immediate", "min_delay_seconds": 1, "max_delay_seconds": 2}
        return {
            "decision_logs": {
                "service": "control",
                "reporting": {**reporting, "upload_size_limit_bytes": _LOG_BYTES},
                # Inside our signed root: whoever may write system.log can silence the log.
                "mask_decision": "/dataspine/log/mask",
                "drop_decision": "/dataspine/log/drop",
            }
        }

    def _last_words(self) -> str:
        if self._failure is not None:
            return str(self._failure)
        with contextlib.suppress(OSError):
            text = (self._folder / "log").read_bytes()[-2000:].decode(errors="replace").strip()
            return text.replace(self._control.token, "…") or "it said nothing"
        return "it said nothing"


def _private_folder(parent: Path | None) -> Path:
    choices = [parent] if parent is not None else []
    for choice in (*choices, temporary_folder(), Path("/tmp")):  # noqa: S108 - 0700
        folder = make_scratch("opa", Path(choice))
        if len(os.fsencode(folder / "s")) <= _SOCKET_PATH_MAX:
            return folder
        folder.rmdir()
    raise UnavailableError(
        "every temporary folder has too long a path for a socket",
        remedy="Set TMPDIR to a short path.",
        code="engine.unavailable",
    )
