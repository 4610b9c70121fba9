"""A lineage receiver on loopback that answers as it is told."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]
OK: Reply = (201, {}, b"")


class FakeReceiver:
    """``reply`` decides by the posted document; what came is kept with its path and headers."""

    def __init__(self, reply: Callable[[Any], Reply]) -> None:
        self.reply = reply
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.url = ""

    def accepted(self) -> list[str]:
        return [body["run"]["runId"] for _, _, body in self.requests if self.reply(body) == OK]

    def sent(self) -> list[str]:
        return [body["run"]["runId"] for _, _, body in self.requests]


@contextlib.contextmanager
def receiving(reply: Callable[[Any], Reply] = lambda _: OK) -> Iterator[FakeReceiver]:
    fake = FakeReceiver(reply)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.requests.append((self.path, dict(self.headers), body))
            status, headers, data = fake.reply(body)
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data)

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
