"""A process that runs protoc for its parent: one request, one answer, until the input ends.

protoc cannot be stopped or limited inside a process, and reports its errors only on file descriptor
2; so it runs here, under a memory limit, and the parent kills the process at its deadline. This
file is run by its path, imports nothing else of the product, and so starts in no time.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
from pathlib import Path
from typing import BinaryIO

from grpc_tools import protoc

__all__ = ["serve"]

MEMORY_BYTES = 768 * 1024 * 1024
OUTPUT_BYTES = 64 * 1024 * 1024
MESSAGE = struct.Struct("!II")


def serve(folder: Path, includes: list[str], requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests ({"main": name, "files": {name: text}}) with a descriptor set or errors."""
    errors = (folder / "errors.txt").open("w+b")
    os.dup2(errors.fileno(), 2)
    while header := requests.read(4):
        (size,) = struct.unpack("!I", header)
        request = json.loads(requests.read(size))
        errors.seek(0)
        errors.truncate()
        descriptors, failed = _compile(folder, includes, request["main"], request["files"])
        sys.stderr.flush()
        errors.seek(0)
        problem = errors.read(100_000)
        answers.write(MESSAGE.pack(failed, len(problem if failed else descriptors)))
        answers.write(problem if failed else descriptors)
        answers.flush()


def _compile(
    folder: Path, includes: list[str], main: str, files: dict[str, str]
) -> tuple[bytes, bool]:
    sources = folder / "sources"
    written: list[Path] = []
    output = folder / "descriptors.bin"
    try:
        for name, text in files.items():
            path = sources / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            written.append(path)
        paths = [f"-I{place}" for place in (sources, *includes)]
        options = ["--include_source_info", "--include_imports", "-o", str(output)]
        failed = protoc.main(["protoc", *paths, *options, str(sources / main)]) != 0
        return (b"" if failed else output.read_bytes()), failed
    finally:
        for path in (*written, output):
            path.unlink(missing_ok=True)


def main() -> None:
    """Limit this process, then serve its parent."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT_BYTES, OUTPUT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(Path(sys.argv[1]), sys.argv[2:], sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
