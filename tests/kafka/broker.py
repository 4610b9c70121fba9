"""A real Kafka broker of one node, from the jars that ``make kafka`` fetched."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient

from dataspine.core.process import spawn, stop

SECONDS = 120
HEAP = "256m"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")

_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""


def jars() -> Path | None:
    """Return the folder of the broker's jars, or None without them or without Java."""
    found = sorted((_CACHE / "data-spine").glob("kafka-*/kafka_2.13-*.jar"))
    return found[-1].parent if found and shutil.which("java") else None


@contextmanager
def running(folder: Path, libraries: Path) -> Iterator[str]:
    """Run a broker in a folder and yield its address."""
    broker, controller = _free_ports(2)
    configuration = folder / "server.properties"
    configuration.write_text(
        _PROPERTIES.format(folder=folder, broker=broker, controller=controller)
    )
    java = ["java", "-cp", f"{libraries}/*", f"-Xmx{HEAP}"]
    cluster = urlsafe_b64encode(uuid.UUID(int=1).bytes).decode().rstrip("=")
    storage = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(configuration)]
    subprocess.run(storage, cwd=folder, capture_output=True, check=True, timeout=SECONDS)
    with (folder / "log").open("wb") as log:
        argv = [*java, "kafka.Kafka", str(configuration)]
        process = spawn(argv, cwd=folder, stdout=log, stderr=log)
    try:
        address = f"127.0.0.1:{broker}"
        _wait(address, process, folder / "log")
        yield address
    finally:
        stop(process, 20)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            host, _, port = address.partition(":")
            if probe.connect_ex((host, int(port))) == 0:
                AdminClient({"bootstrap.servers": address}).list_topics(timeout=SECONDS)
                return
        time.sleep(0.1)
    raise AssertionError(f"the broker did not start: {log.read_text(errors='replace')[-2000:]}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
