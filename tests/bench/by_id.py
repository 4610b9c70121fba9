"""Schemas by id against an empty raw ASGI application on the same server, in the same run."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import statistics
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from dataspine.core.process import spawn, stop

RUNS = 5
SECONDS = 3
TARGET = ">= 80 %"

RAW = """
import json, sys, socket, uvicorn
body = b"x" * int(sys.argv[1])
start = {"type": "http.response.start", "status": 200, "headers": [
    (b"content-type", b"application/vnd.schemaregistry.v1+json"),
    (b"content-length", str(len(body)).encode())]}
async def app(scope, receive, send):
    await send(start)
    await send({"type": "http.response.body", "body": body})
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(1024)
print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, lifespan="off",
    proxy_headers=False)
uvicorn.Server(config).run([listener])
"""


def measure(workspace: Path, schema: bytes) -> list[tuple[str, str, str]]:
    """Return the two rates and their ratio, medians of interleaved runs."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return [("schema by id", "wrk is missing (apt-get install wrk)", TARGET)]
    service = [sys.executable, "-m", "dataspine.cli", "serve", "--port", "0", "--json"]
    ours = spawn(service, cwd=workspace, stdout=subprocess.PIPE)
    raw = None
    try:
        url = _url(ours)
        size = _publish(url, schema)
        raw = spawn([sys.executable, "-c", RAW, str(size)], cwd=workspace, stdout=subprocess.PIPE)
        urls = {"ours": f"{url}/schemas/ids/1", "raw": f"{_url(raw)}/schemas/ids/1"}
        rates: dict[str, list[float]] = {"ours": [], "raw": []}
        for _ in range(RUNS):
            for name, each in urls.items():
                rates[name].append(_rate(wrk, each))
    finally:
        stop(ours, 10)
        if raw is not None:
            stop(raw, 10)
    mine, bare = (statistics.median(rates[name]) for name in ("ours", "raw"))
    return [
        (f"schema by id, {size} bytes", f"{mine:,.0f} req/s", ""),
        ("  empty raw ASGI application", f"{bare:,.0f} req/s", ""),
        ("  ratio of medians", f"{mine / bare:.0%}", TARGET),
    ]


def _url(child: subprocess.Popen[bytes]) -> str:
    if child.stdout is None:
        raise SystemExit("the server has no output")
    return str(json.loads(child.stdout.readline())["url"])


def _publish(url: str, schema: bytes) -> int:
    with closing(http.client.HTTPConnection(url.removeprefix("http://"))) as connection:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/subjects/bench.id/versions", schema, headers)
        reply = connection.getresponse()
        answer = json.loads(reply.read())
        if answer.get("id") != 1:
            raise SystemExit(f"not registered: {answer}")
        connection.request("GET", "/schemas/ids/1")
        return len(connection.getresponse().read())


def _rate(wrk: str, url: str) -> float:
    argv = [wrk, "-t1", "-c16", f"-d{SECONDS}s", url]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    if "Non-2xx" in done.stdout:
        raise SystemExit(done.stdout)
    found = re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)
    if found is None:
        raise SystemExit(done.stdout)
    return float(found[1])
