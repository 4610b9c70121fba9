"""Run the service: the public listener, its advertisement, and an orderly end."""

from __future__ import annotations

import contextlib
import gc
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import uvicorn

from dataspine.adapters.session import Session
from dataspine.core.configuration import Configuration
from dataspine.core.errors import InputError, UnavailableError
from dataspine.lineage import Delivery
from dataspine.web.advertisement import LOOPBACK, advertise, withdraw
from dataspine.web.app import create_app
from dataspine.web.connections import Connections, most_connections

__all__ = ["serve"]

SWITCH_SECONDS = 0.0005
_ANY = ("0.0.0.0", "[::]")  # noqa: S104 - compared with, never listened on by itself
# What still runs after it is cut off: a request that waits ends by itself.
GRACE_SECONDS = 2


def serve(
    session: Session,
    *,
    host: str,
    port: int,
    ready: Callable[[str], None],
    names: Sequence[str] = (),
) -> None:
    """Serve until SIGTERM, or SIGINT, which raises ``KeyboardInterrupt`` once all has ended.

    ``ready`` is called once with the address; ``names`` are hosts that callers may name beside it.

    Started in this order: store, OPA with its control listener, lineage delivery, the public
    listener. Ended the other way round, so that OPA's last decision logs still arrive.
    """
    if host not in LOOPBACK and not session.workspace.settings.tokens:
        raise InputError(
            f"{host} is not loopback, and callers are not authenticated",
            where="--host",
            remedy="Listen on 127.0.0.1, or name who may call under `auth` in spine.yaml.",
            code="input.host_not_loopback",
        )
    listener = _listen(host, port)
    with listener:
        session.engine.policy()
        delivery = Delivery(
            session.database,
            session.workspace.settings.receivers,
            dead_letters=session.workspace.state / "lineage-dlq.jsonl",
            root=session.workspace.root,
            allowed=Configuration.load().receivers,
        )
        delivery.start()
        named = f"[{host}]" if ":" in host else host
        hosts = (named, *names)
        if named in _ANY:
            named = "127.0.0.1"  # where this machine reaches it as well
        address = f"http://{named}:{listener.getsockname()[1]}"

        def started() -> None:
            # What is there now stays: looking through it for garbage stops every request for 0.1 s.
            gc.collect()
            gc.freeze()
            # Only now: whoever reads it may ask at once.
            advertise(session.workspace.state, address)
            ready(address)

        ending, connections = threading.Event(), Connections(most_connections())
        app = create_app(session, hosts=hosts, ending=ending, cut=connections.cut)
        try:
            ended_by = _run(app, connections, listener, started, ending)
        finally:
            withdraw(session.workspace.state)
            delivery.stop()
    if ended_by == signal.SIGINT:
        raise KeyboardInterrupt


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit it. Not every event loop sets it: a body that waits for the
    # acknowledgement of its head comes 40 ms later.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UnavailableError(
            error.strerror or "cannot listen",
            where=f"{host}:{port}",
            remedy="Choose another --port, or stop what listens there.",
            code="serve.port_taken",
        ) from None
    return listener


class _Server(uvicorn.Server):
    """uvicorn, with an end that returns: by itself it would raise the signal again."""

    def __init__(
        self, config: uvicorn.Config, started: Callable[[], None], ending: threading.Event
    ) -> None:
        super().__init__(config)
        self._told = started
        self._ending = ending
        self.ended_by: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._told()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.ended_by = self.ended_by or sig
        self._ending.set()
        super().handle_exit(sig, frame)


def _run(
    app: object,
    connections: Connections,
    listener: socket.socket,
    started: Callable[[], None],
    ending: threading.Event,
) -> int | None:
    """Run until a signal comes, and return its number."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type] # the server's own words for the same protocol
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody here is told from where a request comes
        timeout_graceful_shutdown=GRACE_SECONDS,
        http=connections.protocol,  # type: ignore[arg-type] # called as the class would be
        lifespan="off",
    )
    # A request changes threads several times; behind a busy one each change waits this long.
    sys.setswitchinterval(SWITCH_SECONDS)
    listener.listen(1024)
    server = _Server(config, started, ending)
    server.run([listener])
    return server.ended_by
