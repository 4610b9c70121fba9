"""The lineage routes as an application of their own, and a server for it on loopback."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp

from dataspine.core.database import Database
from dataspine.core.errors import DataSpineError
from dataspine.lineage import LineageStore, Outbox
from dataspine.web import lineage
from dataspine.web.guard import Guard
from dataspine.web.problem import problem


def application(database: Database) -> ASGIApp:
    app = FastAPI()
    app.include_router(
        lineage.router(LineageStore(database), Outbox(database), permit=lambda: None)
    )

    async def known(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, DataSpineError)
        return problem(error)

    app.add_exception_handler(DataSpineError, known)
    return Guard(app, hosts=("testserver",))


@contextlib.contextmanager
def served(database: Database) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application(database), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(5)
        listener.close()
